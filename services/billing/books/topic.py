"""A topic read from offset to offset, its bounds, how far groups have read it, and the deletion of its beginning.

Only what is committed is read (`read_committed`); an offset that is gone is an error, never a silent skip.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import UnknownTopicOrPartitionError

from services.billing.books.refusal import Refusal
from shared import kafka
from shared.settings import ServiceSettings
from shared.topics import MAX_RECORD_BYTES, Topic

RECORDS_AT_ONCE = 2000
FETCH_MS = 5000
"""How long one fetch may take to bring something that is known to be there."""
FETCH_BYTES = 2 * MAX_RECORD_BYTES


class RecordsNotThere(Refusal):
    """Kafka names records that it does not give."""


class TopicReader:
    """Reads one topic; use it as an async context. It belongs to no group and commits nothing."""

    def __init__(self, settings: ServiceSettings, topic: Topic) -> None:
        self.name = kafka.name_of(topic, settings)
        self.partitions: list[int] = []
        self._settings = settings
        self._consumer = AIOKafkaConsumer(
            **kafka.connection(settings),
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=50,
        )

    async def __aenter__(self) -> "TopicReader":
        self.partitions = await partitions_of(self._settings, self.name)
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def begins(self) -> dict[int, int]:
        """Partition → the offset of its first record, or of its next one where it has none."""
        found = await self._consumer.beginning_offsets(self._places())
        return {place.partition: offset for place, offset in found.items()}

    async def ends(self) -> dict[int, int]:
        """Partition → the offset that its next record will get."""
        found = await self._consumer.end_offsets(self._places())
        return {place.partition: offset for place, offset in found.items()}

    async def records(self, partition: int, first: int, end: int) -> AsyncGenerator[list[Any], None]:
        """The records of a partition from `first` up to `end` (not included), in batches, in order.

        Raises:
            aiokafka.errors.OffsetOutOfRangeError: `first` is not in the topic any more.
            RecordsNotThere: they do not come.
        """
        if first >= end:
            return
        place = TopicPartition(self.name, partition)
        self._consumer.assign([place])
        self._consumer.seek(place, first)
        while first < end:
            found = await self._consumer.getmany(
                place, timeout_ms=FETCH_MS, max_records=min(RECORDS_AT_ONCE, end - first)
            )
            batch = [record for record in found.get(place, ()) if record.offset < end]
            position = await self._consumer.position(place)
            if not batch and position <= first:
                raise RecordsNotThere(f"{self.name}[{partition}] does not give {first} to {end - 1}")
            first = position
            if batch:
                yield batch

    def _places(self) -> list[TopicPartition]:
        return [TopicPartition(self.name, n) for n in self.partitions]


async def partitions_of(settings: ServiceSettings, topic: str) -> list[int]:
    """The partitions of a topic, by its full name, in order.

    Raises:
        aiokafka.errors.UnknownTopicOrPartitionError: it does not exist.
    """
    admin = AIOKafkaAdminClient(**kafka.connection(settings))
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
    except UnknownTopicOrPartitionError:
        raise UnknownTopicOrPartitionError(f"topic {topic} does not exist") from None
    finally:
        await admin.close()
    return sorted(one["partition"] for one in described["partitions"])


async def readers(settings: ServiceSettings, topic: str) -> dict[str, dict[int, int]]:
    """Every group that has committed offsets of the topic, with them."""
    admin = AIOKafkaAdminClient(**kafka.connection(settings))
    await admin.start()
    try:
        found = {}
        for group, *_ in await admin.list_consumer_groups():
            if offsets := await _committed(admin, group, topic):
                found[group] = offsets
        return found
    finally:
        await admin.close()


async def delete_before(settings: ServiceSettings, topic: str, offsets: Mapping[int, int]) -> None:
    """Delete the records of each partition that lie before its offset. What is deleted is gone for good."""
    admin = AIOKafkaAdminClient(**kafka.connection(settings))
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(topic, n): RecordsToDelete(offset) for n, offset in offsets.items()}
        )
    finally:
        await admin.close()


async def _committed(admin: AIOKafkaAdminClient, group: str, topic: str) -> dict[int, int]:
    found = await admin.list_consumer_group_offsets(group)
    return {
        place.partition: said.offset
        for place, said in found.items()
        if place.topic == topic and said.offset >= 0
    }
