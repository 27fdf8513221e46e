"""Send requests from their topic in, conversation events out: checked, re-keyed by conversation, committed once Kafka has them.

At least once: a request may come out twice, and the router knows it by its id. Nothing is kept here.
"""

import asyncio
from collections.abc import Callable, Iterable

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord

from services.ingress.dead_letters import dead_letters
from services.ingress.publisher import KafkaPublisher, Record, Unavailable
from services.ingress.requests import UnreadableRequest, key_of, take
from shared import kafka, metrics
from shared.clock import Clock
from shared.events import SendRequested, encode
from shared.lifecycle import Service
from shared.settings import ServiceSettings
from shared.topics import CONVERSATION_EVENTS, SEND_REQUESTS

log = structlog.get_logger(__name__)

GROUP = "intake"
_POLL_MS = 200
_POLL_RECORDS = 500
_ACK_TIMEOUT_S = 30.0
"""Longer than a leader election takes; a batch that Kafka does not take by then is read again."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
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
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def broken(error: BaseException) -> None:
            if not failed.done():
                failed.set_exception(error)
                failed.exception()

        publisher = KafkaPublisher(self._settings, _ACK_TIMEOUT_S, broken)
        consumer = kafka.group_consumer(self._settings, GROUP)
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
        polled = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
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
            except (CommitFailedError, IllegalStateError) as error:
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
        for place in assigned:
            if await self._consumer.committed(place) is None:
                await self._consumer.seek_to_beginning(place)
        log.info("intake_assigned", partitions=sorted(place.partition for place in assigned))


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
    if isinstance(event, SendRequested):
        _TAKEN["ok"].inc()
    else:
        log.warning("request_malformed", request_id=event.request_id, problems=event.problems)
        _TAKEN["malformed"].inc()
    return [Record(CONVERSATION_EVENTS, key_of(event).encode(), encode(event))]
