"""Adapter for `wam send`: publishes one send request as a business system would, and follows its events."""

import json
from asyncio import get_running_loop
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from services.console.steps import Step, is_last
from shared import kafka
from shared.events import SendEvent, decode_send_event
from shared.settings import ServiceSettings
from shared.topics import SEND_EVENTS, SEND_REQUESTS


async def send(
    settings: ServiceSettings, request: dict[str, Any], until: Step, timeout_s: float
) -> AsyncGenerator[SendEvent, None]:
    """Publish the request (or its cancellation) and yield its events, each once, up to the last one or for `timeout_s`.

    Raises:
        KafkaError: Kafka can't be reached, or the topics were never created.
    """
    request_id: str = request.get("request_id") or request["cancel_request_id"]
    consumer = kafka.reader(settings)
    try:
        await consumer.start()
        producer = kafka.producer(settings)
        try:
            await producer.start()
            await _seek_to_end(consumer, producer, kafka.name_of(SEND_EVENTS, settings))
            key, value = request_id.encode(), json.dumps(request).encode()
            await producer.send_and_wait(kafka.name_of(SEND_REQUESTS, settings), value, key)
        finally:
            await producer.stop()
        async with aclosing(_follow(consumer, request_id, timeout_s)) as events:
            async for event in events:
                yield event
                if is_last(event, until):
                    return
    finally:
        await consumer.stop()


async def _seek_to_end(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, topic: str) -> None:
    """Stand at the end of the topic before anything is published: no event of the request can be missed."""
    if topic not in await consumer.topics():
        raise UnknownTopicOrPartitionError(f"topic {topic} does not exist")
    partitions = [TopicPartition(topic, number) for number in await producer.partitions_for(topic)]
    consumer.assign(partitions)
    for partition, end in (await consumer.end_offsets(partitions)).items():
        consumer.seek(partition, end)


async def _follow(
    consumer: AIOKafkaConsumer, request_id: str, timeout_s: float
) -> AsyncGenerator[SendEvent, None]:
    seen: set[str] = set()
    until_s = get_running_loop().time() + timeout_s
    while (left_s := until_s - get_running_loop().time()) > 0:
        for records in (await consumer.getmany(timeout_ms=int(min(left_s, 1) * 1000))).values():
            for record in records:
                event = _of_request(record.value, request_id)
                if event is not None and event.event_id not in seen:
                    seen.add(event.event_id)
                    yield event


def _of_request(value: bytes, request_id: str) -> SendEvent | None:
    try:
        event = decode_send_event(value)
    except msgspec.MsgspecError:
        return None  # an event of a later version; it is not ours to judge
    return event if event.request_id == request_id else None
