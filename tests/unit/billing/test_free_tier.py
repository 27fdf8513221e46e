"""The free tier used and left: by the month's regime and its scope, in the account's zone."""

import msgspec
import pytest

from deploy.local.paths import REPOSITORY
from services.billing.free_tier import FreeTierUse, free_tier_of
from services.billing.tally_sums import Tally, TallyRow
from shared.accounts import Account
from shared.pricing import Regimes

REGIMES = Regimes.load(REPOSITORY / "config" / "regimes.yaml")


def row(number: str, free: int, type: str = "free_tier", category: str = "service") -> TallyRow:
    return TallyRow(
        phone_number_id=number, unit="message", category=category, market="Germany", type=type, free=free
    )


def month(*rows: TallyRow, month: str = "2026-11") -> Tally:
    return Tally("W1", month, list(rows), {})


def test_since_october_2026_each_number_has_a_thousand_messages_of_its_own() -> None:
    tally = month(row("N1", 300), row("N1", 12, "free_customer_service"), row("N2", 1000))
    found = free_tier_of(tally, Account(), ["N1", "N2", "N3"], REGIMES)
    assert found is not None
    assert (found.regime, found.scope, found.unit, found.units_per_month) == (
        "2026-10-01",
        "number",
        "message",
        1000,
    )
    assert found.use == [
        FreeTierUse("N1", 312, 688),
        FreeTierUse("N2", 1000, 0),
        FreeTierUse("N3", 0, 1000),
    ]


def test_the_guides_tier_is_the_accounts_over_all_its_numbers() -> None:
    tally = month(row("N1", 300), row("N2", 200))
    found = free_tier_of(tally, Account(regime="guide"), ["N1", "N2"], REGIMES)
    assert found is not None
    assert (found.scope, found.unit, found.use) == ("waba", "conversation", [FreeTierUse("W1", 500, 500)])


def test_what_is_free_for_another_reason_uses_up_nothing() -> None:
    rows = row("N1", 7, "free_entry_point"), row("N1", 5, "free_customer_service", "utility")
    found = free_tier_of(month(*rows), Account(), ["N1"], REGIMES)
    assert found is not None
    assert found.use == [FreeTierUse("N1", 0, 1000)]


def test_more_free_than_the_tier_has_leaves_nothing_rather_than_less() -> None:
    found = free_tier_of(month(row("N1", 1001)), Account(), [], REGIMES)
    assert found is not None
    assert found.use == [FreeTierUse("N1", 1001, 0)]


@pytest.mark.parametrize("of", ["2024-11", "2025-07", "2026-09"])
def test_a_month_whose_regime_has_no_tier_has_none(of: str) -> None:
    assert free_tier_of(month(row("N1", 3), month=of), Account(), ["N1"], REGIMES) is None


@pytest.mark.parametrize("timezone", ["Pacific/Kiritimati", "UTC", "Pacific/Pago_Pago"])
def test_the_regime_is_that_of_the_months_first_day_in_the_accounts_own_zone(timezone: str) -> None:
    account = Account(timezone=timezone)
    assert free_tier_of(month(month="2026-09"), account, [], REGIMES) is None
    assert free_tier_of(month(month="2026-10"), account, [], REGIMES) is not None


def test_the_answer_is_plain_json() -> None:
    found = free_tier_of(month(row("N1", 1)), Account(), [], REGIMES)
    assert msgspec.to_builtins(found)["use"] == [{"owner": "N1", "used": 1, "left": 999}]
