"""What waits in the bulk topic is looked at while its partitions are being taken over."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from deploy.local.stack import LocalStack
from services.ingress.intake.done import Done
from services.ingress.intake.lookahead import GROUP, LookAhead
from services.ingress.intake.settings import IntakeSettings
from shared import kafka
from shared.topics import SEND_REQUESTS_BULK
from tests.conftest import Prefix
from tests.integration.test_ingress import request, until

WAITING, DONE = 20, 7


@pytest_asyncio.fixture
async def settings(stack: LocalStack, prefix: Prefix) -> IntakeSettings:
    found = IntakeSettings(
        kafka_bootstrap=stack.endpoints.kafka_bootstrap,
        topic_prefix=prefix.topics,
        redis_namespace=prefix.redis,
        partitions=1,
        replication=1,
    )
    await kafka.create_topics(found)
    return found


@pytest_asyncio.fixture
async def ahead(stack: LocalStack, settings: IntakeSettings) -> AsyncIterator[LookAhead]:
    redis = Redis.from_url(stack.endpoints.redis_url)
    ahead = LookAhead(settings, Done(redis, settings.redis_namespace), lambda: 0, lambda: "106")
    yield ahead
    await ahead.stop()
    await redis.aclose()


@pytest.mark.parametrize("committed", [None, DONE])
async def test_what_is_polled_before_the_takeover_is_through_is_not_passed_over(
    settings: IntakeSettings, ahead: LookAhead, monkeypatch: pytest.MonkeyPatch, committed: int | None
) -> None:
    place = TopicPartition(kafka.name_of(SEND_REQUESTS_BULK, settings), 0)
    async with kafka.producer(settings) as producer:
        for nth in range(WAITING):
            await producer.send_and_wait(place.topic, request(f"r{nth}"))
    if committed is not None:
        group = f"{settings.topic_prefix}{GROUP}"
        async with AIOKafkaConsumer(**kafka.connection(settings), group_id=group) as before:
            before.assign([place])
            await before.commit({place: committed})
    polled, begun = asyncio.Event(), committed is not None
    consumer = ahead._consumer
    getmany, end_offsets = consumer.getmany, consumer.end_offsets

    async def seen(**how: Any) -> Any:
        if found := await getmany(**how):
            polled.set()
        return found

    async def late(places: Any) -> Any:
        nonlocal begun
        if begun:
            await polled.wait()
        begun = True  # where the group never was, the first question is asked before there is anything to poll
        return await end_offsets(places)

    monkeypatch.setattr(consumer, "getmany", seen)
    monkeypatch.setattr(consumer, "end_offsets", late)
    await ahead.start()

    async def looked_at_all() -> bool:
        await ahead.look_further()
        return place in ahead.parts and ahead.parts[place].held.position == WAITING

    await until(looked_at_all)
    assert ahead.waiting() == {"106": WAITING - (committed or 0)}
