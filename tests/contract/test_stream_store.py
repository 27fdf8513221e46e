"""The commit of a partition on a real Redis: what it rests on must still be so. And a producer that is given up lets nobody wait."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka.errors import ProducerClosed
from redis.asyncio import Redis

from deploy.local.stack import LocalStack
from shared import kafka
from shared.settings import ServiceSettings
from shared.stream.folding import Changes
from shared.stream.store import Held, Keys, Refused, Store
from shared.topics import SEND_EVENTS
from tests.conftest import Prefix


@pytest.fixture
async def redis(stack: LocalStack) -> AsyncIterator[Redis]:
    async with Redis.from_url(stack.endpoints.redis_url) as client:
        yield client


async def test_what_rests_on_claims_of_another_run_of_redis_is_not_stored(redis: Redis) -> None:
    store, keys = Store(redis), Keys(f"store-{uuid4().hex}", "router", 0)
    epoch = (await store.take(keys)).epoch
    run = (await redis.info("server"))["run_id"]
    with pytest.raises(Refused):
        await store.commit(keys, epoch, None, 5, b"", Changes({"k": b"1"}), "0" * 40)
    assert await store.load(keys, ["k"]) == [None]
    for granted_in in ("", run):
        before = None if not granted_in else 5
        await store.commit(keys, epoch, before, (before or 0) + 5, b"", Changes({"k": b"1"}), granted_in)
    await store.commit(keys, epoch, 5, 10, b"", Changes(), "0" * 40)  # repeated: it is there already
    (due,) = await store.due([Held(keys, epoch, 10, 1)], 0)
    assert due is not None
    assert (due.offset, due.run) == (10, run)
    assert await store.due([Held(keys, epoch, 11, 1)], 0) == [None]


async def test_a_producer_that_is_given_up_lets_nobody_wait(stack: LocalStack, prefix: Prefix) -> None:
    settings = ServiceSettings(
        kafka_bootstrap=stack.endpoints.kafka_bootstrap,
        topic_prefix=prefix.topics,
        partitions=1,
        replication=1,
    )
    await kafka.create_topics(settings, [SEND_EVENTS])
    producer = kafka.producer(settings)
    await producer.start()
    producer._sender.sender_task.cancel()
    batch = producer.create_batch()
    batch.append(key=b"k", value=b"v", timestamp=None)
    acknowledged = await producer.send_batch(batch, kafka.name_of(SEND_EVENTS, settings), partition=0)
    await kafka.abandon(producer, 0.5)
    with pytest.raises(ProducerClosed):
        async with asyncio.timeout(5):
            await acknowledged
