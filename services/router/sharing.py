"""Adapter to Redis: the routers tell each other of which numbers statuses come, and each counts the open messages of its partitions."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from typing import cast

from redis.asyncio import Redis

from services.router.heard import Heard
from shared.clock import Clock
from shared.lifecycle import Service
from shared.metrics import CATEGORIES, OLDEST_UNCERTAIN_SECONDS, UNCERTAIN_OPEN
from shared.uncertain_index import read_open

SHARE_S = 1.0
COUNT_S = 10.0
"""An outage leaves many open: they are all read, so not too often."""


class Sharing:
    """A part. Without Redis nothing is heard, and nothing sent again.

    Args:
        noted: by number, the latest time of sending of which this process has folded a status.
        heard: what all processes together know, kept current here.
        owned: the partitions this process holds.
    """

    def __init__(
        self,
        service: Service,
        redis: Redis,
        namespace: str,
        clock: Clock,
        noted: Mapping[str, int],
        heard: Heard,
        owned: Collection[int],
    ) -> None:
        self._service = service
        self._redis = redis
        self._namespace = namespace
        self._clock = clock
        self._noted = noted
        self._heard = heard
        self._owned = owned
        self._told: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [
            self._service.spawn(self._share(), "heard-sharing"),
            self._service.spawn(self._count(), "uncertain-count"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _share(self) -> None:
        key = f"{{{self._namespace}:router}}:heard"
        while True:
            news = {number: at for number, at in self._noted.items() if self._told.get(number) != at}
            if news:
                await self._redis.zadd(key, news, gt=True)
                self._told |= news
            now_ms = int(self._clock.time() * 1000)
            rows = await self._redis.zrange(key, 0, -1, withscores=True)
            for number, sent_ms in cast("list[tuple[bytes, float]]", rows):
                self._heard.note(number.decode(), int(sent_ms), now_ms)
            await asyncio.sleep(SHARE_S)

    async def _count(self) -> None:
        while True:
            found = await read_open(self._redis, self._namespace, list(self._owned))
            now_s = self._clock.time()
            counts = Counter[str](message.category for message, _ in found)
            for category in CATEGORIES:
                since = [message.since_ms for message, _ in found if message.category == category]
                UNCERTAIN_OPEN.labels(category).set(counts[category])
                OLDEST_UNCERTAIN_SECONDS.labels(category).set(
                    max(0.0, now_s - min(since) / 1000) if since else 0.0
                )
            await asyncio.sleep(COUNT_S)
