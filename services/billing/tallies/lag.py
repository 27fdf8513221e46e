"""How far the ledger is counted: its end in Kafka beside what Redis shows."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from aiokafka.errors import KafkaError

from services.billing.tallies.answers import AsOf
from services.billing.tallies.rows import RedisRows
from shared.clock import Clock
from shared.times import rfc3339

WITHIN_S = 1.0
"""An answer does not wait longer for Kafka."""


class Lag:
    """Asks both.

    Args:
        ends: the offset that the next entry of each of these partitions will get (`GroupOffsets.ends`).
        partitions: how many the ledger has; 0 while nobody knows.
    """

    def __init__(
        self,
        ends: Callable[[Collection[int]], Awaitable[Mapping[int, int]]],
        rows: RedisRows,
        clock: Clock,
        partitions: Callable[[], int],
    ) -> None:
        self._ends = ends
        self._rows = rows
        self._clock = clock
        self._partitions = partitions

    async def as_of(self) -> AsOf:
        """As of now; ask before the rows are read, so that all it calls counted is in them. Raises redis.RedisError."""
        at = rfc3339(int(self._clock.time() * 1000))
        numbers = range(self._partitions())
        try:
            async with asyncio.timeout(WITHIN_S):
                ends = await self._ends(numbers)
        except (KafkaError, TimeoutError):
            return AsOf(at, None)
        shown = await self._rows.shown()
        if not ends:
            return AsOf(at, None)
        return AsOf(at, sum(max(0, end - 1 - shown.get(n, -1)) for n, end in ends.items()))
