"""How endpoints stand, asked of Kafka alone: so it is answered whether push runs or not."""

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from services.push.channel import group_of
from services.push.control import read_once
from services.push.endpoints import Endpoint
from services.push.standing import Standing
from shared import kafka
from shared.settings import ServiceSettings
from shared.times import rfc3339
from shared.topics import PUSH_REDELIVERIES


class EndpointStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint. `lag` counts the records of its topics after the first undelivered one, those of no concern included; times RFC 3339.

    Null `lag`: the endpoint was never served.
    """

    name: str
    enabled: bool
    disabled_because: str | None
    breaker: str
    lag: int | None
    oldest_undelivered: str | None
    last_error: str | None
    last_error_at: str | None


async def status(settings: ServiceSettings, endpoints: tuple[Endpoint, ...]) -> list[EndpointStatus]:
    """The status of each endpoint, in the file's order. Raises KafkaError."""
    standing = await read_once(settings)
    admin = AIOKafkaAdminClient(**kafka.connection(settings))
    consumer = kafka.reader(settings)
    try:
        await admin.start()
        await consumer.start()
        return [await _status(settings, admin, consumer, standing, endpoint) for endpoint in endpoints]
    finally:
        await consumer.stop()
        await admin.close()


async def _status(
    settings: ServiceSettings,
    admin: AIOKafkaAdminClient,
    consumer: AIOKafkaConsumer,
    standing: Standing,
    endpoint: Endpoint,
) -> EndpointStatus:
    group = group_of(settings.topic_prefix, endpoint.name)
    read = {kafka.name_of(topic, settings) for topic in (*endpoint.topics, PUSH_REDELIVERIES)}
    places = {
        partition: found.offset
        for partition, found in (await admin.list_consumer_group_offsets(group)).items()
        if found.offset >= 0 and partition.topic in read
    }
    ends = await consumer.end_offsets(list(places)) if places else {}
    behind = {partition: offset for partition, offset in places.items() if offset < ends[partition]}
    oldest_ms = await _oldest_ms(consumer, behind)
    states = list(standing.states.get(endpoint.name, {}).values())
    failed = max((s for s in states if s.last_error_ms is not None), key=lambda s: s.last_error_ms or 0, default=None)  # fmt: skip
    switched = standing.switched.get(endpoint.name)
    return EndpointStatus(
        name=endpoint.name,
        enabled=standing.enabled(endpoint.name),
        disabled_because=None
        if switched is None or switched.enabled
        else f"{switched.reason or 'no reason given'} (by {switched.by})",
        breaker="open" if any(state.breaker == "open" for state in states) else "closed",
        lag=sum(ends[partition] - offset for partition, offset in behind.items()) if places else None,
        oldest_undelivered=None if oldest_ms is None else rfc3339(oldest_ms),
        last_error=None if failed is None else failed.last_error,
        last_error_at=None
        if failed is None or failed.last_error_ms is None
        else rfc3339(failed.last_error_ms),
    )


async def _oldest_ms(consumer: AIOKafkaConsumer, behind: dict[TopicPartition, int]) -> int | None:
    """When Kafka got the oldest of the records at these places."""
    if not behind:
        return None
    consumer.assign(list(behind))
    for partition, offset in behind.items():
        consumer.seek(partition, offset)
    times: dict[TopicPartition, int] = {}
    while len(times) < len(behind):
        polled = await consumer.getmany(
            *(p for p in behind if p not in times), timeout_ms=1000, max_records=len(behind)
        )
        if not polled:
            break
        for partition, rows in polled.items():
            times.setdefault(partition, rows[0].timestamp)
    return min(times.values(), default=None)
