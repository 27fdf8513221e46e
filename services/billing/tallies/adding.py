"""Adding a ledger entry to its row. Pure."""

from services.billing.tally import SEPARATOR, Line, Row
from shared.events import LedgerEntry
from shared.stream.source import Source


def line_of(partition: int, entry: LedgerEntry) -> Line:
    """The row that an entry of a partition of the ledger belongs to."""
    return Line(
        partition,
        _word(entry.waba_id),
        _word(entry.month),
        _word(entry.phone_number_id),
        _word(entry.category),
        _word(entry.market),
        _word(entry.type),
    )


def to_table_key(line: Line) -> bytes:
    """The table's key: it begins with the source partition, for a row shared by two of them would lose entries."""
    return SEPARATOR.join(map(str, line)).encode()


def from_table_key(key: bytes) -> Line:
    """What `to_table_key` made."""
    partition, *words = key.decode().split(SEPARATOR)
    return Line(int(partition), *words)


def add(row: Row | None, entry: LedgerEntry, source: Source) -> Row | None:
    """The row with the entry of `source` in it; None when it is in already: the row remembers the last one it took.

    The ledger's own offsets do not do for that: a ledger that was killed publishes its last entries once more, further on.
    """
    if row is None:
        row = Row(source=Source(0, -1, 0))
    if source <= row.source:
        return None
    micros = {**row.micros, entry.currency: row.micros.get(entry.currency, 0) + entry.amount_micros}
    return Row(
        source=source,
        free=row.free + (entry.counts if entry.free else 0),
        paid=row.paid + (0 if entry.free else entry.counts),
        micros=micros,
    )


def _word(text: str) -> str:
    return text.replace(SEPARATOR, "/")
