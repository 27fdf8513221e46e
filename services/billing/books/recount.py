"""The tallies' rows counted afresh from the ledger, and whether the rows in Redis are the same. Pure but for what it remembers.

Tallies that go on meanwhile are compared row by row: a row of theirs must be, in counts and source, what the fresh count had at some entry
between the ledger's end before Redis was read and its end after.
"""

from collections.abc import Mapping
from typing import NamedTuple

from services.billing.books.digests import of_rows
from services.billing.books.records import LedgerRecord
from services.billing.tallies.counting import Counting
from services.billing.tally_rows import (
    Line,
    Row,
    decode_row,
    encode_row,
    from_table_key,
    to_table_key,
    without_hours,
)

TOUCHED_AT_MOST = 10_000
"""Records counted between two encodings of the rows they touched."""


class Different(NamedTuple):
    """A row that is not in Redis as it was counted afresh; None where there is none."""

    line: Line
    recounted: Row | None
    shown: Row | None


class Recount:
    """All rows of the ledger. Records are added in the order of each partition; what the tallies would skip is skipped here by the same rule."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self._counting = Counting(self.rows)
        self._taken = 0

    def add(self, record: LedgerRecord) -> None:
        """Count a record of the ledger; the tallies park what they can't read."""
        source = record.from_event
        if record.entry is None or source is None:
            return
        self._counting.take(record.place.partition, record.entry, source)
        self._taken += 1
        if self._taken % TOUCHED_AT_MOST == 0:
            self._counting.encode_touched()

    def encoded(self) -> dict[Line, bytes]:
        """Every row as it is now."""
        self._counting.encode_touched()
        return {from_table_key(key): value for key, value in self.rows.items()}

    def add_and_tell(self, record: LedgerRecord) -> dict[Line, bytes]:
        """Count one more record, and give the rows it changed."""
        self.add(record)
        return {line: value for line, (_, value) in self._counting.encode_touched().items()}


class Comparison:
    """Rows in Redis beside those counted afresh.

    Args:
        recounted: as of an end of the ledger that the tallies had reached when `shown` was read.
        shown: the rows in Redis.
    """

    def __init__(self, recounted: Mapping[Line, bytes], shown: Mapping[Line, bytes]) -> None:
        self._shown = {line: decode_row(value) for line, value in shown.items()}
        self._recounted: dict[Line, Row] = {}
        self._open: set[Line] = set(self._shown)
        for line, value in recounted.items():
            self._look(line, value)

    def later(self, rows: Mapping[Line, bytes]) -> None:
        """Rows as they are after one more entry: tallies that went on may show them so."""
        for line, value in rows.items():
            if line in self._open:
                self._look(line, value)

    def different(self) -> list[Different]:
        """The rows that never were as Redis shows them, in order."""
        return [
            Different(line, self._recounted.get(line), self._shown.get(line))
            for line in sorted(self._open, key=to_table_key)
        ]

    def digests(self) -> dict[tuple[str, str], tuple[str, str]]:
        """(account, month) → the digests of its rows counted afresh and in Redis."""
        months: dict[tuple[str, str], tuple[list[bytes], list[bytes]]] = {}
        for index, rows in enumerate((self._recounted, self._shown)):
            for line, row in rows.items():
                of_month = months.setdefault((line.waba_id, line.month), ([], []))
                of_month[index].append(to_table_key(line) + b" " + encode_row(row))
        return {key: (of_rows(ours), of_rows(theirs)) for key, (ours, theirs) in sorted(months.items())}

    def _look(self, line: Line, value: bytes) -> None:
        row, shown = decode_row(value), self._shown.get(line)
        if shown is not None and shown.hours is None:
            row = without_hours(row)  # the tallies keep the hours of some days only
        self._recounted[line] = row
        if row == shown:
            self._open.discard(line)
        else:
            self._open.add(line)
