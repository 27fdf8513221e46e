"""The topic on which operators and the service itself say how endpoints stand: written by both, followed by every process of push.

Compacted, one partition: of each endpoint (and of each process that serves it) the last word is kept for ever.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from shared import kafka
from shared.events import Internal, encode
from shared.lifecycle import Service
from shared.settings import ServiceSettings
from shared.times import DAY_MS
from shared.topics import PUSH_CONTROL

log = structlog.get_logger(__name__)


class EndpointSwitched(Internal, frozen=True, kw_only=True, tag="EndpointSwitched"):
    """An endpoint is to be told, or not; `by` an operator, or the service itself after the endpoint said 410."""

    endpoint: str
    at_ms: int
    enabled: bool
    by: str
    reason: str | None = None


class EventsRedelivered(Internal, frozen=True, kw_only=True, tag="EventsRedelivered"):
    """An operator had events delivered once more; `what` in words."""

    endpoint: str
    at_ms: int
    by: str
    what: str
    events: int


class EndpointState(Internal, frozen=True, kw_only=True, tag="EndpointState"):
    """How an endpoint fares at one process. `told_ms`: all that Kafka got before is done, as far as this process goes."""

    endpoint: str
    instance: str
    at_ms: int
    breaker: Literal["closed", "open"] = "closed"
    outages: tuple[tuple[int, int], ...] = ()
    """When nothing was tried, `[from, to)` in epoch ms."""
    outage_since_ms: int | None = None
    told_ms: int = 0
    last_error: str | None = None
    last_error_ms: int | None = None


Word = EndpointSwitched | EventsRedelivered | EndpointState
_decode = msgspec.json.Decoder(Word).decode


def key_of(word: Word) -> bytes:
    """Of what the word is the last one."""
    match word:
        case EndpointSwitched():
            return f"{word.endpoint}:switched".encode()
        case EventsRedelivered():
            return f"{word.endpoint}:redelivered".encode()
        case EndpointState():
            return f"{word.endpoint}:state:{word.instance}".encode()


class Standing:
    """The last words on all endpoints."""

    def __init__(self) -> None:
        self.switched: dict[str, EndpointSwitched] = {}
        self.states: dict[str, dict[str, EndpointState]] = {}
        self.redelivered: dict[str, EventsRedelivered] = {}

    def take(self, word: Word) -> None:
        """A word later than all before."""
        match word:
            case EndpointSwitched():
                self.switched[word.endpoint] = word
            case EventsRedelivered():
                self.redelivered[word.endpoint] = word
            case EndpointState():
                self.states.setdefault(word.endpoint, {})[word.instance] = word

    def enabled(self, endpoint: str) -> bool:
        """Whether it is to be told; an endpoint that nobody spoke of is."""
        word = self.switched.get(endpoint)
        return word is None or word.enabled


def told_ms(states: Iterable[EndpointState]) -> int:
    """Up to when all is done, by the processes that still serve the endpoint; 0 where nobody ever served it.

    It stands in for offsets that Kafka has forgotten, as it does of a group that was away for a week.
    """
    known = list(states)
    newest_ms = max((state.at_ms for state in known), default=0)
    return min((s.told_ms for s in known if s.told_ms and s.at_ms > newest_ms - DAY_MS), default=0)


class Control:
    """A part that follows the topic and writes to it. `start` returns when all words of before are known; each later one is heard by `on_word`."""

    def __init__(self, service: Service, settings: ServiceSettings) -> None:
        self.standing = Standing()
        self.on_word: Callable[[Word], None] = lambda _: None
        self._service = service
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._following: asyncio.Task[None] | None = None
        self._partition = TopicPartition(kafka.name_of(PUSH_CONTROL, settings), 0)
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        producer = kafka.producer(self._settings)
        await producer.start()
        self._producer = producer
        consumer = self._consumer = kafka.reader(self._settings)
        await consumer.start()
        await _read_to_end(consumer, self._partition, self.standing)
        self._following = self._service.spawn(self._follow(consumer), "push-control")

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
        if self._consumer is not None:
            await self._consumer.stop()
        if self._producer is not None:
            await self._producer.stop()

    @property
    def producer(self) -> AIOKafkaProducer:
        """The process's producer, for dead letters too."""
        if self._producer is None:
            raise RuntimeError("not started")
        return self._producer

    async def tell(self, word: Word) -> None:
        """Append a word; raises KafkaError."""
        await self.producer.send_and_wait(self._partition.topic, encode(word), key=key_of(word))

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            for word in await _words(consumer, self._partition):
                self.standing.take(word)
                _audit(word)
                self.on_word(word)


def _audit(word: Word) -> None:
    """What people did is logged by every process that obeys it."""
    match word:
        case EndpointSwitched():
            log.warning(
                "push_endpoint_enabled" if word.enabled else "push_endpoint_disabled",
                endpoint=word.endpoint,
                by=word.by,
                reason=word.reason,
            )
        case EventsRedelivered():
            log.warning(
                "push_redelivered", endpoint=word.endpoint, by=word.by, what=word.what, events=word.events
            )


async def read_once(settings: ServiceSettings) -> Standing:
    """How all endpoints stand as of now, for who asks once. Raises KafkaError."""
    standing = Standing()
    consumer = kafka.reader(settings)
    try:
        await consumer.start()
        await _read_to_end(consumer, TopicPartition(kafka.name_of(PUSH_CONTROL, settings), 0), standing)
    finally:
        await consumer.stop()
    return standing


async def tell_once(settings: ServiceSettings, word: Word) -> None:
    """Append one word, for who says no more. Raises KafkaError."""
    producer = kafka.producer(settings)
    await producer.start()
    try:
        await producer.send_and_wait(kafka.name_of(PUSH_CONTROL, settings), encode(word), key=key_of(word))
    finally:
        await producer.stop()


async def _read_to_end(consumer: AIOKafkaConsumer, partition: TopicPartition, standing: Standing) -> None:
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    end = (await consumer.end_offsets([partition]))[partition]
    while await consumer.position(partition) < end:
        for word in await _words(consumer, partition):
            standing.take(word)


async def _words(consumer: AIOKafkaConsumer, partition: TopicPartition) -> list[Word]:
    words = []
    for record in (await consumer.getmany(partition, timeout_ms=500)).get(partition, ()):
        try:
            words.append(_decode(record.value))
        except msgspec.MsgspecError as error:
            log.error("push_control_word_ignored", offset=record.offset, error=str(error))
    return words
