"""Ends a consumer that has work and does not do it: Faust can live on with a dead consumer inside."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from time import monotonic

import structlog
from aiokafka.errors import KafkaError

from services.billing.tallies.offsets import GroupOffsets
from shared.lifecycle import Service
from shared.metrics import STREAM_LAG
from shared.settings import ServiceSettings

log = structlog.get_logger(__name__)


class Stalled(Exception):
    """Records wait, and the position has not moved."""


class Progress:
    """Since when each partition has been standing still before waiting records. Pure but for what it remembers."""

    def __init__(self) -> None:
        self._standing: dict[int, tuple[int, float]] = {}

    def standing_s(self, now: float, positions: Mapping[int, int], ends: Mapping[int, int]) -> float:
        """The longest time, in seconds, that a partition with waiting records has not moved; partitions not given are forgotten."""
        standing = {}
        for partition, position in positions.items():
            if position < ends[partition]:
                before = self._standing.get(partition)
                standing[partition] = (
                    before if before is not None and before[0] == position else (position, now)
                )
        self._standing = standing
        return max((now - since for _, since in standing.values()), default=0.0)


class Watchdog:
    """A part that compares what the group committed with the ledger's end.

    Args:
        partitions: how many the ledger has.
        watched: the partitions this process answers for; all of them until it has been given some.
    """

    def __init__(
        self,
        service: Service,
        settings: ServiceSettings,
        offsets: GroupOffsets,
        *,
        partitions: Callable[[], int],
        watched: Callable[[], Collection[int] | None],
    ) -> None:
        self._service = service
        self._limit_s = settings.watchdog_s
        self._offsets = offsets
        self._partitions = partitions
        self._watched = watched
        self._progress = Progress()

    async def start(self) -> None:
        """Begin to watch."""
        self._service.spawn(self._watch(), "watchdog")

    async def stop(self) -> None:
        """Nothing: the task ends with the service."""

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(10.0, self._limit_s / 6))
            try:
                standing_s = await asyncio.wait_for(self._look(), self._limit_s)
            except (KafkaError, TimeoutError) as error:
                log.warning("watchdog_blind", error=repr(error))
                continue
            if standing_s >= self._limit_s:
                raise Stalled(f"entries wait, no progress for {standing_s:.0f} s")

    async def _look(self) -> float:
        watched = self._watched()
        numbers = range(self._partitions()) if watched is None else watched
        ends = await self._offsets.ends(numbers)
        committed = await self._offsets.committed(numbers)
        STREAM_LAG.labels("tallies").set(sum(max(0, ends[n] - committed[n]) for n in numbers))
        return self._progress.standing_s(monotonic(), committed, ends)
