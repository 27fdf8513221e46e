"""Adapter for `wam topics`: which topics of the catalogue exist, with how many partitions."""

from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient

from shared import kafka
from shared.settings import ServiceSettings
from shared.topics import DEAD_LETTERS, TOPICS, Topic


class Found(NamedTuple):
    """A topic of the catalogue as it is in Kafka; `partitions` None means that it does not exist."""

    topic: Topic
    name: str
    partitions: int | None
    replicas: int | None


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
    return [_found(topic, name, described.get(name)) for name, topic in catalogue.items()]


def _found(topic: Topic, name: str, partitions: list[dict[str, object]] | None) -> Found:
    if not partitions:
        return Found(topic, name, None, None)
    replicas = partitions[0]["replicas"]
    return Found(topic, name, len(partitions), len(replicas) if isinstance(replicas, list) else None)
