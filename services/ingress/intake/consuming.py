"""What the readers of both request topics share: they begin on purpose where nobody has been, and begin anew, with growing pauses, after Kafka failed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    UnknownMemberIdError,
)
from redis.exceptions import RedisError

from services.ingress.publisher import Unavailable
from shared.lifecycle import Service
from shared.times import DAY_MS
from shared.trying import until_stopped

log = structlog.get_logger(__name__)

_Told = Callable[[list[TopicPartition]], Awaitable[None]]

NOT_OURS = (CommitFailedError, IllegalGenerationError, UnknownMemberIdError, IllegalStateError)
"""What a commit of partitions raises that are another consumer's by now."""
ACK_TIMEOUT_S = 30.0
"""Longer than a leader election takes; a batch that Kafka does not take by then is read again."""
HANDOVER_S = 5.0
"""Longest wait for the batch in work when Kafka takes partitions away."""
_OLDEST_MS = 7 * DAY_MS
"""A day less than the router remembers a request id."""


class Consuming:
    """A part that runs `consume`, with clients of that one run, until the stop, and again after a failure of Kafka or Redis.

    Two of them share nothing, so neither holds up the other.
    """

    def __init__(
        self, service: Service, name: str, consume: Callable[[asyncio.Event], Awaitable[None]]
    ) -> None:
        """`consume` returns soon after the event is set, with the work in hand committed."""
        self._service = service
        self._name = name
        self._consume = consume
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = self._service.spawn(self._run(), self._name)

    async def stop(self) -> None:
        """Finish and commit what is in work, leave."""
        self._stopping.set()
        if self._running is not None:
            await self._running

    async def _run(self) -> None:
        await until_stopped(
            self._stopping,
            lambda: self._consume(self._stopping),
            (KafkaError, RedisError, Unavailable, OSError),
            lambda error: log.error("intake_failed", reader=self._name, error=repr(error)),
        )


class Assignments(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Hands the consumer's assignments on. The consumer would log a failure and go on without the partitions: `check` raises it."""

    def __init__(self, assigned: _Told, revoked: _Told) -> None:
        self._assigned = assigned
        self._revoked = revoked
        self._failure: Exception | None = None

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await self._tell(self._assigned, assigned)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._tell(self._revoked, revoked)

    def check(self) -> None:
        """Raise what the last change of assignment failed of."""
        if self._failure is not None:
            raise self._failure

    async def _tell(self, told: _Told, places: Iterable[TopicPartition]) -> None:
        try:
            await told(list(places))
        except Exception as failure:  # noqa: BLE001 the consumer would swallow it
            self._failure = failure


class Start(NamedTuple):
    """The first record of a partition that is to be read, and whether the group never committed to it."""

    offset: int
    anew: bool


async def begin(
    consumer: AIOKafkaConsumer, places: Iterable[TopicPartition]
) -> dict[TopicPartition, Start]:
    """Set the partitions that the group never committed to their first record, on purpose, and only those; where each starts.

    Should Kafka have lost the group's offsets, older requests were decided before, and those above a week may be forgotten by
    the router: they must not be sent again, so the start is the first record of the last week.
    """
    starts = {}
    for place in places:
        committed = await consumer.committed(place)
        if committed is not None:
            starts[place] = Start(committed, anew=False)
            continue
        oldest_ms = int(time.time() * 1000) - _OLDEST_MS
        first = (await consumer.beginning_offsets([place]))[place]
        # The end is asked first: a request that comes in between is then after it, and not skipped.
        end = (await consumer.end_offsets([place]))[place]
        recent = (await consumer.offsets_for_times({place: oldest_ms}))[place]
        start = recent.offset if recent is not None else end
        if start > first:
            log.error(
                "intake_skips_old_requests",
                topic=place.topic,
                partition=place.partition,
                first=first,
                start=start,
            )
        consumer.seek(place, start)
        starts[place] = Start(start, anew=True)
    return starts
