"""Archives closed months, and deletes from the topic what the archive has.

Idempotent: a record is archived once, whatever was killed before; what is deleted has been read back from the files and compared with the topic.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from services.billing.books import topic as topics
from services.billing.books.archive import Archive
from services.billing.books.reading import of_topic
from services.billing.books.records import LedgerRecord, Once, Read
from services.billing.books.refusal import Refusal
from services.billing.books.segments import Format, PartitionRange, Sealed, is_archived, whole_to
from services.billing.books.topic import TopicReader
from services.billing.settings import TalliesSettings
from services.billing.tallies.faust_app import app_id
from shared.settings import ServiceSettings
from shared.topics import BILLING_CHARGES, SEND_EVENTS


class NotArchivable(Refusal):
    """The topic does not go on where the archive ends."""


class NotDeletable(Refusal):
    """The files do not hold what the topic has, or somebody has yet to read it; nothing was deleted."""


class Deletion(NamedTuple):
    """What was deleted of a partition: the records from `first` up to `end`, not included."""

    first: int
    end: int


async def archive_before(
    settings: ServiceSettings, archive: Archive, before: str, format: Format, made_at: str
) -> Sealed | None:
    """Add a segment with all records of months before `before` (`YYYY-MM`) that are not archived yet; None where there are none.

    Raises:
        NotArchivable: records between the archive's end and the topic's beginning are missing.
        ArchiveBusy: another run is at it.
    """
    with archive.alone():
        async with TopicReader(settings, BILLING_CHARGES) as topic:
            known = whole_to(archive.chain)
            begins, ends = await topic.begins(), await topic.ends()
            for n in topic.partitions:
                archived_to = known[n].whole_to if n in known else 0
                if begins[n] > archived_to:
                    raise NotArchivable(
                        f"{topic.name}[{n}] begins at {begins[n]}, the archive in {archive.folder} ends at {archived_to}"
                    )
            with archive.segment() as segment:
                ranges = {}
                for n in topic.partitions:
                    scan = _Scan(archive, known.get(n), before)
                    async for batch in topic.records(n, scan.whole_to, ends[n]):
                        for raw in batch:
                            record = of_topic(raw)
                            standing = scan.once.standing(record)
                            if scan.wants(record):
                                segment.add(topic.name, record, standing)
                    ranges[n] = (ends[n], scan.whole_to, scan.greatest)
                if not segment.records:
                    return None
                return segment.seal(
                    topic=topic.name, before=before, format=format, made_at=made_at, ranges=ranges
                )


class _Scan:
    """What is wanted of one partition, and up to where it is whole then."""

    def __init__(self, archive: Archive, known: PartitionRange | None, before: str) -> None:
        self.whole_to = known.whole_to if known else 0
        self.greatest = known.greatest_source if known else (-1, 0)
        self.once = Once(self.greatest)
        self._chain = archive.chain
        self._before = before
        self._whole = True

    def wants(self, record: LedgerRecord) -> bool:
        """Whether the record, the next one, goes into the segment."""
        partition, offset, _ = record.place
        month = record.entry.month if record.entry is not None else ""
        had = is_archived(self._chain, partition, offset, month)
        wanted = not had and month < self._before
        self._whole = self._whole and (had or wanted)
        if self._whole:
            self.whole_to = offset + 1
            self.greatest = self.once.greatest
        return wanted


async def truncate(
    settings: ServiceSettings, archive: Archive, tallies: TalliesSettings
) -> dict[int, Deletion]:
    """Delete from the topic what is archived and nobody needs there any more; partition → what went.

    The tallies of the generation that `tallies` names must have counted it.
    Kept are the entries of send events that Kafka still has: a ledger that lost its Redis recalls from them what it has charged.

    Raises:
        NotDeletable: a file differs from the topic, or a consumer group has not read so far.
    """
    with archive.alone():
        async with (
            TopicReader(settings, BILLING_CHARGES) as topic,
            TopicReader(settings, SEND_EVENTS) as events,
        ):
            begins, kept_events = await topic.begins(), await events.begins()
            whole = {n: at.whole_to for n, at in whole_to(archive.chain).items()}
            archived = _Archived(archive, {n: end for n, end in whole.items() if end > begins.get(n, end)})
            ends = {}
            for n in sorted(whole):
                ends[n] = await _compared(topic, archived, n, begins[n], whole[n], kept_events[n])
            wanted = {n: Deletion(begins[n], end) for n, end in ends.items() if end > begins[n]}
            groups = await topics.readers(settings, topic.name)
            counting = app_id(tallies)
            groups[counting] = dict.fromkeys(wanted, 0) | groups.get(counting, {})
            for group, offsets in groups.items():
                for n, one in wanted.items():
                    if offsets.get(n, one.end) < one.end:
                        raise NotDeletable(
                            f"group {group} has read {topic.name}[{n}] up to {offsets[n]}, to be deleted is up to {one.end}"
                        )
            if wanted:
                await topics.delete_before(settings, topic.name, {n: one.end for n, one in wanted.items()})
            return wanted


class _Archived:
    """The archived records, to be taken one by one in the order of partition and offset."""

    def __init__(self, archive: Archive, below: dict[int, int]) -> None:
        self._batches = archive.records(below)
        self._rows: list[Read] = []

    def at(self, partition: int, offset: int) -> LedgerRecord | None:
        """The record there, None if the files have none; ask for rising places."""
        while True:
            if not self._rows:
                self._rows = next(self._batches, [])[::-1]
                if not self._rows:
                    return None
            record = self._rows[-1].record
            if record.place[:2] > (partition, offset):
                return None
            self._rows.pop()
            if record.place[:2] == (partition, offset):
                return record


async def _compared(
    topic: TopicReader, archived: _Archived, partition: int, first: int, end: int, kept_events: int
) -> int:
    """Up to which offset the partition can be deleted; all before is in the files, byte for byte, and of send events that are gone."""
    async for raw in _each(topic, partition, first, end):
        live = of_topic(raw)
        source = live.from_event
        if source is not None and source.offset >= kept_events:
            return live.place.offset
        copy = archived.at(partition, live.place.offset)
        if copy is None:
            raise NotDeletable(f"no file has {topic.name}[{partition}] {live.place.offset}")
        if (copy.value, copy.source, copy.published_ms) != (live.value, live.source, live.published_ms):
            raise NotDeletable(
                f"{copy.place} differs from the topic's record; `wam ledger verify` tells more"
            )
    return max(first, end)


async def _each(topic: TopicReader, partition: int, first: int, end: int) -> AsyncIterator[object]:
    async for batch in topic.records(partition, first, end):
        for raw in batch:
            yield raw
