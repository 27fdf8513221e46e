"""Adapter for `wam preferences show`: reads what is known of one user."""

from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

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
    consumer = kafka.reader(settings)
    await consumer.start()
    try:
        if topic not in await consumer.topics():
            raise UnknownTopicOrPartitionError(f"topic {topic} does not exist")
        # Kafka's own count: the setting of who asks here may be another than that of who created the topic.
        place = TopicPartition(topic, partition_of(key, len(consumer.partitions_for_topic(topic))))
        found = Found(None, topic, place.partition, None)
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
