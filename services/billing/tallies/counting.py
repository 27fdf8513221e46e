"""The rows in memory: entries are added to decoded rows, and each touched row is encoded once per flush, however many entries it took."""

from collections.abc import Iterable, Mapping, MutableMapping

from services.billing.tally_rows import (
    DayLine,
    Line,
    Row,
    add_to_day,
    add_to_month,
    decode_row,
    encode_row,
    from_table_key,
    lines_of,
    to_table_key,
    without_hours,
)
from shared.events import LedgerEntry
from shared.stream.source import Source

MOST_OPEN = 20_000
"""Rows kept decoded between flushes, some kilobytes each with their hours; the rest are bytes in the table."""

Encoded = dict[Line, tuple[Source, bytes]]
"""Rows as they are made safe, each with the source of its last entry."""


class Counting:
    """The rows of one process. Pure but for what it remembers.

    Args:
        table: Faust's, of encoded rows; it is written at `encode_touched` only.
        most_open: rows kept decoded between flushes.
    """

    def __init__(self, table: MutableMapping[bytes, bytes], *, most_open: int = MOST_OPEN) -> None:
        self.hours_since = ""
        """The first day (`YYYY-MM-DD`) of which hours are kept; `drop_hours` moves it."""
        self._dropped_before = ""
        self._table = table
        self._most_open = most_open
        self._open: dict[Line, Row] = {}
        self._touched: dict[Line, Row] = {}

    def take(self, partition: int, entry: LedgerEntry, source: Source) -> bool:
        """Add an entry to its rows; whether it was new to the row of the month."""
        of_month, of_day = lines_of(partition, entry)
        month = add_to_month(self._row(of_month), entry, source)
        if month is not None:
            self._open[of_month] = self._touched[of_month] = month
        day = add_to_day(self._row(of_day), entry, source, hours=of_day.day >= self.hours_since)
        if day is not None:
            self._open[of_day] = self._touched[of_day] = day
        return month is not None

    def encode_touched(self) -> Encoded:
        """The rows touched since the last call, now in the table too."""
        touched, self._touched = self._touched, {}
        encoded: Encoded = {}
        for line, row in touched.items():
            value = encode_row(row)
            self._table[to_table_key(line)] = value
            encoded[line] = (row.source, value)
        if len(self._open) > self._most_open:
            self._open = {}
        return encoded

    def drop_hours(self, since: str) -> int:
        """Keep the hours of days from `since` on only; how many rows are touched by that. Days of an earlier call are not looked at again."""
        looked_at, self._dropped_before, self.hours_since = self._dropped_before, since, since
        dropped = 0
        for key in self._table:
            line = from_table_key(key)
            if isinstance(line, DayLine) and looked_at <= line.day < since:
                row = self._row(line)
                if row is not None and row.hours is not None:
                    self._open[line] = self._touched[line] = without_hours(row)
                    dropped += 1
        return dropped

    def of_partitions(self, partitions: Iterable[int]) -> Encoded:
        """All rows of some partitions, as they are in the table."""
        wanted = frozenset(partitions)
        return {
            line: (decode_row(value).source, value)
            for key, value in self._table.items()
            for line in (from_table_key(key),)
            if line.partition in wanted
        }

    def keep_only(self, partitions: Iterable[int]) -> None:
        """Forget what is decoded, and the rows of other partitions: the table has just been read back."""
        wanted = frozenset(partitions)
        self._open = {}
        self._dropped_before = ""
        for key in [key for key in self._table if from_table_key(key).partition not in wanted]:
            del self._table[key]

    def replace(self, rows: Mapping[Line, bytes]) -> Encoded:
        """Take encoded rows as they are."""
        for line, value in rows.items():
            self._open.pop(line, None)
            self._table[to_table_key(line)] = value
        return {line: (decode_row(value).source, value) for line, value in rows.items()}

    def _row(self, line: Line) -> Row | None:
        row = self._open.get(line)
        if row is None and (stored := self._table.get(to_table_key(line))) is not None:
            row = self._open[line] = decode_row(stored)
        return row
