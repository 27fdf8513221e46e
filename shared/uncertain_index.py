"""Adapter to the router's index of open messages in Redis, for who counts or lists them."""

from collections.abc import Iterable

from redis.asyncio import Redis

from shared.stream.store import Keys
from shared.uncertain import UNCERTAIN, Uncertain, of_member

GROUP = "router"


async def read_open(redis: Redis, namespace: str, partitions: Iterable[int]) -> list[tuple[Uncertain, int]]:
    """The open messages of some partitions, each with when it is looked at next (epoch ms), the soonest first; one round trip."""
    pipeline = redis.pipeline(transaction=False)
    for partition in partitions:
        pipeline.zrange(Keys(namespace, GROUP, partition).set(UNCERTAIN), 0, -1, withscores=True)
    found = [(of_member(member), int(at)) for rows in await pipeline.execute() for member, at in rows]
    return sorted(found, key=lambda row: row[1])
