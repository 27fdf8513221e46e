"""The journal in Redis: claims, transitions and reads of one partition's entries and queues, each one round trip.

Everything lives under the stream processor's keys of the partition (one hash slot). A move is refused unless this process still holds the partition's
epoch and the entry still is what the caller saw, so that two owners never both claim. Moves that are asked for while others are under way go together,
in one script. A repeated script answers as the first did, so the client may repeat it after a broken connection. Each answer comes after Redis has made it
durable (`appendfsync always`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from services.sender.entry import Stored, decode_entry
from services.sender.intake import CANCELLED, EXPIRY, QUEUES, UNREPORTED, in_queue, queue, unsent
from services.sender.together import Together
from shared.limiter import Limit
from shared.metrics import CATEGORIES
from shared.stream.scripts import PLACES, pack
from shared.stream.store import Keys

DELAYED = "delayed"
"""Sorted set: command ids to try again, by when (ms)."""
LINED = "lined"
"""Sorted set in one order (all scores 0): commands behind another of the same user, `{number}:{user}|{priority}|{at_ms}|{command_id}`."""
PAIRS = "pairs"
"""Sorted set: `{number}:{user}` by when its next message would be due (ms): the pair limiter's memory."""

PAIR_LIMIT = Limit(6000, 45)
"""In ms: one message in 6 s to one user, 45 in advance (Meta, Cloud API, pair rate limit)."""

# KEYS: meta, state; ARGV: prefix of the sets, the pair limit's interval and burst, then the moves in MessagePack, each
#   {'claim', epoch, command id, entry expected, entry to write, set to leave, member, pair, now}
#   {'write', epoch, command id, entry expected, entry to write ('' deletes), {{set, member, score or nil to remove}, ...}}
# Answers with {verdict, number} for each move, in MessagePack too.
_MOVE = (
    PLACES
    + """
local prefix, interval, burst = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '-1')
local moves = cmsgpack.unpack(ARGV[4])
local entries, ids = {}, {}
for _, move in ipairs(moves) do ids[#ids + 1] = move[3] end
for i = 1, #ids, 2000 do
  local last = math.min(i + 1999, #ids)
  for nth, entry in ipairs(redis.call('HMGET', KEYS[2], unpack(ids, i, last))) do entries[ids[i + nth - 1]] = entry or '' end
end
local written, answers = {}, {}
local function answer(verdict, number) answers[#answers + 1] = {verdict, number} end
local function claim(id, expected, new, source, member, pair, now)
  if entries[id] == new then return answer('claimed', placed(prefix .. 'pairs', pair) or 0) end
  if entries[id] ~= expected then return answer('changed', 0) end
  if placed(prefix .. 'cancelled', id) then return answer('cancelled', 0) end
  local due = placed(prefix .. 'pairs', pair) or 0
  local at = due - interval * (burst - 1)
  if at > now then return answer('held', at) end
  due = math.max(due, now) + interval
  entries[id], written[id] = new, new
  place(prefix .. source, member, nil)
  place(prefix .. 'pairs', pair, due)
  place(prefix .. 'unreported', id, now)
  return answer('claimed', due)
end
local function write(id, expected, new, to)
  if entries[id] ~= expected and entries[id] ~= new then return answer('changed', 0) end
  if entries[id] ~= new then entries[id], written[id] = new, new end
  for _, one in ipairs(to) do
    local set, member, score = unpack(one, 1, 3)
    place(prefix .. set, member, score)
  end
  return answer('ok', 0)
end
for _, move in ipairs(moves) do
  if move[2] ~= epoch then answer('lost', 0)
  elseif move[1] == 'claim' then claim(unpack(move, 3, 9))
  else write(unpack(move, 3, 6)) end
end
local kept, forgotten = {}, {}
for id, entry in pairs(written) do
  if entry == '' then forgotten[#forgotten + 1] = id
  else kept[#kept + 1] = id; kept[#kept + 1] = entry end
end
in_portions('HSET', KEYS[2], kept)
in_portions('HDEL', KEYS[2], forgotten)
put_in_place()
return cmsgpack.pack(answers)
"""
)

# KEYS: meta, queue, lined; ARGV: epoch, then (member of the queue, member of the line) each; what has left the queue meanwhile stays away
_LINE_UP = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 2 do
  if redis.call('ZREM', KEYS[2], ARGV[i]) == 1 then redis.call('ZADD', KEYS[3], 0, ARGV[i + 1]) end
end
return 1
"""

# KEYS: queue, meta; ARGV: index of the last one wanted
_HEAD = """
return {redis.call('ZRANGE', KEYS[1], 0, ARGV[1], 'WITHSCORES'), redis.call('HGET', KEYS[2], 'offset') or '0'}
"""

# KEYS: meta, queues, delayed, expiry, unreported, pairs, cancelled, then one set of unsent commands per category; ARGV: epoch, now, limit, prefix
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
for i = 8, #KEYS do
  local first = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  unsent[#unsent + 1] = redis.call('ZCARD', KEYS[i])
  unsent[#unsent + 1] = first[2] or '0'
end
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', ARGV[2])
return {meta[2] or '0', queues, unsent,
  redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3]),
  redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3]),
  redis.call('ZRANGE', KEYS[5], 0, ARGV[3] - 1),
  redis.call('ZRANGE', KEYS[7], 0, ARGV[3] - 1)}
"""

Unclaimed = Literal["changed", "cancelled", "lost"]
"""`cancelled`: the command was taken back; else as `Verdict`. Nothing was written."""
Verdict = Literal["ok", "changed", "lost"]
"""`changed`: the entry is not what the caller saw; `lost`: the partition is not ours any more, or Redis forgot us. Nothing was written."""


_answers = msgspec.msgpack.Decoder(list[tuple[str, int]]).decode
_Move = tuple[int, tuple[object, ...]]
"""The partition, and the move as the script wants it."""


class Claimed(msgspec.Struct, frozen=True):
    """The claim is durable. `pair_due_ms`: the pair limiter's memory with this message counted."""

    pair_due_ms: int


class Held(msgspec.Struct, frozen=True):
    """Not claimed: the pair may not go before `until_ms`."""

    until_ms: int


class Waiting(NamedTuple):
    """A command in a queue, by the time it was decided; a message's party is its user."""

    party: str
    id: str
    at_ms: int


class Place(NamedTuple):
    """A member of one of the partition's sorted sets, to put at `score` or to remove (None)."""

    set: str
    member: str
    score: int | None


class Write(NamedTuple):
    """An entry to replace (empty `new`: forget it) if it is still as expected, and the places of its command that change with it."""

    id: str
    expected: bytes
    new: bytes
    places: Sequence[Place]


@dataclass(frozen=True, slots=True)
class Survey:
    """What waits in a partition, of one moment. `queues`: (number, priority, commands); `unsent`: category → (commands, time of the oldest or 0)."""

    queues: tuple[tuple[str, int, int], ...]
    unsent: dict[str, tuple[int, int]]
    delayed: tuple[str, ...]
    expiring: tuple[str, ...]
    unreported: tuple[str, ...]
    cancelled: tuple[str, ...]
    offset: int
    """Commands below it had been taken in."""


def line_member(number: str, user: str, priority: int, at_ms: int, command_id: str) -> str:
    """A command's place in its user's line: the order of the text is the order of the line."""
    return f"{number}:{user}|{priority}|{at_ms:015d}|{command_id}"


class Journal:
    """Entries and queues of all partitions of the sender's group."""

    def __init__(self, redis: Redis, namespace: str, group: str) -> None:
        self._redis = redis
        self._namespace = namespace
        self._group = group
        self._move = redis.register_script(_MOVE)
        self._line_up = redis.register_script(_LINE_UP)
        self._head = redis.register_script(_HEAD)
        self._survey = redis.register_script(_SURVEY)
        self._moves: Together[_Move, tuple[str, int]] = Together(self._make)

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
    ) -> Claimed | Held | Unclaimed:
        """Take a command for the call: its entry becomes `new`, it leaves `source`, its pair's limiter counts it."""
        move = ("claim", epoch, found.id, found.value, new, source, member, pair, now_ms)
        ((verdict, number),) = await self._moves.ask((partition, move))
        match verdict:
            case "claimed":
                return Claimed(number)
            case "held":
                return Held(number)
            case "lost" | "cancelled":
                return verdict
            case _:
                return "changed"

    async def write(
        self,
        partition: int,
        epoch: int,
        command_id: str,
        expected: bytes,
        new: bytes,
        places: Sequence[Place] = (),
    ) -> Verdict:
        """Replace an entry (empty `new`: forget it) and move it between sets, all or nothing."""
        return (await self.write_all(partition, epoch, [Write(command_id, expected, new, places)]))[0]

    async def write_all(self, partition: int, epoch: int, writes: Sequence[Write]) -> list[Verdict]:
        """Many writes in one round trip, each by itself all or nothing."""
        moves = [(partition, ("write", epoch, *write)) for write in writes]
        return [verdict for verdict, _ in await self._moves.ask(*moves)]  # type: ignore[misc]

    async def _make(self, moves: Sequence[_Move]) -> Sequence[tuple[str, int]]:
        """Many moves in one round trip, those of a partition with one script and one write to disk."""
        by_partition: dict[int, list[int]] = {}
        for nth, (partition, _) in enumerate(moves):
            by_partition.setdefault(partition, []).append(nth)
        calls = []
        for partition, nths in by_partition.items():
            keys, together = self._keys(partition), pack([moves[nth][1] for nth in nths])
            limit = (int(PAIR_LIMIT.interval), PAIR_LIMIT.burst)
            calls.append((keys.meta, keys.state, keys.set(""), *limit, together))
        answers: list[tuple[str, int]] = [("", 0)] * len(moves)
        try:
            found = await self._run(calls)
        except NoScriptError:
            await self._redis.script_load(_MOVE)
            found = await self._run(calls)  # what has been moved already is answered as it was
        for nths, packed_answers in zip(by_partition.values(), found, strict=True):
            for nth, answer in zip(nths, _answers(packed_answers), strict=True):
                answers[nth] = answer
        return answers

    async def _run(self, calls: Sequence[tuple[str | bytes | int, ...]]) -> list[bytes]:
        pipeline = self._redis.pipeline(transaction=False)
        for call in calls:
            pipeline.evalsha(self._move.sha, 2, *call)
        found: list[bytes] = await pipeline.execute()
        return found

    async def survey(self, partition: int, epoch: int, now_ms: int, most: int) -> Survey | None:
        """Look at everything that may need work now; None when the partition is lost."""
        keys = self._keys(partition)
        sets = (QUEUES, DELAYED, EXPIRY, UNREPORTED, PAIRS, CANCELLED, *map(unsent, CATEGORIES))
        found: list[Any] | None = await self._survey(
            keys=[keys.meta, *(keys.set(name) for name in sets)], args=[epoch, now_ms, most, keys.set("")]
        )
        if found is None:
            return None
        offset, names, counts, *ids = found
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
        delayed, expiring, unreported, cancelled = (tuple(i.decode() for i in some) for some in ids)
        queues.sort(key=lambda waiting: waiting[1])
        return Survey(tuple(queues), oldest, delayed, expiring, unreported, cancelled, int(offset))

    async def head(self, partition: int, number: str, priority: int, most: int) -> tuple[list[Waiting], int]:
        """The first commands of a queue, and the input offset up to which the partition was folded at that moment."""
        keys = self._keys(partition)
        rows, offset = await self._head(keys=[keys.set(queue(number, priority)), keys.meta], args=[most - 1])
        return _waiting(zip(rows[::2], rows[1::2], strict=True)), int(offset)

    async def tail(self, partition: int, number: str, priority: int, most: int) -> list[Waiting]:
        """The last commands of a queue."""
        name = self._keys(partition).set(queue(number, priority))
        rows: Any = await self._redis.zrange(name, -most, -1, withscores=True)
        return _waiting(rows)

    async def line_up(
        self, partition: int, epoch: int, number: str, priority: int, waiting: Sequence[Waiting]
    ) -> bool:
        """Move commands from the queue into their users' lines; False when the partition is lost."""
        keys = self._keys(partition)
        arguments: list[str | int] = [epoch]
        for party, id, at_ms in waiting:
            arguments += (in_queue(party, id), line_member(number, party, priority, at_ms, id))
        moved = await self._line_up(
            keys=[keys.meta, keys.set(queue(number, priority)), keys.set(LINED)], args=arguments
        )
        return bool(moved)

    async def fetch(self, partition: int, ids: Sequence[str]) -> list[Stored]:
        """The entries of these commands; those without one are left out."""
        if not ids:
            return []
        values: list[bytes | None] = await self._redis.hmget(self._keys(partition).state, list(ids))  # type: ignore[assignment]
        return [Stored(i, v, decode_entry(v)) for i, v in zip(ids, values, strict=True) if v is not None]

    async def first_in_lines(self, partition: int, number: str, users: Sequence[str]) -> list[str | None]:
        """The ids of the commands at the heads of these users' lines, in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        for user in users:
            start = f"[{number}:{user}|"
            pipeline.zrangebylex(self._keys(partition).set(LINED), start, start + "\x7f", 0, 1)
        found: list[list[bytes]] = await pipeline.execute()
        return [rows[0].decode().split("|", 3)[3] if rows else None for rows in found]

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


def _waiting(rows: Iterable[tuple[bytes, bytes | float]]) -> list[Waiting]:
    found = []
    for member, at_ms in rows:
        party, _, id = member.decode().partition("|")
        found.append(Waiting(party, id, int(float(at_ms))))
    return found
