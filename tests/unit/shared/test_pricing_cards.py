"""Rates by card, market and date, and the reasons why there is none."""

import csv
import shutil
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.pricing import (
    Market,
    MarketMapError,
    PriceBook,
    Rate,
    RateCardError,
    RateCards,
    RateCategory,
    RateUnknown,
    Regime,
    rate_category,
)

CONFIG = Path(__file__).parents[3] / "config"
BOOK = PriceBook.load(CONFIG)
GERMAN, INDIAN, SATELLITE = "4915112345678", "919876543210", "870773111632"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
# The bounds of a strategy are naive; what it draws is aware.
INSTANTS = st.datetimes(datetime(2023, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
COLUMNS: dict[str, RateCategory] = {
    "Marketing": "marketing",
    "Utility": "utility",
    "Authentication": "authentication",
    "Authentication-International": "authentication_international",
    "Service": "service",
}


def regime(name: str) -> Regime:
    return BOOK.regimes.regime_at(name, NOW, "UTC")


def rate(
    name: str,
    category: RateCategory,
    user: str = GERMAN,
    currency: str = "USD",
    at: datetime = NOW,
    zone: str = "UTC",
) -> Rate | RateUnknown:
    return BOOK.cards.rate(regime(name), category, user, currency, at, zone)


@pytest.mark.parametrize(
    ("name", "category", "micros", "card"),
    [
        ("2024-11-01", "marketing", 136_500, "usd_cbp_2024-11-01"),
        ("2024-11-01", "utility", 55_000, "usd_cbp_2024-11-01"),
        ("2024-11-01", "authentication", 76_800, "usd_cbp_2024-11-01"),
        ("2025-07-01", "authentication", 55_000, "usd_2026-07-01"),
        ("2026-10-01", "service", 55_000, "usd_2026-10-01"),
        ("2026-10-01", "utility", 55_000, "usd_2026-10-01"),
    ],
)
def test_a_rate_is_what_metas_card_says(name: str, category: RateCategory, micros: int, card: str) -> None:
    assert rate(name, category) == Rate(micros, "USD", Market("Germany"), card, False, category)


def test_the_guides_rates_are_illustrative_and_say_so() -> None:
    found = rate("guide", "service")
    assert isinstance(found, Rate)
    assert found.illustrative
    assert found.rate_card == "illustrative_usd_guide"


def test_the_guides_card_prices_every_market_and_category_between_one_and_three_cents() -> None:
    card = BOOK.cards.by_id["illustrative_usd_guide"]
    expected = {
        (m, c)
        for m in BOOK.cards.markets.markets()
        for c in COLUMNS.values()
        if not c.endswith("international")
    }
    assert set(card.micros) == expected
    assert all(10_000 <= micros <= 30_000 for micros in card.micros.values())


@pytest.mark.parametrize("entry", sorted(BOOK.cards.by_id))
def test_a_card_shows_that_it_is_illustrative_in_its_id(entry: str) -> None:
    card = BOOK.cards.by_id[entry]
    assert card.illustrative == card.id.startswith("illustrative")
    assert card.source


@pytest.mark.parametrize(
    ("day", "card"),
    [
        (date(2025, 7, 1), "illustrative_usd_2025-07-01"),
        (date(2026, 6, 30), "illustrative_usd_2025-07-01"),
        (date(2026, 7, 1), "usd_2026-07-01"),
        (date(2026, 9, 30), "usd_2026-07-01"),
        (date(2030, 1, 1), "usd_2026-07-01"),
        (date(2020, 1, 1), "illustrative_usd_2025-07-01"),
    ],
)
def test_the_latest_card_in_force_counts(day: date, card: str) -> None:
    found = BOOK.cards.card_at(regime("2025-07-01"), "USD", day)
    assert found is not None
    assert found.id == card


def test_a_card_begins_at_midnight_of_the_accounts_time_zone() -> None:
    edge = datetime(2026, 7, 1, 2, 59, 59, tzinfo=UTC)
    before = rate("2025-07-01", "marketing", at=edge, zone="America/Sao_Paulo")
    after = rate(
        "2025-07-01", "marketing", at=edge.replace(hour=3, minute=0, second=0), zone="America/Sao_Paulo"
    )
    assert isinstance(before, Rate)
    assert isinstance(after, Rate)
    assert (before.rate_card, after.rate_card) == ("illustrative_usd_2025-07-01", "usd_2026-07-01")


def test_a_card_is_read_with_the_map_of_its_own_day() -> None:
    hong_kong, moroccan = "85261234567", "212612345678"
    stale = rate("2025-07-01", "utility", hong_kong, "INR", datetime(2026, 8, 1, tzinfo=UTC))
    pinned = rate("2025-07-01", "utility", moroccan)
    current = rate("2026-10-01", "utility", moroccan)
    assert [r.market for r in (stale, pinned, current) if isinstance(r, Rate)] == [
        "Rest of Asia Pacific",
        "Rest of Africa",
        "Morocco",
    ]


@pytest.mark.parametrize(
    ("name", "category", "user", "currency", "reason"),
    [
        ("guide", "marketing", SATELLITE, "USD", "no_market"),
        ("2026-10-01", "marketing", SATELLITE, "USD", "no_market"),
        ("guide", "marketing", GERMAN, "EUR", "no_card"),
        ("2026-10-01", "service", INDIAN, "INR", "no_card"),
        ("2024-11-01", "service", GERMAN, "USD", "no_rate"),
        ("2025-07-01", "service", GERMAN, "USD", "no_rate"),
        ("2026-10-01", "authentication_international", GERMAN, "USD", "no_rate"),
        ("guide", "authentication_international", INDIAN, "USD", "no_rate"),
    ],
)
def test_where_nothing_is_known_the_rate_is_unknown_with_a_reason(
    name: str, category: RateCategory, user: str, currency: str, reason: str
) -> None:
    found = rate(name, category, user, currency)
    assert isinstance(found, RateUnknown)
    assert found.reason == reason
    assert user not in found.detail


@given(
    st.sampled_from([r.name for r in BOOK.regimes.in_order]),
    st.sampled_from(sorted(COLUMNS.values())),
    st.sampled_from(
        [GERMAN, INDIAN, SATELLITE, "17875551234", "77011234567", "5355123456", "BR.123", "XX.1"]
    ),
    st.sampled_from(["USD", "INR", "EUR"]),
    INSTANTS,
    st.sampled_from(["UTC", "America/Sao_Paulo", "Asia/Kolkata"]),
)
def test_a_rate_is_above_zero_and_stands_on_a_card_of_the_regime_or_is_unknown(
    name: str, category: RateCategory, user: str, currency: str, at: datetime, zone: str
) -> None:
    found = rate(name, category, user, currency, at, zone)
    if isinstance(found, RateUnknown):
        return
    # The same by another road: the text of the file, scaled as a decimal.
    card = BOOK.cards.by_id[found.rate_card]
    column = next(column for column, c in COLUMNS.items() if c == category)
    assert found.amount_micros > 0
    assert found.currency == currency
    assert found.rate_card in regime(name).rate_cards
    assert Decimal(_text(card.id, found.market, column)) * 1_000_000 == found.amount_micros


def _text(card_id: str, market: str, column: str) -> str:
    name = (
        card_id
        if card_id.startswith("illustrative")
        else "rates_" + card_id.removesuffix("-01" * ("cbp" in card_id))
    )
    with (CONFIG / "rates" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return next(row[column] for row in csv.DictReader(file) if row["Market"] == market)


@pytest.mark.parametrize(
    ("meta", "ours"),
    [
        ("marketing", "marketing"),
        ("marketing_lite", "marketing"),
        ("AUTHENTICATION_INTERNATIONAL", "authentication_international"),
        ("authentication-international", "authentication_international"),
        ("service", "service"),
        ("referral_conversion", None),
        ("something_new", None),
    ],
)
def test_metas_category_names_a_column_or_none(meta: str, ours: str | None) -> None:
    assert rate_category(meta) == ours


@pytest.fixture
def rates(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONFIG / "rates", tmp_path / "rates"))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("manifest.yaml", "id: usd_2026-07-01", "id: usd_2026-10-01"),
        ("manifest.yaml", "id: illustrative_usd_guide", "id: usd_guide"),
        ("manifest.yaml", "id: usd_2026-07-01", "id: illustrative_usd_2026"),
        ("manifest.yaml", "currency: INR", "currency: USD"),
        ("manifest.yaml", "effective_from: 2026-07-01", "effective_from: soon"),
        ("manifest.yaml", "INR, MXN", "MXN"),
        ("manifest.yaml", "Türkiye: Turkey", "Türkiye: Atlantis"),
        ("manifest.yaml", "sureness: reported", "sureness: reported\n    replaced_by: nothing"),
        ("rates_usd_2026-07-01.csv", "Germany,USD,0.1365", "Germany,USD,0.13655555"),
        ("rates_usd_2026-07-01.csv", "Germany,USD,0.1365", "Germany,USD,-0.1365"),
        ("rates_usd_2026-07-01.csv", "Germany,USD,0.1365", "Germany,USD,free"),
        ("rates_usd_2026-07-01.csv", "Germany,USD,0.1365", "Germany,USD,NaN"),
        ("rates_usd_2026-07-01.csv", "Germany,USD", "Atlantis,USD"),
        ("rates_usd_2026-07-01.csv", "Germany,USD", "France,USD"),
        ("rates_usd_2026-07-01.csv", "Service", "Servus"),
    ],
)
def test_a_broken_card_is_refused_at_start(file: str, old: str, new: str, rates: Path) -> None:
    text = (rates / file).read_text("utf-8")
    assert old in text
    (rates / file).write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(RateCardError):
        RateCards.load(rates)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Germany,49,", "Germany,+49,"),
        ("Germany,49,", "Germany,33,"),
        ("Germany,49,,Germany", "Germany,49,,"),
        ("from_2026-07-01", "from_summer"),
    ],
)
def test_a_broken_market_map_is_refused_at_start(old: str, new: str, rates: Path) -> None:
    path = rates / "market_map.csv"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(MarketMapError):
        RateCards.load(rates)


def test_a_regime_that_names_a_missing_card_is_refused_at_start(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(CONFIG / "rates", tmp_path / "rates")).parent
    text = (CONFIG / "regimes.yaml").read_text("utf-8")
    (folder / "regimes.yaml").write_text(text.replace("[usd_2026-10-01]", "[usd_2099]"), "utf-8")
    with pytest.raises(RateCardError, match="usd_2099"):
        PriceBook.load(folder)


def test_a_regime_and_its_card_charge_the_same_unit(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(CONFIG / "rates", tmp_path / "rates")).parent
    text = (CONFIG / "regimes.yaml").read_text("utf-8")
    (folder / "regimes.yaml").write_text(text.replace("[usd_2026-10-01]", "[usd_cbp_2024-11-01]"), "utf-8")
    with pytest.raises(RateCardError, match="conversation"):
        PriceBook.load(folder)
