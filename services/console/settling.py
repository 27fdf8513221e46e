"""Lists messages of which nobody knows whether they went out, and tells the router what an operator says of one."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable

from redis.asyncio import Redis

from services.console.open_messages import OpenMessage, Settling, settled, shown
from shared.clock import Clock
from shared.events import UncertainSettled
from shared.terminal import Unavailable
from shared.uncertain import Uncertain
from shared.uncertain_index import read_open

Tell = Callable[[Iterable[UncertainSettled]], Awaitable[int]]
REDIS_S = 5.0
"""Longest to wait for Redis: its client would wait for ever."""


class IndexUnavailable(Unavailable):
    """Redis does not answer."""


class RedisIndex:
    """The router's index of all partitions."""

    def __init__(self, redis: Redis, namespace: str, partitions: int) -> None:
        self._redis = redis
        self._namespace = namespace
        self._partitions = partitions

    async def read(self) -> list[tuple[Uncertain, int]]:
        """The open messages, the one looked at soonest first. Raises IndexUnavailable."""
        try:
            async with asyncio.timeout(REDIS_S):
                return await read_open(self._redis, self._namespace, range(self._partitions))
        except TimeoutError:
            raise IndexUnavailable(f"Redis does not answer within {REDIS_S:g} s (WA_REDIS_URL)") from None


class OpenMessages:
    """What operators can see and do. `read` gives the index, `tell` appends to the conversations' log."""

    def __init__(
        self,
        read: Callable[[], Awaitable[list[tuple[Uncertain, int]]]],
        tell: Tell,
        hashed: Callable[[str], str],
        resent: Collection[str],
        clock: Clock,
    ) -> None:
        self._read = read
        self._tell = tell
        self._hashed = hashed
        self._resent = resent
        self._clock = clock

    async def list(self) -> list[OpenMessage]:
        """All that are open. Raises IndexUnavailable."""
        return shown(await self._read(), self._hashed, self._resent)

    async def settle(self, settling: Settling, by: str) -> str:
        """Settle one; its command id. What becomes of it is told in the request's events.

        Raises:
            NotOpen: it is not open, or not certain which is meant.
            IndexUnavailable, KafkaError: nothing was settled.
        """
        word = settled(settling, await self._read(), self._hashed, by, int(self._clock.time() * 1000))
        await self._tell([word])
        return word.command_id
