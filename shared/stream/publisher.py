"""Publishes encoded events: whole batches per partition, in order, acknowledged; commands only after all the rest."""

import asyncio
import struct
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from shared import kafka
from shared.settings import ServiceSettings
from shared.stream.fold import Release
from shared.topics import SEND_COMMANDS

_ABANDONED_WITHIN_S = 2.0


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record to publish, fixed to the byte. `topic` is the catalogue's name, without the deployment's prefix."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Outbox(NamedTuple):
    """What a committed batch still has to do to the outside: records to publish, then claims to give back."""

    records: list[Record]
    releases: list[Release]


_decode_outbox = msgspec.msgpack.Decoder(Outbox).decode
_encode = msgspec.msgpack.Encoder().encode


def encode_outbox(outbox: Outbox) -> bytes:
    """The outbox as one value; empty when there is nothing to do."""
    return _encode(outbox) if outbox.records or outbox.releases else b""


def decode_outbox(value: bytes) -> Outbox:
    """What `encode_outbox` made."""
    return _decode_outbox(value) if value else Outbox([], [])


_SEED, _FACTOR, _BITS = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """Where Kafka's default partitioner (murmur2) puts a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(key: bytes) -> int:
    """Kafka's hash of a key, 32 bits (Kafka, Utils.murmur2): as aiokafka's, at half its cost."""
    whole = len(key) & ~3
    hashed = _SEED ^ len(key)
    for word in struct.unpack_from(f"<{whole >> 2}I", key):
        word = word * _FACTOR & _BITS
        hashed = (hashed * _FACTOR & _BITS) ^ ((word ^ word >> 24) * _FACTOR & _BITS)
    if whole < len(key):
        hashed = (hashed ^ int.from_bytes(key[whole:], "little")) * _FACTOR & _BITS
    hashed = (hashed ^ hashed >> 13) * _FACTOR & _BITS
    return hashed ^ hashed >> 15


class Publisher(Protocol):
    """Where a processor's records go."""

    async def publish(self, records: Sequence[Record]) -> None:
        """Return when every record is acknowledged; may be repeated with the same records."""
        ...


class KafkaPublisher:
    """Publishes to Kafka in batches built here: a third of the cost of one `send` per record.

    A producer that gave up a batch has a gap in the numbers by which Kafka knows duplicates, and is refused from then on (OutOfOrderSequenceNumber). So after a failure
    another one takes its place: what is published again is published twice at most, the same to the byte.
    """

    def __init__(self, settings: ServiceSettings, name_of: Callable[[str], str] | None = None) -> None:
        """`name_of` makes a topic's full name of that in its records; by default they have the catalogue's."""
        self._settings = settings
        self._name_of = name_of or (lambda name: settings.topic_prefix + name)
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def start(self) -> None:
        """Connect; raises KafkaError when Kafka is not there."""
        await self._connected()

    async def stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def publish(self, records: Sequence[Record]) -> None:
        places: defaultdict[tuple[str, int], list[Record]] = defaultdict(list)
        for record in records:
            places[record.topic, record.partition].append(record)
        producer = await self._connected()
        try:
            for last in (False, True):
                async with asyncio.TaskGroup() as sending:
                    for (topic, partition), rows in places.items():
                        if (topic == SEND_COMMANDS.name) is last:
                            sending.create_task(self._send(producer, topic, partition, rows))
        except ExceptionGroup as failed:
            if failed.subgroup(KafkaError) and producer is self._producer:
                self._producer = None
                await kafka.abandon(producer, _ABANDONED_WITHIN_S)
            raise failed.exceptions[0] from None

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = kafka.producer(self._settings)
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Record]
    ) -> None:
        name = self._name_of(topic)
        batch = producer.create_batch()
        acknowledgements = []
        for record in records:
            key, value, headers = record.key, record.value, record.headers
            while batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                if not batch.record_count():
                    raise ValueError(f"record of {len(value)} bytes for {name} exceeds the producer's batch")
                acknowledgements.append(await producer.send_batch(batch, name, partition=partition))
                batch = producer.create_batch()
        acknowledgements.append(await producer.send_batch(batch, name, partition=partition))
        await asyncio.gather(*acknowledgements)
