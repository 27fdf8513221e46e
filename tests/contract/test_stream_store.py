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
from tests.losing import run_of


@pytest.fixture
async def redis(stack: LocalStack) -> AsyncIterator[Redis]:
    async with Redis.from_url(stack.endpoints.redis_url) as client:
        yield client


async def test_what_rests_on_claims_of_another_run_of_redis_is_not_stored(redis: Redis) -> None:
    store, keys = Store(redis), Keys(f"store-{uuid4().hex}", "router", 0)
    epoch = (await store.take(keys)).epoch
    run = await run_of(redis)
    with pytest.raises(Refused):
        await store.commit(keys, epoch, None, 5, b"", Changes({"k": b"1"}), "0" * 40)
    assert await store.load(keys, ["k"]) == [None]
    for granted_in in ("", run):
        before = None if not granted_in else 5
        await store.commit(keys, epoch, before, (before or 0) + 5, b"", Changes({"k": b"1"}), granted_in)
    await store.commit(keys, epoch, 5, 10, b"", Changes(), "0" * 40)  # repeated: it is there already


async def test_only_what_is_as_its_owner_knows_it_is_vouched_for(redis: Redis) -> None:
    store, namespace = Store(redis), f"store-{uuid4().hex}"
    run = (await run_of(redis)).encode()
    fresh, known, behind, other, elsewhen = (Keys(namespace, "router", n) for n in range(5))
    vouched = known.vouched
    places = (fresh, known, behind, other, elsewhen)
    epochs = {keys: (await store.take(keys)).epoch for keys in places}
    timers = Changes(ranks=[("timers", "4915\nlife", 500, "set"), ("timers", "4915\nwindow", 900, "set")])
    for keys in places[1:]:
        await store.commit(keys, epochs[keys], None, 10, b"", timers)
    await store.take(other)
    await redis.hset(elsewhen.meta, "run", "0" * 80)
    offsets = (None, 10, 11, 10, 10)
    held = [Held(keys, epochs[keys], offset, 5) for keys, offset in zip(places, offsets, strict=True)]
    assert await store.due(held, 600) == [[], [("4915\nlife", 500)], None, None, None]
    assert await redis.hgetall(vouched) == {b"0": run, b"1": run}
    await store.take(known)
    assert await redis.hgetall(vouched) == {b"0": run}
    await redis.delete(*(keys.meta for keys in places))
    await redis.delete(vouched)
    assert await store.due(held, 600) == [None] * 5
    assert not await redis.exists(vouched)


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
