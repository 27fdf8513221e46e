"""Compares one partition of the ledger with the send events it came of, folded anew. Pure.

Events and entries go side by side by the entries' `wa-source`. Where an entry is not as the fold has it now, the message is followed both ways, as
folded and as booked, until its next event tells which it was: so one wrong entry is one finding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from services.billing.books.findings import Finding, Kind, cause, differences, of_entry
from services.billing.books.messages import after, index_of, message_of
from services.billing.books.records import Read
from services.billing.ledger import CORRECTABLE_MS, LedgerFold, Remembered
from shared.accounts import AccountFacts
from shared.events import LedgerEntry, SendEvent, decode_ledger_entry
from shared.pricing import PriceBook
from shared.stream.fold import Grants, Recalled, Step
from shared.stream.source import Source
from shared.times import DAY_MS

KNOWN_MS = CORRECTABLE_MS + 15 * DAY_MS
"""How long a message is known after its last entry: none is corrected later than the ledger remembers it."""
PRUNE_EVERY = 10_000

_PLAIN = Grants()


class Outcome(NamedTuple):
    """What became of an event: the findings, and the entries that the ledger should have of it, with their index."""

    findings: Sequence[Finding] = ()
    entries: Sequence[tuple[int, LedgerEntry]] = ()


class _Known(NamedTuple):
    """What is known of a message: its states (encoded), as folded and, where they differ, as booked; when its last entry was published."""

    states: tuple[bytes, ...]
    published_ms: int


_NOTHING = Outcome()


class PartitionAudit:
    """The audit of one partition, record by record.

    Args:
        fold: the ledger's own fold.
        facts: of the accounts, as of now.
        book: regimes and cards, as of now, for telling causes.
        kept_from: the offset of the first send event that Kafka still has.
    """

    def __init__(self, fold: LedgerFold, facts: AccountFacts, book: PriceBook, kept_from: int) -> None:
        self.compared = 0
        self.of_unknown_beginning = 0
        self._fold = fold
        self._facts = facts
        self._book = book
        self._kept_from = kept_from
        self._known: dict[str, _Known] = {}
        self._unknown: set[str] = set()
        self._seen = 0

    def earlier(self, read: Read) -> list[Finding]:
        """An entry whose event Kafka no longer has: only its place among the message's entries can be checked."""
        record = read.record
        entry = record.entry
        if entry is None:
            return []
        key = message_of(entry)
        known = self._known.pop(key, None)
        state = None if known is None else self._fold.decode_state(known.states[0])
        booked = state.entries if state is not None else 0
        index = index_of(entry)
        self._known[key] = _Known((self._fold.encode_state(after(state, entry, index)),), record.published_ms)
        self._prune(record.published_ms)
        if index == booked:
            return []
        if 0 <= index < booked:
            text = f"entry {index} of the message is there already"
            return [of_entry("doubled", text, entry, record.place, record.source)]
        text = f"entry {index} of the message comes after {booked}" if index > 0 else "its id names no entry"
        return [of_entry("sequence", text, entry, record.place, record.source)]

    def event(self, source: Source, key: str, value: bytes, reads: Sequence[Read]) -> Outcome:
        """A send event and the entries that name it as their source.

        Args:
            source: the event's coordinates; the index is ignored.
            key: of the record.
            value: of the record.
            reads: the entries, in the order of their index.
        """
        try:
            event = self._fold.decode(value)
            message = self._fold.key(key, event)
        except (msgspec.MsgspecError, ValueError):
            return Outcome([_unfounded(read, "its event can't be read") for read in reads])
        if not message:
            return (
                _NOTHING
                if not reads
                else Outcome([_unfounded(read, "its event charges nothing") for read in reads])
            )
        known = self._known.get(message)
        if message in self._unknown or (known is None and self._began_earlier(event)):
            self._unknown.add(message)
            self.of_unknown_beginning += len(reads)
            return Outcome((), _indexed(reads))
        return self._compare(source, message, event, known, reads)

    def _began_earlier(self, event: SendEvent) -> bool:
        """Whether the message was delivered before the events that are kept, and left no entry then: nobody knows its state."""
        return self._kept_from > 0 and event.charge is None and event.request_id is not None

    def _compare(
        self, source: Source, message: str, event: SendEvent, known: _Known | None, reads: Sequence[Read]
    ) -> Outcome:
        states: list[Remembered | None] = (
            [None] if known is None else [self._fold.decode_state(state) for state in known.states]
        )
        published_ms = reads[-1].record.published_ms if reads else known.published_ms if known else 0
        self.compared += len(reads)
        steps = [self._step(state, event) for state in states]
        agreed = [step.state for step in steps if _agrees(step, reads)]
        if agreed:
            if agreed != states:
                self._keep(message, published_ms, *agreed)
            return Outcome((), _indexed(reads)) if reads else _NOTHING
        step, state = steps[0], states[0]
        actual = Recalled(tuple(read.record.value for read in reads))
        booked = self._step(state, event, Grants(recalled=actual))
        self._keep(message, published_ms, step.state, booked.state)
        expected = [decode_ledger_entry(out.value) for out in step.out]
        return Outcome(self._differing(source, event, expected, reads, state), list(enumerate(expected)))

    def _step(self, state: Remembered | None, event: SendEvent, grants: Grants = _PLAIN) -> Step[Remembered]:
        try:
            return self._fold.fold(state, event, self._facts, grants)
        except Exception:  # noqa: BLE001 the ledger parks such an event, its state untouched
            return Step(state)

    def _keep(self, message: str, published_ms: int, *states: Remembered | None) -> None:
        encoded = tuple(
            dict.fromkeys(self._fold.encode_state(state) for state in states if state is not None)
        )
        if encoded:
            self._known[message] = _Known(encoded, published_ms)

    def _differing(
        self,
        source: Source,
        event: SendEvent,
        expected: Sequence[LedgerEntry],
        reads: Sequence[Read],
        state: Remembered | None,
    ) -> list[Finding]:
        findings = []
        by_index = {read.record.from_event.nth: read for read in reads if read.record.from_event is not None}
        for nth, wanted in enumerate(expected):
            read = by_index.pop(nth, None)
            at = source._replace(nth=nth)
            if read is None or read.record.entry is None:
                text = f"{wanted.entry} of {wanted.amount_micros} millionths {wanted.currency} by event {event.event_id}"
                findings.append(of_entry("missing", text, wanted, None, at))
                continue
            entry = read.record.entry
            if fields := differences(entry, wanted):
                told = ", ".join(
                    f"{name} {_text(entry, name)}, by the event {_text(wanted, name)}" for name in fields
                )
                text = f"{told}; {cause(entry, wanted, fields, self._facts, self._book)}"
                findings.append(of_entry("different", text, entry, read.record.place, at, fields))
        booked = (state.entries if state is not None else 0) + len(expected)
        for read in by_index.values():
            more = read.record.entry
            if more is not None and 0 <= index_of(more) < booked:
                text = f"entry {index_of(more)} of the message is there already"
                findings.append(of_entry("doubled", text, more, read.record.place, read.record.source))
            else:
                findings.append(_unfounded(read, f"event {event.event_id} does not call for it"))
        return findings

    def _prune(self, now_ms: int) -> None:
        self._seen += 1
        if self._seen % PRUNE_EVERY:
            return
        for key, known in list(self._known.items()):
            if known.published_ms >= now_ms - KNOWN_MS:
                break
            del self._known[key]


def odd(read: Read) -> Finding | None:
    """The finding that a record is by itself; None for an entry and its plain repetition."""
    record = read.record
    texts: dict[str, tuple[Kind, str]] = {
        "conflict": ("doubled", "its event has an entry of another content already"),
        "stray": ("stray", "later events have entries already, and it repeats none of the last ones"),
        "unreadable": ("unreadable", f"wa-source {record.source}, {len(record.value)} bytes"),
    }
    if read.standing not in texts:
        return None
    kind, text = texts[read.standing]
    return of_entry(kind, text, record.entry, record.place, record.source)


def without_event(read: Read) -> Finding:
    """An entry that names an event which the topic does not have and never had."""
    return _unfounded(read, "there is no such event")


def _agrees(step: Step[Remembered], reads: Sequence[Read]) -> bool:
    if len(step.out) != len(reads):
        return False
    for nth, (out, read) in enumerate(zip(step.out, reads, strict=True)):
        source, entry = read.record.from_event, read.record.entry
        if source is None or source.nth != nth or entry is None:
            return False
        if out.value != read.record.value and differences(entry, decode_ledger_entry(out.value)):
            return False
    return True


def _indexed(reads: Sequence[Read]) -> list[tuple[int, LedgerEntry]]:
    return [
        (source.nth, entry)
        for read in reads
        if (entry := read.record.entry) is not None and (source := read.record.from_event) is not None
    ]


def _unfounded(read: Read, text: str) -> Finding:
    record = read.record
    return of_entry("unfounded", text, record.entry, record.place, record.source)


def _text(entry: LedgerEntry, name: str) -> str:
    value = getattr(entry, name)
    return bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)
