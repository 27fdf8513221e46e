"""Forgets messages whose time is over: a small, steady part of the ledger's state goes with each round.

A timer of the processor would do the same, but timers are appended to the source topic, and `send.events` is public.
"""

import asyncio
from collections.abc import Mapping

import structlog
from redis.asyncio import Redis

from services.billing.ledger import FORGET
from shared.clock import Clock
from shared.lifecycle import Service
from shared.stream.store import Keys

log = structlog.get_logger(__name__)

ROUND_S = 5.0
MOST_PER_SCRIPT = 1000
"""Keeps Redis, which does one thing at a time, free for others: a script this long takes about a millisecond."""

# KEYS: meta, state, set; ARGV: epoch, now in ms, most
_FORGET = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
if #due > 0 then
  redis.call('HDEL', KEYS[2], unpack(due))
  redis.call('ZREM', KEYS[3], unpack(due))
end
return #due
"""


class Forgetting:
    """A part that deletes what is due, in the partitions this process owns. The processor must keep no cache of states beside it.

    A message that a batch brings back meanwhile is written whole, with its new time: what is forgotten is a repetition's charge, never
    an entry.
    """

    def __init__(
        self,
        service: Service,
        redis: Redis,
        clock: Clock,
        namespace: str,
        group: str,
        owned: Mapping[int, int],
    ) -> None:
        self._service = service
        self._clock = clock
        self._namespace = namespace
        self._group = group
        self._owned = owned
        self._forget = redis.register_script(_FORGET)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin the rounds."""
        self._task = self._service.spawn(self._run(), "forgetting")

    async def stop(self) -> None:
        """End them; a round that is cut short goes on in the next process."""
        if self._task is not None:
            self._task.cancel()

    async def round(self) -> int:
        """Forget all that is due now; how many messages that were."""
        forgotten = 0
        for partition, epoch in list(self._owned.items()):
            keys = Keys(self._namespace, self._group, partition)
            found = MOST_PER_SCRIPT
            while found == MOST_PER_SCRIPT:
                found = int(
                    await self._forget(
                        keys=[keys.meta, keys.state, keys.set(FORGET)],
                        args=[epoch, int(self._clock.time() * 1000), MOST_PER_SCRIPT],
                    )
                )
                forgotten += found
        return forgotten

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            if forgotten := await self.round():
                log.info("messages_forgotten", count=forgotten)
