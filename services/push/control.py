"""The topic on which operators and the service itself say how endpoints stand: written by both, followed by every process of push.

Compacted, one partition: of each endpoint (and of each process that serves it) the last word is kept for ever.
"""

import asyncio
from collections.abc import Callable

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from services.push.standing import EndpointSwitched, EventsRedelivered, Standing, Word, decode, key_of
from shared import kafka
from shared.events import encode
from shared.lifecycle import Service
from shared.settings import ServiceSettings
from shared.topics import PUSH_CONTROL

log = structlog.get_logger(__name__)


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
            words.append(decode(record.value))
        except msgspec.MsgspecError as error:
            log.error("push_control_word_ignored", offset=record.offset, error=str(error))
    return words
