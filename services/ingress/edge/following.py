"""Send events and received messages from Kafka in; the edge's index in Redis out. At least once: the index takes the same event again without effect."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnknownMemberIdError,
)
from aiokafka.structs import ConsumerRecord
from redis.exceptions import RedisError

from services.ingress.edge import book
from services.ingress.edge.index import Heard, Index
from services.ingress.edge.settings import EdgeSettings
from shared import kafka, metrics
from shared.events import UserRef, decode_send_event
from shared.lifecycle import Service
from shared.times import DAY_MS
from shared.topics import MESSAGES_RECEIVED, SEND_EVENTS, Topic
from shared.trying import until_stopped

log = structlog.get_logger(__name__)

GROUP = "edge"
_POLL_MS = 500
_POLL_RECORDS = 1000
_NOT_OURS = (CommitFailedError, IllegalGenerationError, UnknownMemberIdError, IllegalStateError)

_NOTED = {verdict: metrics.EDGE_EVENTS.labels(verdict) for verdict in ("ok", "undecodable")}
_LAG = metrics.STREAM_LAG.labels(GROUP)


class _MessageId(msgspec.Struct):
    id: str = ""


class _Received(msgspec.Struct):
    """Of a received message only whose it is."""

    phone_number_id: str
    user: UserRef
    message: _MessageId


_received = msgspec.json.Decoder(_Received).decode


class Following:
    """A part that keeps the index current; processes share the partitions, each of them at the name `WA_INSTANCE`."""

    def __init__(self, service: Service, settings: EdgeSettings, index: Index) -> None:
        self._service = service
        self._settings = settings
        self._index = index
        self._topics = {kafka.name_of(topic, settings): topic for topic in (SEND_EVENTS, MESSAGES_RECEIVED)}
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self.joined = False
        """Whether this process has ever been given its share, be it nothing."""

    async def start(self) -> None:
        self._running = self._service.spawn(self._run(), "edge-following")

    async def stop(self) -> None:
        """Finish the batch in work, leave the group."""
        self._stopping.set()
        if self._running is not None:
            await self._running

    async def _run(self) -> None:
        # What was read and not committed is read again by the next clients.
        await until_stopped(
            self._stopping,
            self._consume,
            (KafkaError, RedisError, OSError),
            lambda error: log.error("edge_following_failed", error=repr(error)),
        )

    async def _consume(self) -> None:
        settings = self._settings
        consumer = kafka.group_consumer(settings, f"{settings.topic_prefix}{GROUP}")
        try:
            await consumer.start()
            consumer.subscribe(list(self._topics), listener=_Assignments(self, consumer))
            while not self._stopping.is_set():
                await self._batch(consumer)
        finally:
            await consumer.stop()

    async def _batch(self, consumer: AIOKafkaConsumer) -> None:
        try:
            polled = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        except NoOffsetForPartitionError:
            await self.begin(
                consumer, consumer.assignment()
            )  # it looked before the assignment was dealt with
            return
        except OffsetOutOfRangeError as error:
            log.error("edge_events_lost", partitions=[str(place) for place in error.args[0]])
            await self._restart(consumer, error.args[0])
            return
        if not polled:
            return
        told, heard = read((self._topics[row.topic], row) for rows in polled.values() for row in rows)
        await self._index.tell(told, heard)
        try:
            await consumer.commit({place: rows[-1].offset + 1 for place, rows in polled.items()})
        except _NOT_OURS as error:
            log.warning("edge_commit_refused", error=repr(error))
        _LAG.set(sum(_behind(consumer, place, rows[-1].offset) for place, rows in polled.items()))

    async def begin(self, consumer: AIOKafkaConsumer, places: Iterable[TopicPartition]) -> None:
        """Let the partitions where the group never was begin with what is still kept in the index."""
        await self._restart(consumer, [place for place in places if await consumer.committed(place) is None])

    async def _restart(self, consumer: AIOKafkaConsumer, places: Iterable[TopicPartition]) -> None:
        oldest_ms = int(time.time() * 1000) - self._settings.edge_keep_days * DAY_MS
        for place in places:
            # The end is asked first: what comes in between is then after it, and not skipped.
            end = (await consumer.end_offsets([place]))[place]
            recent = (await consumer.offsets_for_times({place: oldest_ms}))[place]
            consumer.seek(place, recent.offset if recent is not None else end)


def read(
    rows: Iterable[tuple[Topic, ConsumerRecord]],
) -> tuple[Mapping[str, list[bytes]], Mapping[str, Heard]]:
    """What records tell of requests, by their names, and whose received messages are, by their wamids; counts, and logs what can't be read."""
    told: defaultdict[str, list[bytes]] = defaultdict(list)
    heard: dict[str, Heard] = {}
    for topic, row in rows:
        try:
            if topic is SEND_EVENTS:
                found = book.told(decode_send_event(row.value))
                if found is not None:
                    told[found[0]].append(found[1])
            else:
                received = _received(row.value)
                user = received.user.user_id or received.user.bsuid or ""
                heard[received.message.id] = Heard(received.phone_number_id, user)
        except (msgspec.MsgspecError, ValueError) as error:
            # Our own router wrote it: of a later version perhaps. Nobody is hurt but who asks for just this one.
            place = f"{row.topic}:{row.partition}:{row.offset}"
            log.error("edge_event_ignored", source=place, error=type(error).__name__)
            _NOTED["undecodable"].inc()
        else:
            _NOTED["ok"].inc()
    return told, heard


def _behind(consumer: AIOKafkaConsumer, place: TopicPartition, offset: int) -> int:
    end = consumer.highwater(place) if place in consumer.assignment() else None
    return max(0, (end or 0) - offset - 1)


class _Assignments(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, following: Following, consumer: AIOKafkaConsumer) -> None:
        self._following = following
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing: a batch in work is read again by who takes over, without effect."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await self._following.begin(self._consumer, assigned)
        self._following.joined = True
        log.info("edge_assigned", partitions=len(list(assigned)))
