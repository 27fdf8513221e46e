"""What of the free tier is used and left in a month: the tally and the account's facts in. Pure."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal

import msgspec

from services.billing.tally_sums import Tally
from shared.accounts import Account
from shared.pricing import Regimes, Unit, month_start

ENTRY_POINT = "free_entry_point"
"""The price type of what is free without the tier. All other service that is free under a regime with a tier, is free by the tier, whatever
Meta calls it: its webhooks say free_customer_service of that, too."""


class FreeTierUse(msgspec.Struct, frozen=True):
    """Of one owner of a free tier: delivered service units that were free, and how many more will be."""

    owner: str
    """The account's id, or the number's, as the tier's `scope` says."""
    used: int
    left: int


class FreeTierOfMonth(msgspec.Struct, frozen=True):
    """The free tier of an account's month, and its use by owner."""

    regime: str
    scope: Literal["waba", "number"]
    unit: Unit
    units_per_month: int
    use: list[FreeTierUse]


def free_tier_of(
    tally: Tally, account: Account, numbers: Iterable[str], regimes: Regimes
) -> FreeTierOfMonth | None:
    """The free tier by the regime of the month's first instant in the account's zone; None where that regime has none.

    Args:
        tally: of the month.
        account: the facts: regime pin and time zone.
        numbers: the account's numbers; of those that sent nothing all is left.
        regimes: all of them.

    Raises:
        UnknownRegimeError, zoneinfo.ZoneInfoNotFoundError: the facts name what nobody knows.
    """
    regime = regimes.regime_at(account.regime, month_start(tally.month, account.timezone), account.timezone)
    tier = regime.free_tier
    if tier is None:
        return None
    by_number = tier.scope == "number"
    used = Counter(dict.fromkeys(numbers if by_number else [tally.waba_id], 0))
    for row in tally.rows:
        if row.category == "service" and row.type != ENTRY_POINT:
            used[row.phone_number_id if by_number else tally.waba_id] += row.free
    size = tier.units_per_month
    use = [FreeTierUse(owner, count, max(0, size - count)) for owner, count in sorted(used.items())]
    return FreeTierOfMonth(regime.name, tier.scope, regime.unit, size, use)
