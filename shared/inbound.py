"""How many messages customers write to each number, second by second: noted by ingress, read by the sender, for Meta's throughput counts both ways.

Notes live in Redis for some seconds and are worth no more: what is lost makes the sender a little too fast, once. `{namespace:inbound}:{number}:{second}`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.clock import Clock
from shared.lifecycle import Service

log = structlog.get_logger(__name__)

EVERY_S = 0.2
KEPT_S = 10
MOST_UNWRITTEN = 10_000
SECONDS = 3
"""The busiest of the last so many seconds stands for the one to come."""


class InboundNotes:
    """A part of ingress; noting costs no round trip."""

    def __init__(self, service: Service, redis: Redis, namespace: str, clock: Clock) -> None:
        self._service, self._redis, self._namespace, self._clock = service, redis, namespace, clock
        self._counts: Counter[tuple[str, int]] = Counter()

    async def start(self) -> None:
        self._service.spawn(self._write(), "inbound-notes")

    async def stop(self) -> None:
        await self._redis.aclose()

    def note(self, phone_number_id: str) -> None:
        """A customer has written."""
        if len(self._counts) >= MOST_UNWRITTEN:
            self._counts.clear()  # Redis has been away for so long that nobody wants to know any more
        self._counts[phone_number_id, int(self._clock.time())] += 1

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            counts, self._counts = self._counts, Counter()
            try:
                pipeline = self._redis.pipeline(transaction=False)
                for (number, second), count in counts.items():
                    key = _key(self._namespace, number, second)
                    pipeline.incrby(key, count)
                    pipeline.expire(key, KEPT_S)
                await pipeline.execute()
            except RedisError as error:
                log.warning("inbound_not_noted", error=repr(error))


class InboundRates:
    """A part of the sender: messages in a second, of late, for each of the numbers it sends from."""

    def __init__(
        self,
        service: Service,
        redis: Redis,
        namespace: str,
        clock: Clock,
        numbers: Callable[[], Iterable[str]],
    ) -> None:
        self._service, self._redis, self._namespace, self._clock = service, redis, namespace, clock
        self._numbers = numbers
        self._rates: dict[str, int] = {}

    async def start(self) -> None:
        self._service.spawn(self._read(), "inbound-rates")

    async def stop(self) -> None:
        """Nothing to stop."""

    def rate(self, phone_number_id: str) -> int:
        """Messages in a second; 0 where nothing is known."""
        return self._rates.get(phone_number_id, 0)

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            numbers, now = list(self._numbers()), int(self._clock.time())
            if not numbers:
                continue
            keys = [_key(self._namespace, number, now - ago) for number in numbers for ago in range(SECONDS)]
            try:
                found = [int(value or 0) for value in await self._redis.mget(keys)]
            except RedisError as error:
                log.warning("inbound_not_read", error=repr(error))
                continue
            self._rates = {
                number: most
                for nth, number in enumerate(numbers)
                if (most := max(found[nth * SECONDS : (nth + 1) * SECONDS]))
            }


def _key(namespace: str, number: str, second: int) -> str:
    return f"{{{namespace}:inbound}}:{number}:{second}"
