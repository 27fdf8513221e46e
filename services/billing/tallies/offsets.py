"""What the group has committed and where the ledger ends, asked by a client of our own that Faust does not know."""

from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared import kafka
from shared.settings import ServiceSettings


class GroupOffsets:
    """A part that reads offsets of one group on one topic; it joins nothing."""

    def __init__(self, settings: ServiceSettings, *, group: str, topic: str) -> None:
        self._settings = settings
        self._group = group
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect."""
        self._consumer = AIOKafkaConsumer(
            **kafka.connection(self._settings), group_id=self._group, enable_auto_commit=False
        )
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def committed(self, partitions: Collection[int]) -> Mapping[int, int]:
        """The next offset that the group will process, by partition; 0 where it has committed none."""
        return {n: await self._client.committed(self._place(n)) or 0 for n in partitions}

    async def ends(self, partitions: Collection[int]) -> Mapping[int, int]:
        """The offset that the next entry will get, by partition."""
        if not partitions:
            return {}
        found = await self._client.end_offsets([self._place(n) for n in partitions])
        return {place.partition: end for place, end in found.items()}

    @property
    def _client(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError("offsets are asked before the client has started")
        return self._consumer

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)
