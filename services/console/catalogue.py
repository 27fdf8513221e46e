"""What of the catalogue of topics exists in Kafka, as a value. Pure."""

from typing import Any, NamedTuple

from shared.topics import Topic


class Found(NamedTuple):
    """A topic of the catalogue as it is in Kafka; `partitions` None means that it does not exist."""

    topic: Topic
    name: str
    partitions: int | None
    replicas: int | None


def found(topic: Topic, name: str, partitions: list[dict[str, Any]] | None) -> Found:
    """Read Kafka's description of a topic's partitions; None or none where it does not exist."""
    if not partitions:
        return Found(topic, name, None, None)
    return Found(topic, name, len(partitions), len(partitions[0]["replicas"]))
