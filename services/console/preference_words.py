"""Adapter for `wam preferences show`: reads what is known of one user."""

from typing import NamedTuple

from aiokafka import TopicPartition

from services.console.topics import partition_count
from shared import kafka
from shared.events import UserPreference, decode_user_preference
from shared.ids import conversation_key
from shared.settings import ServiceSettings
from shared.stream.publisher import partition_of
from shared.topics import PREFERENCES


class Found(NamedTuple):
    """The latest word on record and where it stands; `word` None where none does."""

    word: UserPreference | None
    topic: str
    partition: int
    offset: int | None


async def latest(settings: ServiceSettings, phone_number_id: str, user: str) -> Found:
    """The latest word of one user, from the compacted topic: reads the one partition it would stand in, whole.

    Raises:
        KafkaError: Kafka can't be reached, or the topic was never created.
    """
    key = conversation_key(phone_number_id, user).encode()
    topic = kafka.name_of(PREFERENCES, settings)
    place = TopicPartition(topic, partition_of(key, await partition_count(settings, PREFERENCES)))
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
