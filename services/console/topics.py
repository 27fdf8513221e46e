"""Adapter for `wam topics`: which topics of the catalogue exist, with how many partitions."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError

from services.console.catalogue import Found, found
from shared import kafka
from shared.settings import ServiceSettings
from shared.topics import DEAD_LETTERS, TOPICS, Topic


async def partition_count(settings: ServiceSettings, topic: Topic) -> int:
    """How many partitions a topic of the catalogue has: as it was created, whatever the settings of who asks say.

    Raises:
        KafkaError: Kafka can't be reached, or the topic was never created.
    """
    for known in await listed(settings):
        if known.topic == topic and known.partitions is not None:
            return known.partitions
    raise UnknownTopicOrPartitionError(f"topic {kafka.name_of(topic, settings)} does not exist")


async def listed(settings: ServiceSettings) -> list[Found]:
    """All topics of the catalogue, in its order.

    Raises:
        KafkaError: Kafka can't be reached.
    """
    catalogue = {kafka.name_of(topic, settings): topic for topic in (*TOPICS, *DEAD_LETTERS)}
    admin = AIOKafkaAdminClient(**kafka.connection(settings))
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        answers = await admin.describe_topics([name for name in catalogue if name in existing])
    finally:
        await admin.close()
    described = {answer["topic"]: answer["partitions"] for answer in answers}
    return [found(topic, name, described.get(name)) for name, topic in catalogue.items()]
