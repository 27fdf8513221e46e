"""The files still to be fetched, and up to where their topic has been read: the port, and its adapter to Redis.

Both change in one script, so a file is noted if and only if its message counts as read, and after a loss of Redis the topic is read again from
where Meta still has the files. A file that is taken is leased: if nobody renews the lease, the process that took it has died, and the next one gets it.
All keys share one hash slot, `{namespace:media}`.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from redis.asyncio import Redis

from services.ingress.media.wanted import Wanted, decode_wanted, encode_wanted
from shared.stream.scripts import Call, run

# KEYS: jobs, first tries, further tries, since, read; ARGV: partition, offset before ('' for none), offset, n x (id, job, received_ms, now_ms)
_NOTE = """
if (redis.call('HGET', KEYS[5], ARGV[1]) or '') ~= ARGV[2] then return 0 end
for i = 4, #ARGV, 4 do
  if redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) == 1 then
    redis.call('ZADD', KEYS[2], ARGV[i + 3], ARGV[i])
    redis.call('ZADD', KEYS[4], ARGV[i + 2], ARGV[i])
  end
end
redis.call('HSET', KEYS[5], ARGV[1], ARGV[3])
return 1
"""
# ARGV: now_ms, lease until, most of all, most further tries; these come first, or those that keep coming would never let them
_TAKE = """
local jobs = {}
for set = 3, 2, -1 do
  local most = ARGV[3] - #jobs
  if set == 3 then most = math.min(most, ARGV[4]) end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[set], '-inf', ARGV[1], 'LIMIT', 0, most)) do
    local job = redis.call('HGET', KEYS[1], id)
    if job then
      redis.call('ZADD', KEYS[set], ARGV[2], id)
      jobs[#jobs + 1] = job
    else
      redis.call('ZREM', KEYS[set], id)
    end
  end
end
return jobs
"""
# ARGV: id, job, due ms
_AGAIN = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
end
"""
# ARGV: lease until, ids
_RENEW = """
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[2], 'XX', ARGV[1], ARGV[i])
  redis.call('ZADD', KEYS[3], 'XX', ARGV[1], ARGV[i])
end
"""
# ARGV: ids
_DONE = """
for set = 2, 4 do redis.call('ZREM', KEYS[set], unpack(ARGV)) end
redis.call('HDEL', KEYS[1], unpack(ARGV))
"""


class Backlog(NamedTuple):
    """How many files wait, and since when (epoch ms) the oldest does; None: none."""

    files: int
    oldest_ms: int | None


class Waiting(Protocol):
    """The files that wait, and up to where their topic has been read."""

    async def read_up_to(self, partition: int) -> int | None:
        """The offset of the next message to read; None: nothing is known of the partition."""
        ...

    async def note(
        self, partition: int, before: int | None, offset: int, files: Sequence[Wanted], now_ms: int
    ) -> bool:
        """Add files, due now, and count all messages below `offset` as read. One that is known already stays as it is.

        False, and nothing is changed: it is not read up to `before` (any more); Redis lost it, or somebody else reads the partition.
        """
        ...

    async def take(self, now_ms: int, until_ms: int, most: int, further: int) -> list[Wanted]:
        """Files that are due, leased until then: `most` in all, of which `further` may have been tried before."""
        ...

    async def renew(self, ids: Sequence[str], until_ms: int) -> None:
        """Go on holding what was taken."""
        ...

    async def again(self, file: Wanted, due_ms: int) -> None:
        """Put one back, to be tried when it is due."""
        ...

    async def done(self, id: str) -> None:
        """Forget one."""
        ...

    async def backlog(self) -> Backlog:
        """What waits, in all processes."""
        ...


class RedisWaiting:
    """A part. While Redis is away every method waits for it."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        prefix = f"{{{namespace}:media}}"
        self._keys = [f"{prefix}:{name}" for name in ("jobs", "first", "further", "since", "read")]
        self._note, self._take, self._again, self._renew, self._done = (
            redis.register_script(script) for script in (_NOTE, _TAKE, _AGAIN, _RENEW, _DONE)
        )

    async def start(self) -> None:
        """Nothing to start: the first call connects."""

    async def stop(self) -> None:
        await self._redis.aclose()

    async def read_up_to(self, partition: int) -> int | None:
        found = await self._redis.hget(self._keys[4], str(partition))
        return None if found is None else int(found)

    async def note(
        self, partition: int, before: int | None, offset: int, files: Sequence[Wanted], now_ms: int
    ) -> bool:
        rows = [part for file in files for part in (file.id, encode_wanted(file), file.received_ms, now_ms)]
        was = "" if before is None else before
        (noted,) = await run(self._redis, [Call(self._note, self._keys, [partition, was, offset, *rows])])
        return bool(noted)

    async def take(self, now_ms: int, until_ms: int, most: int, further: int) -> list[Wanted]:
        (found,) = await run(self._redis, [Call(self._take, self._keys, [now_ms, until_ms, most, further])])
        return [decode_wanted(job) for job in found]

    async def renew(self, ids: Sequence[str], until_ms: int) -> None:
        await run(self._redis, [Call(self._renew, self._keys, [until_ms, *ids])])

    async def again(self, file: Wanted, due_ms: int) -> None:
        await run(self._redis, [Call(self._again, self._keys, [file.id, encode_wanted(file), due_ms])])

    async def done(self, id: str) -> None:
        await run(self._redis, [Call(self._done, self._keys, [id])])

    async def backlog(self) -> Backlog:
        oldest = await self._redis.zrange(self._keys[3], 0, 0, withscores=True)
        return Backlog(await self._redis.zcard(self._keys[3]), int(oldest[0][1]) if oldest else None)
