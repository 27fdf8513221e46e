"""Reads whole topics and a group's progress: for tests, chaos and benches."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from shared import kafka
from shared.settings import ServiceSettings
from shared.topics import Topic


class Row(NamedTuple):
    """One record."""

    partition: int
    key: bytes
    value: bytes
    headers: dict[str, bytes]


@asynccontextmanager
async def standing_at_start(
    settings: ServiceSettings, topic: Topic
) -> AsyncIterator[tuple[AIOKafkaConsumer, dict[TopicPartition, int]]]:
    """A consumer at the beginning of a topic, and the topic's end."""
    consumer = kafka.reader(settings)
    await consumer.start()
    try:
        partitions = 1 if topic.single else settings.partitions
        places = [TopicPartition(kafka.name_of(topic, settings), p) for p in range(partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        yield consumer, await consumer.end_offsets(places)
    finally:
        await consumer.stop()


async def read_all(settings: ServiceSettings, topic: Topic) -> list[Row]:
    """All records of a topic as of now, partition by partition."""
    async with standing_at_start(settings, topic) as (consumer, ends):
        rows = []
        for place, end in ends.items():
            while await consumer.position(place) < end:
                for records in (await consumer.getmany(place, timeout_ms=500)).values():
                    rows += [Row(r.partition, r.key, r.value, dict(r.headers)) for r in records]
        return rows


async def ends(settings: ServiceSettings, topic: Topic) -> dict[int, int]:
    """Where a topic ends, by partition."""
    async with standing_at_start(settings, topic) as (_, found):
        return {place.partition: end for place, end in found.items()}


async def length(settings: ServiceSettings, topic: Topic) -> int:
    """How many records were ever appended to a topic."""
    return sum((await ends(settings, topic)).values())


async def committed(settings: ServiceSettings, group: str) -> int:
    """How many records of its topics a group has committed (`group` as the code names it, without the prefix)."""
    admin = AIOKafkaAdminClient(**kafka.connection(settings))
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(f"{settings.topic_prefix}{group}")
        return sum(o.offset for o in offsets.values() if o.offset > 0)
    except GroupCoordinatorNotAvailableError:  # a new broker makes its offsets topic on first use
        return 0
    finally:
        await admin.close()
