"""The request topic in, conversation events out: checked, re-keyed by conversation, committed once Kafka has them.

At least once: a request may come out twice, and the router knows it by its id. Nothing is kept here.
"""

import asyncio
from collections.abc import Callable
from functools import partial

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError

from services.ingress.intake.consuming import ACK_TIMEOUT_S, HANDOVER_S, NOT_OURS, Assignments, begin
from services.ingress.intake.taking import outgoing
from services.ingress.publisher import KafkaPublisher
from shared import kafka, metrics
from shared.clock import Clock
from shared.settings import ServiceSettings
from shared.topics import CONVERSATION_EVENTS, SEND_REQUESTS

log = structlog.get_logger(__name__)

GROUP = "intake"
_PUBLISHED = (CONVERSATION_EVENTS, SEND_REQUESTS.dead_letters)
_POLL_MS = 200
_POLL_RECORDS = 500
_LAG = metrics.STREAM_LAG.labels(GROUP)


class NormalIntake:
    """Takes requests in as they come; `consume` is one run of it."""

    def __init__(
        self, settings: ServiceSettings, default_number: Callable[[], str | None], clock: Clock
    ) -> None:
        self._settings = settings
        self._default_number = default_number
        self._clock = clock
        self._busy = asyncio.Lock()

    async def consume(self, stopping: asyncio.Event) -> None:
        """Consume until the stop or the first failure, with clients of this one run."""
        # A broken producer needs no word here: what it refuses ends this run, and the next one has another.
        publisher = KafkaPublisher(self._settings, _PUBLISHED, ACK_TIMEOUT_S, lambda _: None)
        consumer = kafka.group_consumer(self._settings, f"{self._settings.topic_prefix}{GROUP}")
        try:
            await publisher.start()
            await consumer.start()
            listener = Assignments(partial(self._assigned, consumer), self._revoked)
            consumer.subscribe([kafka.name_of(SEND_REQUESTS, self._settings)], listener=listener)
            while not stopping.is_set():
                listener.check()
                await self._batch(consumer, publisher)
        finally:
            await consumer.stop()
            await publisher.stop()

    async def _assigned(self, consumer: AIOKafkaConsumer, assigned: list[TopicPartition]) -> None:
        """Start at the beginning where the group never was."""
        await begin(consumer, assigned)
        log.info("intake_assigned", partitions=sorted(place.partition for place in assigned))

    async def _revoked(self, revoked: list[TopicPartition]) -> None:
        """Hand over only after the batch in work."""
        try:
            async with asyncio.timeout(HANDOVER_S), self._busy:
                return
        except TimeoutError:
            log.warning("intake_handed_over_in_work", partitions=len(revoked))

    async def _batch(self, consumer: AIOKafkaConsumer, publisher: KafkaPublisher) -> None:
        try:
            polled = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        except NoOffsetForPartitionError:
            # The consumer looked before `begin` had set it: what it noted then is told once.
            await begin(consumer, consumer.assignment())
            return
        if not polled:
            return
        async with self._busy:
            now_ms = int(self._clock.time() * 1000)
            default = self._default_number()
            out = [
                record
                for rows in polled.values()
                for row in rows
                for record in outgoing(row, SEND_REQUESTS, metrics.INTAKE_REQUESTS, now_ms, default)
            ]
            await publisher.publish(out)
            try:
                await consumer.commit({place: rows[-1].offset + 1 for place, rows in polled.items()})
            except NOT_OURS as error:
                # The partitions are another consumer's by now; it reads the batch again, and the router knows the ids.
                log.warning("intake_commit_refused", error=repr(error))
        lag = 0
        for place, rows in polled.items():
            end = consumer.highwater(place) if place in consumer.assignment() else None
            lag += max(0, (end or 0) - rows[-1].offset - 1)
        _LAG.set(lag)
