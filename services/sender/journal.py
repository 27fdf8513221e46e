"""The journal in Redis: claims, transitions and reads of one partition's entries and queues, each one round trip.

Everything lives under the stream processor's keys of the partition (one hash slot). Every write is one script that is refused unless this process
still holds the partition's epoch and the entry still is what the caller saw, so that two owners never both claim. A repeated script answers as the first
did, so the client may repeat it after a broken connection. Each answer comes after Redis has made it durable (`appendfsync always`).
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from services.sender.entry import Stored, decode_entry
from services.sender.intake import EXPIRY, QUEUES, UNREPORTED, queue, unsent
from shared.limiter import Limit
from shared.metrics import CATEGORIES
from shared.stream.store import Keys

DELAYED = "delayed"
"""Sorted set: command ids to try again, by when (ms)."""
LINED = "lined"
"""Sorted set in one order (all scores 0): commands behind another of the same user, `{number}:{user}|{priority}|{at_ms}|{command_id}`."""
PAIRS = "pairs"
"""Sorted set: `{number}:{user}` by when its next message would be due (ms): the pair limiter's memory."""

PAIR_LIMIT = Limit(6000, 45)
"""In ms: one message in 6 s to one user, 45 in advance (Meta, Cloud API, pair rate limit)."""

_CLAIM = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return {'lost', '0'} end
local now = redis.call('HGET', KEYS[2], ARGV[2])
if now == ARGV[4] then return {'claimed', redis.call('ZSCORE', KEYS[4], ARGV[6]) or '0'} end
if now ~= ARGV[3] then return {'changed', '0'} end
local due = tonumber(redis.call('ZSCORE', KEYS[4], ARGV[6]) or '0')
local at = due - ARGV[8] * (ARGV[9] - 1)
if at > tonumber(ARGV[7]) then return {'held', string.format('%.0f', at)} end
due = math.max(due, tonumber(ARGV[7])) + ARGV[8]
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
redis.call('ZREM', KEYS[3], ARGV[5])
redis.call('ZADD', KEYS[4], due, ARGV[6])
redis.call('ZADD', KEYS[5], ARGV[7], ARGV[2])
return {'claimed', string.format('%.0f', due)}
"""

# ARGV: epoch, command id, entry expected, entry to write ('' deletes), then (index of key, member, score or '' to remove) each
_WRITE = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 'lost' end
local now = redis.call('HGET', KEYS[2], ARGV[2]) or ''
if now ~= ARGV[3] and now ~= ARGV[4] then return 'changed' end
if ARGV[4] == '' then redis.call('HDEL', KEYS[2], ARGV[2])
elseif now ~= ARGV[4] then redis.call('HSET', KEYS[2], ARGV[2], ARGV[4]) end
for i = 5, #ARGV, 3 do
  local set = KEYS[tonumber(ARGV[i])]
  if ARGV[i + 2] == '' then redis.call('ZREM', set, ARGV[i + 1])
  else redis.call('ZADD', set, ARGV[i + 2], ARGV[i + 1]) end
end
return 'ok'
"""

# KEYS: meta, queues, delayed, expiry, unreported, pairs, then one set of unsent commands per category; ARGV: epoch, now, limit, prefix
_SURVEY = """
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
if meta[1] ~= ARGV[1] then return false end
local queues = {}
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local waiting = redis.call('ZCARD', ARGV[4] .. 'queue:' .. name)
  if waiting == 0 then redis.call('ZREM', KEYS[2], name)
  else queues[#queues + 1] = name; queues[#queues + 1] = waiting end
end
local unsent = {}
for i = 7, #KEYS do
  local first = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  unsent[#unsent + 1] = redis.call('ZCARD', KEYS[i])
  unsent[#unsent + 1] = first[2] or '0'
end
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', ARGV[2])
return {queues, unsent,
  redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3]),
  redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3]),
  redis.call('ZRANGE', KEYS[5], 0, ARGV[3] - 1)}
"""

AT_ONCE = 32
"""Round trips under way at once; more would only open more connections, for Redis answers one after the other."""

Verdict = Literal["ok", "changed", "lost"]
"""`changed`: the entry is not what the caller saw; `lost`: the partition is not ours any more, or Redis forgot us. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The claim is durable. `pair_due_ms`: the pair limiter's memory with this message counted."""

    pair_due_ms: int


@dataclass(frozen=True, slots=True)
class Held:
    """Not claimed: the pair may not go before `until_ms`."""

    until_ms: int


class Place:
    """A member of one of the partition's sorted sets, to put at `score` or to remove (None)."""

    __slots__ = ("member", "score", "set")

    def __init__(self, set: str, member: str, score: int | None) -> None:
        self.set, self.member, self.score = set, member, score


@dataclass(frozen=True, slots=True)
class Survey:
    """What waits in a partition. `queues`: (number, priority, commands); `unsent`: category → (commands, time of the oldest or 0)."""

    queues: tuple[tuple[str, int, int], ...]
    unsent: dict[str, tuple[int, int]]
    delayed: tuple[str, ...]
    expiring: tuple[str, ...]
    unreported: tuple[str, ...]


def line_member(number: str, user: str, priority: int, at_ms: int, command_id: str) -> str:
    """A command's place in its user's line: the order of the text is the order of the line."""
    return f"{number}:{user}|{priority}|{at_ms:015d}|{command_id}"


class Journal:
    """Entries and queues of all partitions of the sender's group."""

    def __init__(self, redis: Redis, namespace: str, group: str) -> None:
        self._redis = redis
        self._namespace = namespace
        self._group = group
        self._claim = redis.register_script(_CLAIM)
        self._write = redis.register_script(_WRITE)
        self._survey = redis.register_script(_SURVEY)
        self._turns = asyncio.Semaphore(AT_ONCE)

    def _keys(self, partition: int) -> Keys:
        return Keys(self._namespace, self._group, partition)

    async def claim(
        self,
        partition: int,
        epoch: int,
        found: Stored,
        new: bytes,
        source: str,
        member: str,
        pair: str,
        now_ms: int,
    ) -> Claimed | Held | Literal["changed", "lost"]:
        """Take a command for the call: its entry becomes `new`, it leaves `source`, its pair's limiter counts it."""
        keys = self._keys(partition)
        limit = [int(PAIR_LIMIT.interval), PAIR_LIMIT.burst]
        async with self._turns:
            verdict, number = await self._claim(
                keys=[keys.meta, keys.state, keys.set(source), keys.set(PAIRS), keys.set(UNREPORTED)],
                args=[epoch, found.id, found.value, new, member, pair, now_ms, *limit],
            )
        match verdict.decode():
            case "claimed":
                return Claimed(int(float(number)))
            case "held":
                return Held(int(float(number)))
            case "lost":
                return "lost"
            case _:
                return "changed"

    async def write(
        self,
        partition: int,
        epoch: int,
        command_id: str,
        expected: bytes,
        new: bytes,
        places: Iterable[Place] = (),
    ) -> Verdict:
        """Replace an entry (empty `new`: forget it) and move it between sets, all or nothing."""
        keys = self._keys(partition)
        names = [keys.meta, keys.state]
        arguments: list[str | bytes | int] = [epoch, command_id, expected, new]
        for place in places:
            name = keys.set(place.set)
            if name not in names:
                names.append(name)
            arguments += [names.index(name) + 1, place.member, "" if place.score is None else place.score]
        async with self._turns:
            verdict: bytes = await self._write(keys=names, args=arguments)
        return verdict.decode()  # type: ignore[return-value]

    async def survey(self, partition: int, epoch: int, now_ms: int, most: int) -> Survey | None:
        """Look at everything that may need work now; None when the partition is lost."""
        keys = self._keys(partition)
        sets = (QUEUES, DELAYED, EXPIRY, UNREPORTED, PAIRS, *(unsent(category) for category in CATEGORIES))
        found: list[list[Any]] | None = await self._survey(
            keys=[keys.meta, *(keys.set(name) for name in sets)], args=[epoch, now_ms, most, keys.set("")]
        )
        if found is None:
            return None
        names, counts, *ids = found
        queues = []
        for name, waiting in zip(names[::2], names[1::2], strict=True):
            number, _, priority = name.decode().rpartition(":")
            queues.append((number, int(priority), int(waiting)))
        oldest = dict(
            zip(
                CATEGORIES,
                zip(map(int, counts[::2]), map(int, map(float, counts[1::2])), strict=True),
                strict=True,
            )
        )
        delayed, expiring, unreported = (tuple(i.decode() for i in some) for some in ids)
        return Survey(tuple(sorted(queues, key=lambda q: q[1])), oldest, delayed, expiring, unreported)

    async def head(self, partition: int, number: str, priority: int, most: int) -> tuple[list[str], int]:
        """The first command ids of a queue, and the input offset up to which the partition was folded at that moment."""
        keys = self._keys(partition)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrange(keys.set(queue(number, priority)), 0, most - 1)
            pipe.hget(keys.meta, "offset")
            ids, offset = await pipe.execute()
        return [i.decode() for i in ids], int(offset or 0)

    async def fetch(self, partition: int, ids: Sequence[str]) -> list[Stored]:
        """The entries of these commands; those without one are left out."""
        if not ids:
            return []
        values: list[bytes | None] = await self._redis.hmget(self._keys(partition).state, list(ids))  # type: ignore[assignment]
        return [Stored(i, v, decode_entry(v)) for i, v in zip(ids, values, strict=True) if v is not None]

    async def first_in_line(self, partition: int, number: str, user: str) -> str | None:
        """The id of the command at the head of a user's line."""
        start = f"[{number}:{user}|"
        found: list[Any] = await self._redis.zrangebylex(
            self._keys(partition).set(LINED), start, start + "\x7f", 0, 1
        )
        return found[0].decode().split("|", 3)[3] if found else None

    async def lines(self, partition: int) -> dict[tuple[str, str], int]:
        """Every user with a line, as (number, user) → commands in it; read a thousand at a time."""
        counts: dict[tuple[str, str], int] = {}
        key, start = self._keys(partition).set(LINED), 0
        while members := await self._members(key, start):
            for member in members:
                number, _, user = member.decode().partition("|")[0].partition(":")
                counts[number, user] = counts.get((number, user), 0) + 1
            start += len(members)
        return counts

    async def _members(self, key: str, start: int) -> list[bytes]:
        found: list[Any] = await self._redis.zrange(key, start, start + 999)
        return found

    async def durability(self) -> str | None:
        """What Redis's settings leave to be wished for a journal; None when nothing, or when Redis won't tell."""
        config = await self._redis.config_get("append*")
        if config.get("appendonly") == "yes" and config.get("appendfsync") == "always":
            return None
        return f"appendonly {config.get('appendonly')}, appendfsync {config.get('appendfsync')}"
