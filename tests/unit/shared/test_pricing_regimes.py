"""Which rules hold for an account at an instant, and over what its free tier is counted."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.pricing import Regimes, RegimesFileError, UnknownRegimeError, free_tier_scope

FILE = Path(__file__).parents[3] / "config" / "regimes.yaml"
REGIMES = Regimes.load(FILE)
SAO_PAULO = "America/Sao_Paulo"
# The bounds of a strategy are naive; what it draws is aware.
INSTANTS = st.datetimes(datetime(2023, 6, 2), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ZONES = st.sampled_from(
    ["UTC", SAO_PAULO, "Asia/Kolkata", "Pacific/Auckland", "America/Los_Angeles", "Europe/Berlin"]
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("pin", "name"),
    [
        ("guide", "2023-06-01"),
        ("2023-06-01", "2023-06-01"),
        ("2024-11-01", "2024-11-01"),
        ("2025-07-01", "2025-07-01"),
        ("2026-10-01", "2026-10-01"),
    ],
)
def test_a_pin_names_a_regime_whatever_the_date(pin: str, name: str) -> None:
    assert REGIMES.is_pin(pin)
    assert REGIMES.regime_at(pin, at("2020-01-01T00:00Z"), "UTC").name == name
    assert REGIMES.regime_at(pin, at("2030-01-01T00:00Z"), "UTC").name == name


@pytest.mark.parametrize("pin", [None, "calendar"])
@pytest.mark.parametrize(
    ("instant", "timezone", "name"),
    [
        ("2022-01-01T00:00Z", "UTC", "2023-06-01"),
        ("2024-10-31T23:59:59.999999Z", "UTC", "2023-06-01"),
        ("2024-11-01T00:00Z", "UTC", "2024-11-01"),
        ("2025-06-30T23:59:59Z", "UTC", "2024-11-01"),
        ("2025-07-01T00:00Z", "UTC", "2025-07-01"),
        ("2026-09-30T23:59:59Z", "UTC", "2025-07-01"),
        ("2026-10-01T00:00Z", "UTC", "2026-10-01"),
        ("2026-10-01T02:59:59Z", SAO_PAULO, "2025-07-01"),
        ("2026-10-01T03:00Z", SAO_PAULO, "2026-10-01"),
        ("2026-09-30T18:29:59Z", "Asia/Kolkata", "2025-07-01"),
        ("2026-09-30T18:30Z", "Asia/Kolkata", "2026-10-01"),
    ],
)
def test_without_a_pin_a_regime_begins_at_midnight_of_the_accounts_time_zone(
    pin: str | None, instant: str, timezone: str, name: str
) -> None:
    assert REGIMES.is_pin(pin)
    assert REGIMES.regime_at(pin, at(instant), timezone).name == name


def test_a_pin_of_nothing_is_an_error() -> None:
    assert not REGIMES.is_pin("2099-01-01")
    with pytest.raises(UnknownRegimeError):
        REGIMES.regime_at("2099-01-01", at("2026-01-01T00:00Z"), "UTC")


def test_a_naive_time_is_an_error() -> None:
    with pytest.raises(ValueError, match="aware"):
        REGIMES.regime_at(None, datetime(2026, 1, 1), "UTC")  # noqa: DTZ001


@given(
    INSTANTS,
    ZONES,
    st.timedeltas(timedelta(0), timedelta(days=400)),
)
def test_time_never_leads_back_to_an_older_regime(now: datetime, timezone: str, later: timedelta) -> None:
    first = REGIMES.regime_at(None, now, timezone)
    assert first.starts_on <= now.astimezone(ZoneInfo(timezone)).date()
    assert first.starts_on <= REGIMES.regime_at(None, now + later, timezone).starts_on


def test_the_guides_free_tier_is_a_thousand_over_the_whole_account() -> None:
    guide = REGIMES.regime_at("guide", at("2026-11-05T00:00Z"), "UTC")
    scopes = {free_tier_scope(guide, "W1", number, at("2026-11-05T00:00Z"), "UTC") for number in ("N1", "N2")}
    assert scopes == {("free:W1:2026-11", 1000)}


def test_the_free_tier_of_2026_10_is_a_thousand_per_number() -> None:
    regime = REGIMES.regime_at("2026-10-01", at("2026-11-05T00:00Z"), "UTC")
    assert free_tier_scope(regime, "W1", "N1", at("2026-11-05T00:00Z"), "UTC") == ("free:N1:2026-11", 1000)
    assert free_tier_scope(regime, "W1", "N2", at("2026-11-05T00:00Z"), "UTC") == ("free:N2:2026-11", 1000)


@pytest.mark.parametrize("name", ["2024-11-01", "2025-07-01"])
def test_regimes_with_free_service_have_no_free_tier(name: str) -> None:
    now = at("2026-11-05T00:00Z")
    assert free_tier_scope(REGIMES.regime_at(name, now, "UTC"), "W1", "N1", now, "UTC") is None


@pytest.mark.parametrize(
    ("instant", "key"),
    [
        ("2026-11-30T23:30:00-03:00", "free:W1:2026-11"),
        ("2026-11-30T23:59:59-03:00", "free:W1:2026-11"),
        ("2026-12-01T00:00:00-03:00", "free:W1:2026-12"),
        ("2026-12-01T02:59:59Z", "free:W1:2026-11"),
        ("2026-12-01T03:00:00Z", "free:W1:2026-12"),
        ("2027-01-01T02:59:59Z", "free:W1:2026-12"),
        ("2027-01-01T03:00:00Z", "free:W1:2027-01"),
    ],
)
def test_the_month_of_the_free_tier_turns_in_the_accounts_time_zone(instant: str, key: str) -> None:
    guide = REGIMES.regime_at("guide", at(instant), SAO_PAULO)
    assert free_tier_scope(guide, "W1", "N1", at(instant), SAO_PAULO) == (key, 1000)


@given(INSTANTS, ZONES)
def test_a_free_tier_lasts_exactly_a_local_month(now: datetime, timezone: str) -> None:
    guide = REGIMES.regime_at("guide", now, timezone)
    local = now.astimezone(ZoneInfo(timezone))
    month_start = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    scope = free_tier_scope(guide, "W1", "N1", now, timezone)
    assert scope == free_tier_scope(guide, "W1", "N1", month_start, timezone)
    month_before = month_start.astimezone(UTC) - timedelta(seconds=1)
    assert scope != free_tier_scope(guide, "W1", "N1", month_before, timezone)


def test_the_shipped_rules_are_those_of_the_design() -> None:
    rows = [
        (r.starts_on, r.unit, r.service, r.utility_in_window_free, r.free_tier.scope if r.free_tier else None)
        for r in REGIMES.in_order
    ]
    assert rows == [
        (date(2023, 6, 1), "conversation", "free_tier", False, "waba"),
        (date(2024, 11, 1), "conversation", "free", False, None),
        (date(2025, 7, 1), "message", "free", True, None),
        (date(2026, 10, 1), "message", "free_tier", False, "number"),
    ]
    assert {(r.entry_point.answer_within_h, r.entry_point.lasts_h) for r in REGIMES.in_order} == {(24, 72)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('guide: "2023-06-01"', 'guide: "1999-01-01"'),
        ('guide: "2023-06-01"', 'calendar: "2023-06-01"'),
        ('name: "2024-11-01"', 'name: "2023-06-01"'),
        ("starts_on: 2024-11-01", "starts_on: 2024-11-02"),
        ("free_tier: {scope: waba, units_per_month: 1000}", "free_tier: null"),
        ("unit: conversation", "unit: character"),
        ("service: free_tier", "service: free_tier\n    surprise: true"),
    ],
)
def test_a_file_at_odds_with_itself_is_refused(old: str, new: str, tmp_path: Path) -> None:
    text = FILE.read_text("utf-8")
    assert old in text
    broken = tmp_path / "regimes.yaml"
    broken.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(RegimesFileError):
        Regimes.load(broken)
