"""Which requests of the bulk topic are done although one before them is not: a bit each, in Redis, so that a restart releases nothing twice.

What is lost of it costs only that requests are released again, and the router knows them by their ids. `{namespace:bulk}:{partition}:{chunk}`.
"""

from collections.abc import Iterable

from redis.asyncio import Redis

from shared.topics import KEEP_MS

CHUNK = 65_536
"""Offsets of one key: 8 KB."""


class Done:
    """The bits of all partitions.

    Every method raises RedisError when Redis can't be asked.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace

    async def among(self, partition: int, offsets: list[int]) -> set[int]:
        """Those of the offsets, ascending, that are done."""
        pipeline = self._redis.pipeline(transaction=False)
        for offset in offsets:
            pipeline.getbit(self._key(partition, offset // CHUNK), offset % CHUNK)
        bits: list[int] = await pipeline.execute()
        return {offset for offset, bit in zip(offsets, bits, strict=True) if bit}

    async def mark(self, places: Iterable[tuple[int, int]]) -> None:
        """(partition, offset) of requests that were released."""
        pipeline = self._redis.pipeline(transaction=False)
        keys = set()
        for partition, offset in places:
            key = self._key(partition, offset // CHUNK)
            pipeline.setbit(key, offset % CHUNK, 1)
            keys.add(key)
        for key in keys:
            pipeline.pexpire(key, KEEP_MS)
        await pipeline.execute()

    async def forget(self, partition: int, end: int) -> None:
        """Nobody has read this partition before, so whatever is noted of it is of another topic of that name."""
        keys = [self._key(partition, chunk) for chunk in range(end // CHUNK + 1)]
        await self._redis.delete(*keys)

    def _key(self, partition: int, chunk: int) -> str:
        return f"{{{self._namespace}:bulk}}:{partition}:{chunk}"
