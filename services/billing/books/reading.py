"""The one reader of the whole ledger: what is archived comes from the files, all else from the topic, partition by partition in order.

Every record comes once, up to the topic's end as it was when the reader was opened; what is in neither place is told as a gap.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from services.billing.books.archive import Archive
from services.billing.books.records import LedgerRecord, Once, Place, Read, read_record
from services.billing.books.segments import whole_to
from services.billing.books.topic import TopicReader
from shared.settings import ServiceSettings
from shared.stream.source import SOURCE_HEADER
from shared.topics import BILLING_CHARGES


class Gap(NamedTuple):
    """Offsets of a partition, `end` not included, that neither the archive nor the topic has."""

    partition: int
    first: int
    end: int


class Ledger:
    """The whole ledger; use it as an async context. Ask `records` for rising partitions.

    Args:
        archive: None where nothing is archived.
    """

    def __init__(self, settings: ServiceSettings, archive: Archive | None) -> None:
        self.topic = TopicReader(settings, BILLING_CHARGES)
        self.gaps: list[Gap] = []
        self.begins: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self._archive = archive
        self._whole_to: dict[int, int] = {}
        self._archived: Iterator[list[Read]] = iter(())
        self._waiting: list[Read] = []
        self._open = AsyncExitStack()

    async def __aenter__(self) -> "Ledger":
        await self._open.enter_async_context(self.topic)
        self.ends = await self.topic.ends()
        self.begins = await self.topic.begins()
        if self._archive is not None:
            self._whole_to = {n: at.whole_to for n, at in whole_to(self._archive.chain).items()}
            self._archived = self._archive.records(self._whole_to)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._archived = iter(())
        await self._open.aclose()

    @property
    def partitions(self) -> list[int]:
        """All of them, rising: of the topic and of the archive."""
        return sorted({*self.topic.partitions, *self._whole_to})

    async def records(self, partition: int) -> AsyncGenerator[list[Read], None]:
        """The records of a partition in the order of their offsets, in batches. Gaps are added to `gaps` as they are met."""
        once = Once()
        expected = 0
        for batch in self._of_archive(partition):
            for record, _ in batch:
                self._expect(partition, expected, record.place.offset)
                expected = record.place.offset + 1
            yield [Read(record, once.standing(record)) for record, _ in batch]
        archived_to = self._whole_to.get(partition, 0)
        self._expect(partition, expected, archived_to)
        first = max(archived_to, self.begins.get(partition, 0))
        self._expect(partition, archived_to, first)
        async for found in self.topic.records(partition, first, self.ends.get(partition, 0)):
            read = []
            for raw in found:
                self._expect(partition, first, raw.offset)
                first = raw.offset + 1
                record = of_topic(raw)
                read.append(Read(record, once.standing(record)))
            yield read

    def _of_archive(self, partition: int) -> Iterator[list[Read]]:
        while True:
            if not self._waiting:
                self._waiting = next(self._archived, [])
            if not self._waiting or self._waiting[0].record.place.partition > partition:
                return
            mine = [one for one in self._waiting if one.record.place.partition == partition]
            self._waiting = [one for one in self._waiting if one.record.place.partition > partition]
            yield mine

    def _expect(self, partition: int, expected: int, found: int) -> None:
        if found > expected:
            self.gaps.append(Gap(partition, expected, found))


def of_topic(raw: Any) -> LedgerRecord:
    """A consumer's record, read."""
    headers = dict(raw.headers)
    return read_record(
        Place(raw.partition, raw.offset),
        raw.timestamp,
        headers.get(SOURCE_HEADER),
        raw.value,
    )
