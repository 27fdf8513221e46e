"""The partition's state in Redis, and the one script that commits it: state, timers, ranks, input offset and outbox, all or nothing.

All keys of a partition carry the hash tag `{namespace:group:partition}`. A commit is refused unless the caller
still holds the partition's epoch and the stored offset is the one it started from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import hiredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError

from shared.settings import ServiceSettings
from shared.stream.claims import vouched
from shared.stream.folding import TIMERS, Changes
from shared.stream.scripts import PLACES, RUN, Call, pack, run

# KEYS: meta, vouched; ARGV: partition. Epochs begin with Redis's own clock, so that they rise even over a Redis that lost everything: a zombie of before is never
# taken for the owner. What is taken is vouched for only once it has been found complete.
_TAKE = f"""
local now = redis.call('TIME')
local epoch = now[1] * 1000 + math.floor(now[2] / 1000)
local before = redis.call('HGET', KEYS[1], 'epoch') or 0
epoch = string.format('%.0f', math.max(epoch, before + 1))
redis.call('HSET', KEYS[1], 'epoch', epoch, 'run', {RUN})
redis.call('HDEL', KEYS[2], ARGV[1])
return {{epoch, redis.call('HGET', KEYS[1], 'offset'), redis.call('HGET', KEYS[1], 'outbox'), before}}
"""

# ARGV: epoch, offset it started from ('' for none), new offset, outbox, prefix of sets, the run of Redis in which claims were granted ('' for none),
#       in MessagePack {{key, state, key, state, ...}, {key forgotten, ...}, {{set, member, score, how}, ...}}
# how: set | remove | due (remove only if the score is still this one).
_COMMIT = (
    f"""
local function here() return {RUN} end
{PLACES}
"""
    + """
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
if meta[1] ~= ARGV[1] then return 0 end
if meta[2] == ARGV[3] and ARGV[2] ~= ARGV[3] then return 1 end
if (meta[2] or '') ~= ARGV[2] then return 0 end
if ARGV[6] ~= '' and ARGV[6] ~= here() then return 0 end
local states, forgotten, ranks = unpack(cmsgpack.unpack(ARGV[7]))
in_portions('HSET', KEYS[2], states)
in_portions('HDEL', KEYS[2], forgotten)
for _, rank in ipairs(ranks) do
  local set, member, score, how = ARGV[5] .. rank[1], unpack(rank, 2)
  if how == 'set' then place(set, member, score)
  elseif how == 'remove' or placed(set, member) == score then place(set, member, nil) end
end
put_in_place()
redis.call('HSET', KEYS[1], 'offset', ARGV[3], 'outbox', ARGV[4])
return 1
"""
)

CONNECTIONS = 100
"""Of one process at most; who holds more partitions than that waits a moment for the next free one."""

# KEYS: meta, timers, vouched; ARGV: epoch, offset (-1 for none), partition, now, most. What was taken in another run of Redis may have lost more than its owner
# knew when it asked: it must be taken again.
_DUE = f"""
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'run')
local run = {RUN}
if meta[1] ~= ARGV[1] or meta[3] ~= run or tonumber(meta[2] or '-1') < tonumber(ARGV[2]) then return false end
if redis.call('HGET', KEYS[3], ARGV[3]) ~= run then redis.call('HSET', KEYS[3], ARGV[3], run) end
return redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[4], 'WITHSCORES', 'LIMIT', 0, ARGV[5])
"""


class Refused(Exception):
    """The commit was refused: another worker took the partition over, or Redis lost what this worker started from."""


class _PacksInC:
    """Commands put into bytes by hiredis: redis-py's asyncio connections do it in Python, argument by argument (docs/decisions/0008)."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """The command's name may be of two words, such as `SCRIPT EXISTS`."""
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]


def connect(settings: ServiceSettings) -> "Redis":
    """A client that waits for a Redis that is away or still loading, and for a free connection, instead of failing: every script here may be repeated."""
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=CONNECTIONS,
        timeout=None,
        socket_timeout=10,
        socket_connect_timeout=5,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries=-1),
        retry_on_error=[ConnectionError, TimeoutError, BusyLoadingError],
    )
    pool.connection_class = type("PackingConnection", (_PacksInC, pool.connection_class), {})
    return Redis.from_pool(pool)


@dataclass(frozen=True, slots=True)
class Keys:
    """The Redis keys of one partition of one group."""

    namespace: str
    group: str
    partition: int

    @property
    def prefix(self) -> str:
        return f"{{{self.namespace}:{self.group}:{self.partition}}}:"

    @property
    def meta(self) -> str:
        return self.prefix + "meta"

    @property
    def state(self) -> str:
        return self.prefix + "state"

    @property
    def vouched(self) -> str:
        """The claims book's, of the whole group."""
        return vouched(self.namespace, self.group)

    @property
    def timers(self) -> str:
        return self.set(TIMERS)

    def set(self, name: str) -> str:
        """The sorted set of that name."""
        return f"{self.prefix}set:{name}"


@dataclass(slots=True)
class Taken:
    """What taking a partition over found: the new epoch, the next offset to fold (None: no state at all), the last outbox, the epoch before (0: none)."""

    epoch: int
    offset: int | None
    outbox: bytes
    before: int


class Held(NamedTuple):
    """A partition as its holder knows it; `most` timers are wanted."""

    keys: Keys
    epoch: int
    offset: int | None
    most: int


class Store:
    """Redis as the home of partition states."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._commit = redis.register_script(_COMMIT)
        self._due = redis.register_script(_DUE)

    async def take(self, keys: Keys) -> Taken:
        """Become the partition's owner: every earlier owner's commits are refused from now on, and its voucher is gone."""
        epoch, offset, outbox, before = await self._take(
            keys=[keys.meta, keys.vouched], args=[keys.partition]
        )
        return Taken(int(epoch), None if offset is None else int(offset), outbox or b"", int(before))

    async def load(self, keys: Keys, names: Sequence[str]) -> list[bytes | None]:
        """The encoded states of these keys, None where there is none."""
        if not names:
            return []
        return cast("list[bytes | None]", await self._redis.hmget(keys.state, names))

    async def commit(
        self,
        keys: Keys,
        epoch: int,
        expected: int | None,
        offset: int,
        outbox: bytes,
        changes: Changes,
        granted_in: str = "",
    ) -> None:
        """Store a batch; with `granted_in`, only in that run of Redis: another one may know nothing of the claims that the batch rests on.

        Raises:
            Refused: nothing was stored.
        """
        flat = [value for pair in changes.states.items() for value in pair]
        arguments: list[str | bytes | int] = [
            epoch,
            "" if expected is None else expected,
            offset,
            outbox,
            keys.set(""),
            granted_in,
            pack([flat, changes.forgotten, changes.ranks]),
        ]
        if not await self._commit(keys=[keys.meta, keys.state], args=arguments):
            raise Refused(f"{keys.prefix} at {expected}")

    async def due(self, held: Sequence[Held], now_ms: int) -> list[list[tuple[str, int]] | None]:
        """Each partition's timers due by `now_ms`, earliest first, as (member, due_ms); None where the store knows less than the holder does, or another owner, or was started since.

        One round trip. Because it looks at the state too, an idle partition notices that Redis lost something; and for each one found complete it vouches.
        """
        calls = []
        for keys, epoch, offset, most in held:
            words = (epoch, -1 if offset is None else offset, keys.partition, now_ms, most)
            calls.append(Call(self._due, [keys.meta, keys.timers, keys.vouched], words))
        found: list[list[tuple[str, int]] | None] = []
        for rows in await run(self._redis, calls):
            if rows is None:
                found.append(None)
            else:
                found.append([(rows[i].decode(), int(rows[i + 1])) for i in range(0, len(rows), 2)])
        return found
