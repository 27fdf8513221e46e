"""The offsets of one endpoint's consumer group: where it begins, how far it is, and what Kafka dropped before it came there."""

import asyncio
from collections.abc import Callable, Iterable

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    UnknownMemberIdError,
)

from services.push.endpoints import Endpoint
from services.push.lanes import Place

log = structlog.get_logger(__name__)

_NOT_OURS = (CommitFailedError, IllegalGenerationError, UnknownMemberIdError, IllegalStateError)


class Offsets:
    """Of one consumer's life.

    `served_ms` tells up to when all is done, 0 where the endpoint was never served; `wanted` are the topics that are read at all, of those subscribed to,
    and `redeliveries` is one of them; by their full names.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        endpoint: Endpoint,
        served_ms: Callable[[], int],
        wanted: frozenset[str],
        redeliveries: str,
    ) -> None:
        self._consumer = consumer
        self._endpoint = endpoint
        self._served_ms = served_ms
        self._wanted = wanted
        self._redeliveries = redeliveries
        self._beginning = asyncio.Lock()
        self._committed: dict[Place, int] = {}

    async def begin(self, partitions: Iterable[TopicPartition]) -> None:
        """Set the partitions that the group never committed to where it begins, and commit that: a crash must not move it. Raises KafkaError."""
        async with self._beginning:
            consumer, served_ms = self._consumer, self._served_ms()
            starts = {}
            for partition in partitions:
                if partition.topic not in self._wanted:
                    consumer.seek(partition, 0)  # it is paused; without a place the consumer would complain
                elif await consumer.committed(partition) is None:
                    starts[partition] = await self._start_of(partition, served_ms)
                    consumer.seek(partition, starts[partition])
            if starts:
                await consumer.commit(starts)
                log.info(
                    "push_begins", endpoint=self._endpoint.name, partitions=len(starts), served_ms=served_ms
                )

    async def _start_of(self, partition: TopicPartition, served_ms: int) -> int:
        consumer = self._consumer
        end: int = (await consumer.end_offsets([partition]))[partition]
        if served_ms:
            # The group was here before, and Kafka has forgotten its offsets; or the endpoint is told of another topic now.
            found = (await consumer.offsets_for_times({partition: served_ms}))[partition]
            return end if found is None else int(found.offset)
        if self._endpoint.start == "now" and partition.topic != self._redeliveries:
            return end
        first: int = (await consumer.beginning_offsets([partition]))[partition]
        return first

    async def pass_over(self, places: dict[TopicPartition, int]) -> int:
        """Go on with what is there, where Kafka has dropped records before they could be delivered; how many. Raises KafkaError."""
        lost = 0
        for partition, offset in places.items():
            first = (await self._consumer.beginning_offsets([partition]))[partition]
            log.error(
                "push_records_expired",
                endpoint=self._endpoint.name,
                topic=partition.topic,
                partition=partition.partition,
                first=offset,
                resumed=first,
            )
            lost += max(0, first - offset)
            self._consumer.seek(partition, first)
        return lost

    async def commit(self, low_water: dict[Place, int]) -> None:
        """Tell Kafka how far each partition is, as far as that is news. Raises KafkaError."""
        ours = self._consumer.assignment()
        moved = {
            place: low
            for place, low in low_water.items()
            if low != self._committed.get(place) and TopicPartition(*place) in ours
        }
        if not moved:
            return
        try:
            await self._consumer.commit({TopicPartition(*place): low for place, low in moved.items()})
        except _NOT_OURS as error:
            # The partitions are another process's by now, which delivers again what this one did not get to commit.
            log.warning("push_commit_refused", endpoint=self._endpoint.name, error=repr(error))
        else:
            self._committed.update(moved)

    def forget(self, place: Place) -> None:
        """The partition is another's now."""
        self._committed.pop(place, None)
