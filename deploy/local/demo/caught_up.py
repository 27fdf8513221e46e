"""Tells when nothing is under way inside: every consumer group has committed all there is to read."""

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.demo.business import WITHIN_S, Missing
from shared import kafka
from shared.settings import ServiceSettings
from shared.topics import CONSUMED

_READERS: Final = {
    "send.requests.v1": "ingress",
    "conversation.events.v1": "router",
    "account.events.v1": "router",
    "send.commands.v1": "sender",
    "send.events.v1": "billing",
    "billing.charges.v1": "billing.tallies",
}
_LOOK_EVERY_S: Final = 0.1


async def caught_up(settings: ServiceSettings) -> None:
    """Returns when each record of the topics that services read is committed by its group.

    Raises:
        Missing: some group stays behind for longer than `WITHIN_S`; it names the readers of those topics.
        KafkaError: Kafka can't be asked.
    """
    admin, reader = AIOKafkaAdminClient(**kafka.connection(settings)), kafka.reader(settings)
    await admin.start()
    await reader.start()
    behind: set[str] = set()
    try:
        topics = {kafka.name_of(topic, settings): topic.name for topic in CONSUMED}
        found = await admin.describe_topics(list(topics))
        places = [TopicPartition(t["topic"], p["partition"]) for t in found for p in t["partitions"]]
        begins = await reader.beginning_offsets(places)
        async with asyncio.timeout(WITHIN_S):
            while behind := await _behind(admin, reader, settings, begins):  # noqa: ASYNC110 - others commit
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        named = {topics[name] for name in behind}
        raise Missing(
            f"end of the work on {', '.join(sorted(named))}", tuple(_READERS[name] for name in sorted(named))
        ) from None
    finally:
        await reader.stop()
        await admin.close()


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
