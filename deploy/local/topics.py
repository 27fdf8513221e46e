"""Creates the topics of a local system, as the deployment does elsewhere."""

from collections.abc import Mapping

from shared.kafka import create_topics as create_missing
from shared.settings import ServiceSettings


async def create_topics(settings: Mapping[str, str]) -> list[str]:
    """Creates the topics that are missing and names them; `settings` are `WA_…` variables of any service."""
    chosen = {
        "kafka_bootstrap": settings["WA_KAFKA_BOOTSTRAP"],
        "topic_prefix": settings["WA_TOPIC_PREFIX"],
        "partitions": settings["WA_PARTITIONS"],
        "replication": settings["WA_REPLICATION"],
    }
    return await create_missing(ServiceSettings.model_validate(chosen))
