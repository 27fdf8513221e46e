"""Adapter for `wam preferences`: tells what users said about marketing, and reads what is known of one."""

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from aiokafka import TopicPartition

from shared import kafka
from shared.events import PreferenceChanged, UserPreference, decode_user_preference, encode
from shared.ids import conversation_key
from shared.settings import ServiceSettings
from shared.stream.publisher import partition_of
from shared.topics import CONVERSATION_EVENTS, PREFERENCES

WINDOW = 2000
"""Events sent before their acks are waited for: bounds the memory that a long list takes."""


class Found(NamedTuple):
    """The latest word on record and where it stands; `word` None where none does."""

    word: UserPreference | None
    topic: str
    partition: int
    offset: int | None


async def publish(settings: ServiceSettings, events: Iterable[PreferenceChanged]) -> int:
    """Append the words to their conversations' log and return how many; telling one twice changes nothing.

    Raises:
        KafkaError: some word is not acknowledged; telling all again tells what is missing.
    """
    topic, count, words = kafka.name_of(CONVERSATION_EVENTS, settings), 0, iter(events)
    producer = kafka.producer(settings, linger_ms=5)
    try:
        await producer.start()
        while window := list(islice(words, WINDOW)):
            sent = [
                await producer.send(
                    topic, encode(word), conversation_key(word.phone_number_id, word.user).encode()
                )
                for word in window
            ]
            await asyncio.gather(*sent)
            count += len(window)
    finally:
        await producer.stop()
    return count


async def latest(settings: ServiceSettings, phone_number_id: str, user: str) -> Found:
    """The latest word of one user, from the compacted topic: reads the one partition it would stand in, whole.

    Raises:
        KafkaError: Kafka can't be reached, or the topic was never created.
    """
    key = conversation_key(phone_number_id, user).encode()
    topic = kafka.name_of(PREFERENCES, settings)
    place = TopicPartition(topic, partition_of(key, settings.partitions))
    found = Found(None, topic, place.partition, None)
    consumer = kafka.reader(settings)
    await consumer.start()
    try:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        while await consumer.position(place) < end:
            for record in (await consumer.getmany(place, timeout_ms=500)).get(place, ()):
                if record.key == key:
                    word = None if record.value is None else decode_user_preference(record.value)
                    found = Found(word, topic, place.partition, record.offset)
    finally:
        await consumer.stop()
    return found
