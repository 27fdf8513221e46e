"""Verifies the ledger: its archive in itself, and its entries against the send events that Kafka still has, partition by partition.

Up to the events that the ledger has folded when it begins; what comes later is counted, not judged.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

import msgspec

from services.billing.app import GROUP
from services.billing.books.archive import Archive, file_problems, unlike_manifest
from services.billing.books.audit import PartitionAudit, odd, without_event
from services.billing.books.findings import Finding, Kind
from services.billing.books.reading import Ledger
from services.billing.books.records import Read
from services.billing.books.segments import breaks
from services.billing.books.topic import TopicReader
from services.billing.ledger import LedgerFold
from services.billing.tallies.offsets import GroupOffsets
from shared.account_reader import read_once
from shared.events import LedgerEntry
from shared.logs import hasher
from shared.pricing import PriceBook
from shared.settings import ServiceSettings
from shared.stream.source import Source
from shared.topics import SEND_EVENTS

MOST_FINDINGS = 1000
"""So many are told one by one; all are counted."""


class Counts(msgspec.Struct):
    """What was looked at.

    Attributes:
        records, entries, repetitions: of the ledger.
        events: send events that were folded anew.
        compared: entries that were compared with their events.
        earlier: entries whose events Kafka no longer has; only their sequence was checked.
        of_unknown_beginning: entries of messages that were delivered before those events; they were not judged.
        later: entries of events that the ledger folded after the verification had begun.
        not_folded: events that the ledger had yet to fold then.
        segments, files: of the archive.
    """

    records: int = 0
    entries: int = 0
    repetitions: int = 0
    events: int = 0
    compared: int = 0
    earlier: int = 0
    of_unknown_beginning: int = 0
    later: int = 0
    not_folded: int = 0
    segments: int = 0
    files: int = 0


class Report(msgspec.Struct):
    """What a verification found.

    Attributes:
        found: findings by kind; `findings` holds the first of them.
        chain_head: the SHA-256 of the archive's last manifest.
        read_to: partition → the ledger's end up to which it was read.
    """

    agrees: bool
    counts: Counts
    found: dict[Kind, int]
    findings: list[Finding]
    chain_head: str | None
    read_to: dict[int, int]


class Observer(Protocol):
    """Who else wants to see what a verification reads."""

    def record(self, read: Read) -> None:
        """Each record of the ledger, in order of partition and offset."""
        ...

    def recomputed(self, source: Source, entry: LedgerEntry) -> None:
        """Each entry that the ledger should have: folded anew where its event is kept, else as it is. In order of partition and source."""
        ...


async def verify(
    settings: ServiceSettings, archive: Archive | None, observer: Observer | None = None
) -> Report:
    """Verify the whole ledger.

    Raises:
        ArchiveDamaged: a manifest or file can't be read at all.
        aiokafka.errors.KafkaError: Kafka does not answer, or a topic is missing.
    """
    book = PriceBook.load(settings.config_dir)
    fold = LedgerFold(book, hasher(settings.log_key.get_secret_value()))
    facts = await read_once(settings)
    run = _Verification(observer)
    if archive is not None:
        run.look_at(archive)
    async with TopicReader(settings, SEND_EVENTS) as events:
        kept, ends = await events.begins(), await events.ends()
        folded = await _folded(settings, events) or ends
        async with Ledger(settings, archive) as ledger:
            newest = await events.ends()
            for n in ledger.partitions:
                end = min(ends.get(n, 0), folded.get(n, 0))
                run.counts.not_folded += ends.get(n, 0) - end
                audit = PartitionAudit(fold, facts, book, kept.get(n, 0))
                async with aclosing(_Entries(n, ledger, run)) as entries:
                    await run.earlier(audit, entries, kept.get(n, 0))
                    await run.events(audit, entries, events.records(n, kept.get(n, 0), end))
                    await run.later(entries, newest.get(n, 0))
                run.counts.compared += audit.compared
                run.counts.of_unknown_beginning += audit.of_unknown_beginning
            for gap in ledger.gaps:
                text = f"{ledger.topic.name}[{gap.partition}] lacks {gap.first} to {gap.end - 1}"
                if archive is None:
                    text += "; no archive was named (WA_LEDGER_ARCHIVE_DIR)"
                run.tell([Finding(kind="gap", text=text, place=f"{gap.partition}:{gap.first}")])
    return run.report(archive, ledger.ends)


async def _folded(settings: ServiceSettings, events: TopicReader) -> Mapping[int, int]:
    """Partition → the event that the ledger folds next; nothing where no ledger ever ran, so that every event counts."""
    offsets = GroupOffsets(settings, group=f"{settings.topic_prefix}{GROUP}", topic=events.name)
    try:
        await offsets.start()
        committed = await offsets.committed(events.partitions)
    finally:
        await offsets.stop()
    return committed if any(committed.values()) else {}


class _Verification:
    """The findings and counts of one run."""

    def __init__(self, observer: Observer | None) -> None:
        self.counts = Counts()
        self._observer = observer
        self._found: Counter[Kind] = Counter()
        self._findings: list[Finding] = []

    def tell(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._found[finding.kind] += 1
            if len(self._findings) < MOST_FINDINGS:
                self._findings.append(finding)

    def report(self, archive: Archive | None, read_to: dict[int, int]) -> Report:
        head = archive.chain[-1].sha256 if archive is not None and archive.chain else None
        return Report(not self._found, self.counts, dict(self._found), self._findings, head, read_to)

    def look_at(self, archive: Archive) -> None:
        """The archive in itself: chain, digests, rows and sums."""
        self.counts.segments = len(archive.chain)
        self.counts.files = sum(len(sealed.manifest.files) for sealed in archive.chain)
        self.tell(
            Finding(kind="chain", text=f"segment {number} {text}") for number, text in breaks(archive.chain)
        )
        broken = list(file_problems(archive))
        if not broken:
            broken = list(unlike_manifest(archive))
        self.tell(Finding(kind="file", text=f"{file} {text}", place=file) for file, text in broken)

    def read(self, read: Read) -> None:
        """A record of the ledger, as it comes."""
        self.counts.records += 1
        if read.standing == "entry":
            self.counts.entries += 1
        elif read.standing == "repetition":
            self.counts.repetitions += 1
        elif (finding := odd(read)) is not None:
            self.tell([finding])
        if self._observer is not None:
            self._observer.record(read)

    def expect(self, source: Source | None, entry: LedgerEntry | None) -> None:
        """An entry that the ledger should have."""
        if self._observer is not None and source is not None and entry is not None:
            self._observer.recomputed(source, entry)

    async def earlier(self, audit: PartitionAudit, entries: "_Entries", kept_from: int) -> None:
        """Entries of events that are gone."""
        while (at := await entries.source()) is not None and at < kept_from:
            read = entries.pop()
            self.counts.earlier += 1
            self.tell(audit.earlier(read))
            self.expect(read.record.from_event, read.record.entry)

    async def events(
        self, audit: PartitionAudit, entries: "_Entries", batches: AsyncIterator[list[Any]]
    ) -> None:
        """Events and their entries, side by side."""
        async for batch in batches:
            for record in batch:
                reads = []
                while (at := await entries.source()) is not None and at <= record.offset:
                    read = entries.pop()
                    if at == record.offset:
                        reads.append(read)
                    else:
                        self.tell([without_event(read)])
                source = Source(record.partition, record.offset, 0)
                key = (record.key or b"").decode(errors="replace")
                outcome = audit.event(source, key, record.value or b"", reads)
                self.tell(outcome.findings)
                for nth, entry in outcome.entries:
                    self.expect(source._replace(nth=nth), entry)
            self.counts.events += len(batch)

    async def later(self, entries: "_Entries", newest: int) -> None:
        """Entries of events that came after the verification had begun."""
        while (at := await entries.source()) is not None:
            read = entries.pop()
            if at >= newest:
                self.tell([without_event(read)])
            else:
                self.counts.later += 1
                self.expect(read.record.from_event, read.record.entry)


class _Entries:
    """The entries of a partition, to be taken by rising source."""

    def __init__(self, partition: int, ledger: Ledger, run: _Verification) -> None:
        self._partition = partition
        self._batches = ledger.records(partition)
        self._run = run
        self._ready: deque[tuple[int, Read]] = deque()
        self._ended = False

    async def source(self) -> int | None:
        """The offset of the next entry's event; None when there are no more entries."""
        while not self._ready and not self._ended:
            await self._more()
        return self._ready[0][0] if self._ready else None

    def pop(self) -> Read:
        """The next entry."""
        return self._ready.popleft()[1]

    async def aclose(self) -> None:
        """End the reading of the ledger's partition."""
        await self._batches.aclose()

    async def _more(self) -> None:
        batch = await anext(self._batches, None)
        if batch is None:
            self._ended = True
            return
        for read in batch:
            self._run.read(read)
            source = read.record.from_event
            if read.standing != "entry" or source is None:
                continue
            if source.partition != self._partition:
                self._run.tell([without_event(read)])
            else:
                self._ready.append((source.offset, read))
