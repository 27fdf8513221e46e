"""Adapter to Redis: the routers tell each other of which numbers statuses come, and each counts the open messages of its partitions."""

import asyncio
from collections import Counter
from collections.abc import Collection
from typing import cast

from redis.asyncio import Redis

from services.router.heard import Heard
from shared.clock import Clock
from shared.lifecycle import Service
from shared.metrics import CATEGORIES, OLDEST_UNCERTAIN_SECONDS, UNCERTAIN_OPEN
from shared.uncertain_index import read_open

# KEYS: the hash; ARGV: (number, sent, came) of each; the latest sent stands.
_NOTE = """
for i = 1, #ARGV, 3 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  if not known or tonumber(string.match(known, '^%d+')) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
  end
end
"""
SHARE_S = 1.0
COUNT_S = 10.0
"""An outage leaves many open: they are all read, so not too often."""


class Sharing:
    """A part. Without Redis nothing is heard, and nothing sent again.

    Args:
        heard: what this process has folded; what the others have is added here.
        owned: the partitions this process holds.
    """

    def __init__(
        self,
        service: Service,
        redis: Redis,
        namespace: str,
        clock: Clock,
        heard: Heard,
        owned: Collection[int],
    ) -> None:
        self._service = service
        self._redis = redis
        self._namespace = namespace
        self._clock = clock
        self._heard = heard
        self._owned = owned
        self._note = redis.register_script(_NOTE)
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
            known = {
                number.decode(): tuple(map(int, value.split()))
                for number, value in cast("dict[bytes, bytes]", await self._redis.hgetall(key)).items()
            }
            for number, (sent, came) in known.items():
                self._heard.note(number, sent, came)
            news = [
                word
                for number, (came, sent) in self._heard.latest().items()
                if number not in known or known[number][0] < sent
                for word in (number, sent, came)
            ]
            if news:
                await self._note(keys=[key], args=news)
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
