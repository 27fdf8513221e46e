"""A month's tally as billing answers it, and its money in words. Pure."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import msgspec


class Totals(msgspec.Struct, frozen=True):
    """What was counted free and paid, the money in millionths by currency, and the conversations that were opened."""

    free: int
    paid: int
    micros: dict[str, int]
    conversations_free: int = 0
    conversations_paid: int = 0


class Row(Totals, frozen=True, kw_only=True):
    """The same of one number, unit (conversation or message), category, market and price type."""

    phone_number_id: str
    unit: str
    category: str
    market: str
    type: str


class FreeTierUse(msgspec.Struct, frozen=True):
    """Service units of an owner, an account or a number, that were free, and how many more will be."""

    owner: str
    used: int
    left: int


class FreeTier(msgspec.Struct, frozen=True):
    """The free tier of an account's month."""

    scope: Literal["waba", "number"]
    unit: str
    units_per_month: int
    use: list[FreeTierUse]


class AsOf(msgspec.Struct, frozen=True):
    """So many entries of the ledger may not be counted yet; None where billing does not know."""

    waiting: int | None


class Tally(msgspec.Struct, frozen=True):
    """One account's month (`YYYY-MM` in its own time zone); `totals` by category."""

    waba_id: str
    month: str
    rows: list[Row]
    totals: dict[str, Totals]
    free_tier: FreeTier | None = None
    as_of: AsOf = AsOf(None)


class DayLine(Totals, frozen=True, kw_only=True):
    """The same of one day (`YYYY-MM-DD` in the account's time zone) and category."""

    day: str
    category: str


class Month(NamedTuple):
    """An account's month, and its days by category."""

    tally: Tally
    days: list[DayLine]


def by_day(lines: Iterable[DayLine]) -> dict[str, Totals]:
    """The totals of each day over all categories, in order."""
    days: dict[str, Totals] = {}
    for line in sorted(lines, key=lambda line: line.day):
        known = days.get(line.day, Totals(0, 0, {}))
        days[line.day] = Totals(
            known.free + line.free,
            known.paid + line.paid,
            {
                currency: known.micros.get(currency, 0) + line.micros.get(currency, 0)
                for currency in {**known.micros, **line.micros}
            },
            known.conversations_free + line.conversations_free,
            known.conversations_paid + line.conversations_paid,
        )
    return days


def free_tier_words(tally: Tally) -> list[str]:
    """One line for each owner of the free tier: what is used, and what is left."""
    tier = tally.free_tier
    if tier is None:
        return []
    return [
        f"free tier of {'account' if tier.scope == 'waba' else 'number'} {use.owner}: "
        f"{use.used:,} of {tier.units_per_month:,} service {tier.unit}s used, {use.left:,} left"
        for use in tier.use
    ]


def waiting_words(tally: Tally) -> str | None:
    """That the tally is not complete, where that is so."""
    if not tally.as_of.waiting:
        return None
    return f"{tally.as_of.waiting:,} entries of the ledger are not counted yet"


COUNTED = ("Free", "Paid", "Conversations free", "paid", "Amount")
"""Heads of the columns that `counted` fills."""


def counted(totals: Totals) -> tuple[str, ...]:
    """Totals in words, column by column."""
    counts = (totals.free, totals.paid, totals.conversations_free, totals.conversations_paid)
    return (*(f"{count:,}" for count in counts), amounts(totals))


def amounts(totals: Totals) -> str:
    """The money of all currencies, e.g. `1.05 USD`; a dash for nothing."""
    return ", ".join(money(micros, currency) for currency, micros in sorted(totals.micros.items())) or "—"


def money(micros: int, currency: str) -> str:
    """`12.345678 USD` without the zeros that say nothing, two decimals at least."""
    whole, rest = divmod(abs(micros), 1_000_000)
    decimals = f"{rest:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{whole:,}.{decimals} {currency}"
