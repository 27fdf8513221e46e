"""Tells when nothing is under way inside: every consumer group has committed all there is to read."""

import asyncio
from collections.abc import Collection
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.demo.business import WITHIN_S, Missing
from shared import kafka
from shared.settings import ServiceSettings
from shared.topics import CONSUMED, Topic

_READERS: Final = {
    "send.requests.v1": "ingress.intake",
    "send.requests.bulk.v1": "ingress.intake",
    "conversation.events.v1": "router",
    "account.events.v1": "router",
    "send.commands.v1": "sender",
    "send.events.v1": "billing",
    "billing.charges.v1": "billing.tallies",
}
_LOOK_EVERY_S: Final = 0.1


class Groups:
    """Asks Kafka how far the consumer groups have come; one connection for many questions."""

    def __init__(self, settings: ServiceSettings) -> None:
        """Keeps the settings."""
        self._settings = settings
        self._admin = AIOKafkaAdminClient(**kafka.connection(settings))
        self._reader = kafka.reader(settings)
        self._begins: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Connects, and notes where the topics begin. Raises KafkaError."""
        await self._admin.start()
        await self._reader.start()
        names = [kafka.name_of(topic, self._settings) for topic in CONSUMED]
        found = await self._admin.describe_topics(names)
        places = [TopicPartition(t["topic"], p["partition"]) for t in found for p in t["partitions"]]
        self._begins = await self._reader.beginning_offsets(places)

    async def stop(self) -> None:
        """Disconnects."""
        await self._reader.stop()
        await self._admin.close()

    async def caught_up(
        self,
        topics: Collection[Topic] = CONSUMED,
        *,
        within_s: float = WITHIN_S,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        """Returns when each record of these topics is committed by their groups.

        Raises:
            Missing: some group stays behind for longer than `within_s`; it names the readers of those topics.
            KafkaError: Kafka can't be asked.
        """
        names = {kafka.name_of(topic, self._settings): topic.name for topic in topics}
        begins = {place: begin for place, begin in self._begins.items() if place.topic in names}
        behind: set[str] = set()
        try:
            async with asyncio.timeout(within_s):
                while behind := await _behind(self._admin, self._reader, self._settings, begins):  # noqa: ASYNC110 - others commit
                    await asyncio.sleep(look_every_s)
        except TimeoutError:
            named = sorted(names[name] for name in behind)
            raise Missing(
                f"end of the work on {', '.join(named)}", tuple(_READERS[name] for name in named), within_s
            ) from None


async def caught_up(settings: ServiceSettings) -> None:
    """Returns when each record of the topics that services read is committed by its group. Raises as `Groups.caught_up`."""
    groups = Groups(settings)
    await groups.start()
    try:
        await groups.caught_up()
    finally:
        await groups.stop()


async def _behind(
    admin: AIOKafkaAdminClient,
    reader: AIOKafkaConsumer,
    settings: ServiceSettings,
    begins: dict[TopicPartition, int],
) -> set[str]:
    """The topics that some group has not read to the end, or that nobody has committed at all."""
    groups = [
        name for name, *_ in await admin.list_consumer_groups() if name.startswith(settings.topic_prefix)
    ]
    # Ends after the groups' list: what comes meanwhile counts as behind.
    committed: dict[TopicPartition, list[int]] = {}
    for group in groups:
        for place, known in (await admin.list_consumer_group_offsets(group)).items():
            committed.setdefault(place, []).append(known.offset)
    ends = await reader.end_offsets(list(begins))
    return {
        place.topic
        for place, end in ends.items()
        if end > begins[place] and min(committed.get(place, [0])) < end
    }
