"""Finds what a record brought forth when it was folded the first time, by reading the published events beside the source."""

from collections import deque

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.stream.source import SOURCE_HEADER, Source

GROUP_HEADER = "ce_source"
MARGIN_MS = 10 * 60_000
"""Clocks of two hosts may differ; reading starts so much before the first record wanted."""


class Recall:
    """Reads one partition of the memory topic in step with its source: bounded memory, one pass.

    Within the memory partition the source offsets rise, except where a batch was published twice; the second copy
    is skipped.
    """

    def __init__(self, consumer: AIOKafkaConsumer, place: TopicPartition, group: str) -> None:
        self._consumer = consumer
        self._place = place
        self._group = b"/" + group.encode()
        self._ahead: deque[tuple[int, int, bytes]] = deque()
        self._end = 0

    async def start(self, since_ms: int | None) -> None:
        """Stand at the first event that can be of interest: from `since_ms`, or from the beginning."""
        await self._consumer.start()
        self._consumer.assign([self._place])
        self._end = (await self._consumer.end_offsets([self._place]))[self._place]
        found = None
        if since_ms is not None:
            times = await self._consumer.offsets_for_times({self._place: max(0, since_ms - MARGIN_MS)})
            found = times.get(self._place)
        if found is not None:
            self._consumer.seek(self._place, found.offset)
        elif since_ms is not None:
            self._consumer.seek(self._place, self._end)
        else:
            await self._consumer.seek_to_beginning(self._place)

    async def stop(self) -> None:
        await self._consumer.stop()

    async def events(self, offset: int) -> tuple[bytes, ...]:
        """The events that came of the source record at `offset`, in order; ask for rising offsets only."""
        found: dict[int, bytes] = {}
        while True:
            while self._ahead:
                of, index, value = self._ahead[0]
                if of > offset:
                    return tuple(value for _, value in sorted(found.items()))
                self._ahead.popleft()
                if of == offset:
                    found[index] = value
            if await self._consumer.position(self._place) >= self._end:
                return tuple(value for _, value in sorted(found.items()))
            await self._read()

    async def _read(self) -> None:
        batches = await self._consumer.getmany(self._place, timeout_ms=200, max_records=2000)
        for records in batches.values():
            for record in records:
                headers = dict(record.headers)
                if SOURCE_HEADER not in headers or headers.get(GROUP_HEADER) != self._group:
                    continue
                source = Source.parse(headers[SOURCE_HEADER])
                if source.partition == self._place.partition:
                    self._ahead.append((source.offset, source.nth, record.value))
