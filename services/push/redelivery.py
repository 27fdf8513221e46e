"""Delivers events once more: copies them to the topic of redeliveries, from where their endpoint's own group takes them like any others.

So a redelivery is ordered, retried, counted and parked as everything else is, and survives what the service survives.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.push.channel import group_of
from services.push.control import tell_once
from services.push.endpoints import Endpoint
from services.push.records import ENDPOINT_HEADER, TOPIC_HEADER, Reader, Unreadable, header, marks
from services.push.standing import EventsRedelivered
from shared import kafka
from shared.settings import ServiceSettings
from shared.topics import PUSH, PUSH_REDELIVERIES


class Wanted(NamedTuple):
    """Which events: of a time (epoch ms, by Kafka's clock, `to_ms` not included), and of these only the one with an id."""

    from_ms: int
    to_ms: int
    event_id: str | None = None


async def redeliver(settings: ServiceSettings, endpoint: Endpoint, wanted: Wanted) -> int:
    """Repeat public events that the endpoint is told by its filter; how many. Raises KafkaError."""
    topics = {kafka.name_of(topic, settings): topic for topic in endpoint.topics}
    reader = Reader(endpoint, topics, kafka.name_of(PUSH_REDELIVERIES, settings))
    count = 0
    async with _clients(settings) as (consumer, producer):
        places = await _partitions(producer, list(topics))
        starts = await _offsets_at(consumer, places, wanted.from_ms)
        ends = await _offsets_at(consumer, places, wanted.to_ms)
        async for row in _between(consumer, {place: (starts[place], ends[place]) for place in places}):
            try:
                event = reader.event(row.topic, row.value or b"", row.headers)
            except Unreadable:
                continue  # parked when its turn came
            if event is not None and wanted.event_id in (None, event.id):
                await _repeat(settings, producer, endpoint.name, topics[row.topic].name, row)
                count += 1
    return count


async def redeliver_parked(settings: ServiceSettings, endpoint: Endpoint, from_ms: int | None) -> int:
    """Repeat what was parked of the endpoint since this was last asked for, or since `from_ms`; how many. Raises KafkaError."""
    name = kafka.name_of(PUSH.dead_letters, settings)
    group = f"{group_of(settings.topic_prefix, endpoint.name)}.parked"
    count = 0
    async with _clients(settings, group) as (consumer, producer):
        places = await _partitions(producer, [name])
        starts = (
            {place: await consumer.committed(place) or 0 for place in places}
            if from_ms is None
            else await _offsets_at(consumer, places, from_ms)
        )
        begin = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        async for row in _between(
            consumer, {place: (max(starts[place], begin[place]), ends[place]) for place in places}
        ):
            whole = not header(row.headers, "dlq-truncated")
            if header(row.headers, ENDPOINT_HEADER) == endpoint.name and whole:
                await _repeat(settings, producer, endpoint.name, header(row.headers, TOPIC_HEADER), row)
                count += 1
        if places:
            await consumer.commit({place: ends[place] for place in places})
    return count


async def audit(settings: ServiceSettings, word: EventsRedelivered) -> None:
    """Have the running processes log who repeated what. Raises KafkaError."""
    await tell_once(settings, word)


@asynccontextmanager
async def _clients(
    settings: ServiceSettings, group: str | None = None
) -> AsyncIterator[tuple[AIOKafkaConsumer, AIOKafkaProducer]]:
    consumer = kafka.reader(settings) if group is None else kafka.group_consumer(settings, group)
    producer = kafka.producer(settings, linger_ms=5)
    try:
        await consumer.start()
        await producer.start()
        yield consumer, producer
        await producer.flush()
    finally:
        await producer.stop()
        await consumer.stop()


async def _repeat(
    settings: ServiceSettings, producer: AIOKafkaProducer, endpoint: str, topic: str, row: ConsumerRecord
) -> None:
    name = kafka.name_of(PUSH_REDELIVERIES, settings)
    await producer.send(name, row.value, key=row.key, headers=marks(endpoint, topic, row.headers))


async def _partitions(producer: AIOKafkaProducer, topics: list[str]) -> list[TopicPartition]:
    return [
        TopicPartition(topic, partition)
        for topic in topics
        for partition in sorted(await producer.partitions_for(topic))
    ]


async def _offsets_at(
    consumer: AIOKafkaConsumer, places: list[TopicPartition], ms: int
) -> dict[TopicPartition, int]:
    """The first offset of each partition whose record is not older than a time; its end where there is none."""
    found = await consumer.offsets_for_times(dict.fromkeys(places, ms)) if places else {}
    ends = await consumer.end_offsets(places) if places else {}
    return {place: ends[place] if found[place] is None else found[place].offset for place in places}


async def _between(
    consumer: AIOKafkaConsumer, spans: dict[TopicPartition, tuple[int, int]]
) -> AsyncIterator[ConsumerRecord]:
    left = {place: end for place, (start, end) in spans.items() if start < end}
    consumer.assign(list(spans))
    for place in spans:
        consumer.seek(place, spans[place][0])
    while left:
        for place, rows in (await consumer.getmany(*left, timeout_ms=500)).items():
            for row in rows:
                if row.offset < left[place]:
                    yield row
        for place in [place for place in left if await consumer.position(place) >= left[place]]:
            del left[place]
