"""Ends a consumer that has work and does not do it: Faust can live on with a dead consumer inside."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from time import monotonic

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared import kafka
from shared.lifecycle import Service
from shared.metrics import STREAM_LAG
from shared.settings import ServiceSettings

log = structlog.get_logger(__name__)


class Stalled(Exception):
    """Records wait, and the position has not moved."""


class Progress:
    """Since when each partition has been standing still before waiting records. Pure but for what it remembers."""

    def __init__(self) -> None:
        self._standing: dict[int, tuple[int, float]] = {}

    def standing_s(self, now: float, positions: Mapping[int, int], ends: Mapping[int, int]) -> float:
        """The longest time, in seconds, that a partition with waiting records has not moved; partitions not given are forgotten."""
        standing = {}
        for partition, position in positions.items():
            if position < ends[partition]:
                before = self._standing.get(partition)
                standing[partition] = (
                    before if before is not None and before[0] == position else (position, now)
                )
        self._standing = standing
        return max((now - since for _, since in standing.values()), default=0.0)


class Watchdog:
    """A part with eyes of its own: it compares what the group committed with the topic's end, by a client that Faust does not know.

    Args:
        group: the consumer group.
        topic: the full name of what it reads.
        partitions: how many the topic has.
        watched: the partitions this process answers for; all of them until it has been given some.
    """

    def __init__(
        self,
        service: Service,
        settings: ServiceSettings,
        *,
        group: str,
        topic: str,
        partitions: Callable[[], int],
        watched: Callable[[], Collection[int] | None],
    ) -> None:
        self._service = service
        self._settings = settings
        self._group = group
        self._topic = topic
        self._partitions = partitions
        self._watched = watched
        self._progress = Progress()
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Begin to watch."""
        self._consumer = AIOKafkaConsumer(
            **kafka.connection(self._settings), group_id=self._group, enable_auto_commit=False
        )
        await self._consumer.start()
        self._service.spawn(self._watch(), "watchdog")

    async def stop(self) -> None:
        """Close the client."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def _watch(self) -> None:
        every_s = min(10.0, self._settings.watchdog_s / 6)
        while True:
            await asyncio.sleep(every_s)
            try:
                standing_s = await asyncio.wait_for(self._look(), self._settings.watchdog_s)
            except (KafkaError, TimeoutError) as error:
                log.warning("watchdog_blind", error=repr(error))
                continue
            if standing_s >= self._settings.watchdog_s:
                raise Stalled(f"{self._group}: records wait, no progress for {standing_s:.0f} s")

    async def _look(self) -> float:
        consumer = self._consumer
        if consumer is None:
            return 0.0
        watched = self._watched()
        numbers = range(self._partitions()) if watched is None else watched
        places = {number: TopicPartition(self._topic, number) for number in numbers}
        ends = await consumer.end_offsets(list(places.values())) if places else {}
        positions = {number: await consumer.committed(place) or 0 for number, place in places.items()}
        STREAM_LAG.labels("tallies").set(
            sum(max(0, ends[place] - positions[n]) for n, place in places.items())
        )
        return self._progress.standing_s(
            monotonic(), positions, {number: ends[place] for number, place in places.items()}
        )
