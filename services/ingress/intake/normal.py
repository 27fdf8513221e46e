"""Send requests from their topic in, conversation events out: checked, re-keyed by conversation, committed once Kafka has them.

At least once: a request may come out twice, and the router knows it by its id. Nothing is kept here.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    UnknownMemberIdError,
)
from aiokafka.structs import ConsumerRecord

from services.ingress.dead_letters import dead_letters
from services.ingress.publisher import KafkaPublisher, Unavailable
from services.ingress.record import Record
from services.ingress.requests import UnreadableRequest, key_of, take
from shared import kafka, metrics
from shared.clock import Clock
from shared.events import RequestMalformed, encode
from shared.lifecycle import Service
from shared.settings import ServiceSettings
from shared.times import DAY_MS
from shared.topics import CONVERSATION_EVENTS, SEND_REQUESTS

log = structlog.get_logger(__name__)

GROUP = "intake"
_PUBLISHED = (CONVERSATION_EVENTS, SEND_REQUESTS.dead_letters)
_POLL_MS = 200
_POLL_RECORDS = 500
_ACK_TIMEOUT_S = 30.0
"""Longer than a leader election takes; a batch that Kafka does not take by then is read again."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_NOT_OURS = (CommitFailedError, IllegalGenerationError, UnknownMemberIdError, IllegalStateError)
_OLDEST_MS = 7 * DAY_MS
"""A day less than the router remembers a request id."""
_HANDOVER_S = 5.0
"""Longest wait for the batch in work when Kafka takes partitions away."""

_TAKEN = {verdict: metrics.INTAKE_REQUESTS.labels(verdict) for verdict in ("ok", "malformed", "undecodable")}


class Intake:
    """A part that consumes `send.requests`.

    When Kafka fails it starts its clients anew with growing pauses, and webhooks go on meanwhile: they share nothing.
    """

    def __init__(
        self,
        service: Service,
        settings: ServiceSettings,
        default_number: Callable[[], str | None],
        clock: Clock,
    ) -> None:
        self._service = service
        self._settings = settings
        self._default_number = default_number
        self._clock = clock
        self._stopping = asyncio.Event()
        self._busy = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = self._service.spawn(self._run(), "intake")

    async def stop(self) -> None:
        """Finish and commit the batch in work, leave."""
        self._stopping.set()
        if self._running is not None:
            await self._running

    async def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            started_s = asyncio.get_running_loop().time()
            try:
                await self._consume()
            except (KafkaError, Unavailable, OSError) as error:
                log.error("intake_failed", error=repr(error))
                if asyncio.get_running_loop().time() - started_s > _LONGEST_PAUSE_S:
                    pause_s = _FIRST_PAUSE_S
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _consume(self) -> None:
        """Consume until the stop or the first failure, with clients of this one run."""
        # A broken producer needs no word here: what it refuses ends this run, and the next one has another.
        publisher = KafkaPublisher(self._settings, _PUBLISHED, _ACK_TIMEOUT_S, lambda _: None)
        consumer = kafka.group_consumer(self._settings, f"{self._settings.topic_prefix}{GROUP}")
        try:
            await publisher.start()
            await consumer.start()
            consumer.subscribe(
                [kafka.name_of(SEND_REQUESTS, self._settings)], listener=_Assignments(consumer, self._busy)
            )
            while not self._stopping.is_set():
                await self._batch(consumer, publisher)
        finally:
            await consumer.stop()
            await publisher.stop()

    async def _batch(self, consumer: AIOKafkaConsumer, publisher: KafkaPublisher) -> None:
        try:
            polled = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        except NoOffsetForPartitionError:
            # The consumer looked before `_begin` had set it: what it noted then is told once.
            await _begin(consumer, consumer.assignment())
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
                for record in outgoing(row, now_ms, default)
            ]
            await publisher.publish(out)
            try:
                await consumer.commit({place: rows[-1].offset + 1 for place, rows in polled.items()})
            except _NOT_OURS as error:
                # The partitions are another consumer's by now; it reads the batch again, and the router knows the ids.
                log.warning("intake_commit_refused", error=repr(error))
        lag = 0
        for place, rows in polled.items():
            end = consumer.highwater(place) if place in consumer.assignment() else None
            lag += max(0, (end or 0) - rows[-1].offset - 1)
        _LAG.set(lag)


_LAG = metrics.STREAM_LAG.labels(GROUP)


class _Assignments(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Start at the beginning where the group never was; hand over only after the batch in work."""

    def __init__(self, consumer: AIOKafkaConsumer, busy: asyncio.Lock) -> None:
        self._consumer = consumer
        self._busy = busy

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        try:
            async with asyncio.timeout(_HANDOVER_S), self._busy:
                return
        except TimeoutError:
            log.warning("intake_handed_over_in_work", partitions=len(list(revoked)))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await _begin(self._consumer, assigned)
        log.info("intake_assigned", partitions=sorted(place.partition for place in assigned))


async def _begin(consumer: AIOKafkaConsumer, places: Iterable[TopicPartition]) -> None:
    """Set the partitions that the group never committed to their first record, on purpose, and only those.

    Should Kafka have lost the group's offsets, older requests were decided before, and those above a week may be forgotten by
    the router: they must not be sent again, so the start is the first record of the last week.
    """
    for place in places:
        if await consumer.committed(place) is not None:
            continue
        oldest_ms = int(time.time() * 1000) - _OLDEST_MS
        first = (await consumer.beginning_offsets([place]))[place]
        # The end is asked first: a request that comes in between is then after it, and not skipped.
        end = (await consumer.end_offsets([place]))[place]
        recent = (await consumer.offsets_for_times({place: oldest_ms}))[place]
        start = recent.offset if recent is not None else end
        if start > first:
            log.error("intake_skips_old_requests", partition=place.partition, first=first, start=start)
        consumer.seek(place, start)


def outgoing(row: ConsumerRecord, now_ms: int, default_number: str | None) -> list[Record]:
    """The records that one request becomes; counts and logs its verdict."""
    value = row.value or b""
    try:
        event = take(value, now_ms, default_number)
    except UnreadableRequest as error:
        source = f"{row.topic}:{row.partition}:{row.offset}"
        log.error("request_parked", source=source, reason=str(error)[:200])
        _TAKEN["undecodable"].inc()
        metrics.DLQ_RECORDS.labels(SEND_REQUESTS.dead_letters.name).inc()
        key = (row.key or b"").decode(errors="replace")
        return dead_letters(SEND_REQUESTS, key, value, str(error), source)
    if not isinstance(event, RequestMalformed):
        _TAKEN["ok"].inc()
    else:
        log.warning("request_malformed", request_id=event.request_id, problems=event.problems)
        _TAKEN["malformed"].inc()
    return [Record(CONVERSATION_EVENTS, key_of(event).encode(), encode(event))]
