"""The rows of the tallies: what each counts, its place in Faust's table and in Redis, its bytes. Pure.

Each ledger entry is counted in two rows: one of the month (number, unit, category, market, type) and one of the day (category), which
holds its UTC hours besides.
"""

from functools import lru_cache
from typing import NamedTuple

import msgspec

from shared.events import LedgerEntry
from shared.stream.source import Source

SEPARATOR = "|"

SHAPE = 2
"""Version of the rows' shape. It is part of every name, so that rows of another shape are never met: the ledger is counted afresh beside them."""


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """Units (of the entry's `unit`) and opened conversations, free and paid, and money in millionths by currency."""

    free: int = 0
    paid: int = 0
    conversations_free: int = 0
    conversations_paid: int = 0
    micros: dict[str, int] = {}

    def plus(self, entry: LedgerEntry) -> "Counts":
        """With an entry in it. A currency appears with its first money, so that what is free costs no bytes."""
        micros = self.micros
        if entry.amount_micros:
            micros = {**micros, entry.currency: micros.get(entry.currency, 0) + entry.amount_micros}
        if entry.free:
            return Counts(
                self.free + entry.counts,
                self.paid,
                self.conversations_free + entry.conversations,
                self.conversations_paid,
                micros,
            )
        return Counts(
            self.free,
            self.paid + entry.counts,
            self.conversations_free,
            self.conversations_paid + entry.conversations,
            micros,
        )


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One row: the source of the last ledger entry in it, the counts, and of a day those of its UTC hours (`2026-11-20T12`).

    `hours` is None in a row of the month, and in one of a day whose hours are no longer kept.
    """

    source: Source
    counts: Counts
    hours: dict[str, Counts] | None = None


class MonthLine(NamedTuple):
    """What a row of a month counts, within one partition of the ledger."""

    partition: int
    waba_id: str
    month: str
    phone_number_id: str
    unit: str
    category: str
    market: str
    type: str

    @property
    def field(self) -> str:
        """The row's field in its hash."""
        return SEPARATOR.join((str(self.partition), *self[3:]))

    def hash_key(self, namespace: str, generation: int) -> str:
        """The hash of the account's month."""
        return month_key(namespace, generation, self.waba_id, self.month)


class DayLine(NamedTuple):
    """What a row of a day counts, within one partition of the ledger; `day` and `month` are the account's own."""

    partition: int
    waba_id: str
    month: str
    day: str
    category: str

    @property
    def field(self) -> str:
        """The row's field in its hash."""
        return SEPARATOR.join((str(self.partition), *self[3:]))

    def hash_key(self, namespace: str, generation: int) -> str:
        """The hash of the days of the account's month."""
        return days_key(namespace, generation, self.waba_id, self.month)


Line = MonthLine | DayLine

encode_row = msgspec.json.Encoder().encode
decode_row = msgspec.json.Decoder(Row).decode


def name(generation: int) -> str:
    """What tells these tallies from those of another generation or shape: a part of every name."""
    return f"{SHAPE}.{generation}"


def key_prefix(namespace: str, generation: int) -> str:
    """`{namespace}:tallies:{shape}.{generation}`: the first part of every key in Redis."""
    return f"{namespace}:tallies:{name(generation)}"


def month_key(namespace: str, generation: int, waba_id: str, month: str) -> str:
    """The hash of an account's month: one field a `MonthLine`."""
    return f"{key_prefix(namespace, generation)}:{waba_id}:{month}"


def days_key(namespace: str, generation: int, waba_id: str, month: str) -> str:
    """The hash of the days of an account's month: one field a `DayLine`."""
    return f"{month_key(namespace, generation, waba_id, month)}:days"


def known_key(namespace: str, generation: int) -> str:
    """The set of `account|month` of which there are rows."""
    return f"{key_prefix(namespace, generation)}:known"


def lines_of(partition: int, entry: LedgerEntry) -> tuple[MonthLine, DayLine]:
    """The two rows that an entry of a partition of the ledger belongs to."""
    waba_id, month, category = _word(entry.waba_id), _word(entry.month), _word(entry.category)
    return (
        MonthLine(
            partition,
            waba_id,
            month,
            _word(entry.phone_number_id),
            entry.unit,
            category,
            _word(entry.market),
            _word(entry.type),
        ),
        DayLine(partition, waba_id, month, _word(entry.day), category),
    )


def to_table_key(line: Line) -> bytes:
    """The table's key: it begins with the source partition, for a row shared by two of them would lose entries."""
    kind = "month" if isinstance(line, MonthLine) else "day"
    return SEPARATOR.join((str(line.partition), kind, *line[1:])).encode()


def from_table_key(key: bytes) -> Line:
    """What `to_table_key` made."""
    partition, kind, *words = key.decode().split(SEPARATOR)
    return (MonthLine if kind == "month" else DayLine)(int(partition), *words)


def add_to_month(row: Row | None, entry: LedgerEntry, source: Source) -> Row | None:
    """The month's row with the entry of `source` in it; None when it is in already: the row remembers the last one it took.

    The ledger's own offsets do not do for that: a ledger that was killed publishes its last entries once more, further on.
    """
    if row is None:
        return Row(source, _NOTHING.plus(entry))
    return None if source <= row.source else Row(source, row.counts.plus(entry))


def add_to_day(row: Row | None, entry: LedgerEntry, source: Source, *, hours: bool) -> Row | None:
    """The day's row, as `add_to_month`, and its hour; a new row keeps its hours if `hours`, and one that has dropped them gets none."""
    if row is None:
        row = Row(_BEFORE_ALL, _NOTHING, {} if hours else None)
    if source <= row.source:
        return None
    kept = row.hours
    if kept is not None:
        hour = entry.delivered_at[:13]
        kept = {**kept, hour: kept.get(hour, _NOTHING).plus(entry)}
    return Row(source, row.counts.plus(entry), kept)


def without_hours(row: Row) -> Row:
    """A day's row that keeps its sum only."""
    return Row(row.source, row.counts)


_BEFORE_ALL = Source(0, -1, 0)
_NOTHING = Counts()


@lru_cache(maxsize=1 << 16)
def _word(text: str) -> str:
    return text.replace(SEPARATOR, "/")
