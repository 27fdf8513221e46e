"""Creates the changelog topic of the tallies' table, as many partitions as the ledger has, compacted.

The deployment creates all other topics; this one belongs to a generation of the tallies, and nobody else reads it.
"""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from shared import kafka
from shared.settings import ServiceSettings
from shared.times import DAY_MS


class TopicMismatch(Exception):
    """A topic is missing or has a partition count that would put rows where nobody looks for them."""


async def create_changelog(settings: ServiceSettings, *, source: str, changelog: str) -> int:
    """Create `changelog` beside `source` unless it is there; returns their partition count.

    Raises:
        TopicMismatch: the source is missing, or the two differ in partitions.
        aiokafka.errors.KafkaError: as the admin client.
    """
    admin = AIOKafkaAdminClient(**kafka.connection(settings))
    await admin.start()
    try:
        partitions = await _partitions(admin, source)
        if not partitions:
            raise TopicMismatch(f"topic {source} does not exist; the deployment creates it")
        config = {
            "cleanup.policy": "compact",
            "min.insync.replicas": str(min(2, settings.replication)),
            # A row that a worker cut off in the middle wrote late stays beside the newer one until a recovery has chosen.
            "min.compaction.lag.ms": str(DAY_MS),
        }
        topic = NewTopic(changelog, partitions, settings.replication, topic_configs=config)
        try:
            answer = await admin.create_topics([topic])
            codes = [code for _, code, *_ in answer.topic_errors]
        except TopicAlreadyExistsError:
            codes = []
        for code in codes:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(f"creating topic {changelog}")
        existing = await _partitions(admin, changelog)
        if existing and existing != partitions:
            raise TopicMismatch(f"{source} has {partitions} partitions, {changelog} has {existing}")
        return partitions
    finally:
        await admin.close()


async def _partitions(admin: AIOKafkaAdminClient, topic: str) -> int:
    try:
        (described,) = await admin.describe_topics([topic])
    except UnknownTopicOrPartitionError:
        return 0
    return len(described["partitions"])
