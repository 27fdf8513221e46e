"""The alerts that are decided, in Redis: fixed to the byte and remembered before they are published, so that no kill tells one twice in two ways."""

from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis

from shared.events import BillingAlert, encode
from shared.times import DAY_MS

REMEMBERED_MS = 100 * DAY_MS
"""A month and its late corrections, with weeks to spare."""

# KEYS: set of ids, list of alerts; ARGV: how long the set is kept in ms, n x (id, alert)
_DECIDE = """
for i = 2, #ARGV, 2 do
  if redis.call('SADD', KEYS[1], ARGV[i]) == 1 then redis.call('RPUSH', KEYS[2], ARGV[i + 1]) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


class RedisOutbox:
    """What has been decided, by month; and what of it nobody has seen acknowledged yet, in order. All keys share one hash slot."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = f"{{{namespace}:budgets}}"
        self._waiting = f"{self._prefix}:waiting"
        self._decide = redis.register_script(_DECIDE)

    async def decide(self, month: str, alerts: Sequence[BillingAlert]) -> None:
        """Put those of a month (`YYYY-MM`) into the outbox whose id was not decided before."""
        if not alerts:
            return
        ids = self._ids(month)
        known = await self._redis.smismember(ids, [alert.event_id for alert in alerts])
        new = [alert for alert, there in zip(alerts, known, strict=True) if not there]
        if new:
            arguments = [part for alert in new for part in (alert.event_id, encode(alert))]
            await self._decide(keys=[ids, self._waiting], args=[REMEMBERED_MS, *arguments])

    async def waiting(self) -> list[bytes]:
        """The encoded alerts that are still to be published, the earliest first."""
        return cast(list[bytes], await self._redis.lrange(self._waiting, 0, -1))

    async def published(self, alert: bytes) -> None:
        """Take one out: Kafka has it."""
        await self._redis.lrem(self._waiting, 1, alert.decode())

    def _ids(self, month: str) -> str:
        return f"{self._prefix}:decided:{month}"
