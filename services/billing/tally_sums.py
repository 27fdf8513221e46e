"""The sums that readers are told: rows of the tallies in, an account's month by line and its spend by day and hour out. Pure.

A row belongs to one partition of the ledger (`tally_rows`), so everything is summed over partitions.
"""

from collections.abc import Iterable

import msgspec

from services.billing.tally_rows import SEPARATOR, Counts, Row


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted: units (conversations or messages, as the regime has it), opened conversations, money in millionths by currency."""

    free: int = 0
    paid: int = 0
    conversations_free: int = 0
    conversations_paid: int = 0
    micros: dict[str, int] = {}


class TallyRow(Totals, frozen=True, kw_only=True):
    """Counts and money of one number, unit, category, market and price type in a month."""

    phone_number_id: str
    unit: str
    category: str
    market: str
    type: str


class Tally(msgspec.Struct, frozen=True):
    """An account's month (`YYYY-MM` in its own time zone); `totals` by category."""

    waba_id: str
    month: str
    rows: list[TallyRow]
    totals: dict[str, Totals]


class SpendLine(Totals, frozen=True, kw_only=True):
    """Counts and money of one category in a day of the account's time zone, or in one UTC hour of it.

    `hour` is the hour's beginning, RFC 3339; null for the whole day. Where the zone is no whole hour from UTC, one hour has a line in two days.
    """

    day: str
    hour: str | None
    category: str


class Spend(msgspec.Struct, frozen=True):
    """An account's month by day and by hour; what was delivered then, corrections included, whenever they came.

    A day whose hours are no longer kept has no lines in `hours` and is named in `hours_dropped`.
    """

    waba_id: str
    month: str
    days: list[SpendLine]
    hours: list[SpendLine]
    hours_dropped: list[str]


def tally_of(waba_id: str, month: str, fields: Iterable[tuple[str, Row]]) -> Tally:
    """Sum rows of the month (field, row) over partitions; lines whose corrections left nothing are dropped."""
    parts: dict[tuple[str, ...], list[Counts]] = {}
    for field, row in fields:
        _, *line = field.split(SEPARATOR)
        parts.setdefault(tuple(line), []).append(row.counts)
    rows = []
    for (number, unit, category, market, type_), counts in sorted(parts.items()):
        if _anything(sums := summed(counts)):
            rows.append(
                TallyRow(
                    phone_number_id=number,
                    unit=unit,
                    category=category,
                    market=market,
                    type=type_,
                    **msgspec.structs.asdict(sums),
                )
            )
    totals = {
        category: summed(row for row in rows if row.category == category)
        for category in sorted({row.category for row in rows})
    }
    return Tally(waba_id, month, rows, totals)


def spend_of(waba_id: str, month: str, fields: Iterable[tuple[str, Row]]) -> Spend:
    """Sum rows of days (field, row) over partitions; lines whose corrections left nothing are dropped."""
    days: dict[tuple[str, str], list[Counts]] = {}
    hours: dict[tuple[str, str, str], list[Counts]] = {}
    dropped = set()
    for field, row in fields:
        _, day, category = field.split(SEPARATOR)
        days.setdefault((day, category), []).append(row.counts)
        if row.hours is None:
            dropped.add(day)
            continue
        for hour, counts in row.hours.items():
            hours.setdefault((day, hour, category), []).append(counts)
    return Spend(
        waba_id,
        month,
        [
            SpendLine(day=day, hour=None, category=category, **msgspec.structs.asdict(sums))
            for (day, category), counts in sorted(days.items())
            if _anything(sums := summed(counts))
        ],
        [
            SpendLine(day=day, hour=f"{hour}:00:00Z", category=category, **msgspec.structs.asdict(sums))
            for (day, hour, category), counts in sorted(hours.items())
            if day not in dropped and _anything(sums := summed(counts))
        ],
        sorted(dropped),
    )


def summed(parts: Iterable[Counts | Totals]) -> Totals:
    """All counts together; currencies in order, without those that came to nothing."""
    free = paid = conversations_free = conversations_paid = 0
    micros: dict[str, int] = {}
    for part in parts:
        free += part.free
        paid += part.paid
        conversations_free += part.conversations_free
        conversations_paid += part.conversations_paid
        for currency, amount in part.micros.items():
            micros[currency] = micros.get(currency, 0) + amount
    return Totals(
        free=free,
        paid=paid,
        conversations_free=conversations_free,
        conversations_paid=conversations_paid,
        micros={currency: amount for currency, amount in sorted(micros.items()) if amount},
    )


def _anything(totals: Totals) -> bool:
    return totals != _NOTHING


_NOTHING = Totals()
