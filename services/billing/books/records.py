"""One record of the ledger with its coordinates, and which of its records are entries: the first of each source. Pure.

A ledger that was killed between commit and publication publishes its last batch once more, further on and with the same `wa-source`.
Such a repetition is a record, and no entry.
"""

from collections import deque
from typing import Literal, NamedTuple

import msgspec

from shared.events import LedgerEntry, decode_ledger_entry, encode
from shared.stream.source import Source

REMEMBERED = 8192
"""Entries of a partition against which a repetition is compared: several batches of the ledger, which repeats one at most."""

Standing = Literal["entry", "repetition", "conflict", "stray", "unreadable"]
"""What a record is: an entry; the same again; another content under the source of an entry; one of a source that is long past and was
not among the last entries; or nothing that can be read."""


class Place(NamedTuple):
    """Where a record stands in the ledger's topic, and in which archived file it was read; None: in the topic itself."""

    partition: int
    offset: int
    file: str | None = None

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}" + (f" in {self.file}" if self.file else "")


class LedgerRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of the ledger.

    Attributes:
        place: its coordinates.
        published_ms: Kafka's time of the record.
        source: the `wa-source` header as text; None where there was none.
        value: the record's bytes.
        entry: what they say; None where that can't be read.
        from_event: the send event it came of; None where the header does not say.
    """

    place: Place
    published_ms: int
    source: str | None
    value: bytes
    entry: LedgerEntry | None
    from_event: Source | None


class Read(NamedTuple):
    """A record and what it is."""

    record: LedgerRecord
    standing: Standing


def read_record(place: Place, published_ms: int, source: bytes | None, value: bytes | None) -> LedgerRecord:
    """A record as the topic has it."""
    try:
        entry = decode_ledger_entry(value or b"")
    except msgspec.MsgspecError:
        entry = None
    text = None if source is None else source.decode("utf-8", "replace")
    return LedgerRecord(place, published_ms, text, value or b"", entry, event_of(text))


def event_of(source: str | None) -> Source | None:
    """The send event that a `wa-source` header names."""
    try:
        return Source.parse(source.encode() if source is not None else None)
    except ValueError:
        return None


class Once:
    """Tells the entries of one partition from their repetitions, in the order of offsets.

    Args:
        greatest: (offset, index) of the greatest source before the first record told, if the partition is not read from its beginning.
    """

    def __init__(self, greatest: tuple[int, int] = (-1, 0)) -> None:
        self.greatest = greatest
        self._last: dict[tuple[int, int], bytes] = {}
        self._order: deque[tuple[int, int]] = deque()

    def standing(self, record: LedgerRecord) -> Standing:
        """What the next record is."""
        source = record.from_event
        if record.entry is None or source is None:
            return "unreadable"
        at = (source.offset, source.nth)
        content = encode(record.entry)
        if at > self.greatest:
            self.greatest = at
            self._last[at] = content
            self._order.append(at)
            if len(self._order) > REMEMBERED:
                del self._last[self._order.popleft()]
            return "entry"
        known = self._last.get(at)
        if known is None:
            return "stray"
        return "repetition" if known == content else "conflict"
