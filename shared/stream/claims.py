"""Claims on limits shared between partitions, in Redis: granted once per id, released once, expired by time; never a blind increment.

Two kinds: places in a limit (`Claim`: distinct members, or amounts, of a scope) and names that only one may bear (`Owned`).

The book answers only while it is *complete*: while every partition vouches that what it published is in there (`vouched`). So neither a Redis that was emptied nor one
that came back without its last second grants a place a second time; and because the script that grants looks for itself, not even to who asked a moment before
(docs/decisions/0001). The book's keys share one hash slot for that.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from redis.asyncio import Redis

from shared.stream.fold import Claim, Grant, Owned, Release
from shared.stream.scripts import RUN, Call, run

# A scope is: members (zset: member -> expiry), holders (hash: member -> its weight, then a line "id expiry" for each claim on it),
# spent (the sum of the weights), waiters (zset: claim id -> until when it wants the place).
_HOLDERS = """
local function read(key, member, now)
  local value, weight, lines, latest = redis.call('HGET', key, member), nil, {}, 0
  if not value then return nil end
  for line in string.gmatch(value, '[^\\n]+') do
    if not weight then
      weight = tonumber(line)
    else
      local id, expiry = string.match(line, '^(.*) (%d+)$')
      if tonumber(expiry) > now then
        lines[#lines + 1] = {id, tonumber(expiry)}
        latest = math.max(latest, tonumber(expiry))
      end
    end
  end
  return weight, lines, latest
end
local function write(key, member, weight, lines)
  local value = {string.format('%.0f', weight)}
  for _, line in ipairs(lines) do value[#value + 1] = line[1] .. ' ' .. string.format('%.0f', line[2]) end
  redis.call('HSET', key, member, table.concat(value, '\\n'))
end
"""

_COMPLETE = f"""
local run = {RUN}
local function complete(vouched, partitions)
  local here = 0
  if partitions > 0 then
    for _, value in ipairs(redis.call('HVALS', vouched)) do
      here = here + (value == run and 1 or 0)
    end
  end
  return here >= partitions
end
"""

# KEYS: members, holders, spent, waiters, vouched; ARGV: how many must vouch, now, force, then (id, member, weight, limit, expiry, take, waits until) of each claim.
# Answers the run, then (granted, used, when a place becomes free) of each; nothing while too few vouch.
_ASK = (
    _COMPLETE
    + _HOLDERS
    + """
if not complete(KEYS[5], tonumber(ARGV[1])) then return false end
local now, force = tonumber(ARGV[2]), ARGV[3] == '1'
local used = tonumber(redis.call('GET', KEYS[3]) or '0')
local before = used
local function forget()
  local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)
  for _, member in ipairs(over) do
    used = used - read(KEYS[2], member, now)
    redis.call('ZREM', KEYS[1], member)
    redis.call('HDEL', KEYS[2], member)
  end
  return #over > 0
end
forget()
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now)
local answers = {run}
for i = 4, #ARGV, 7 do
  local id, member, weight, limit = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local expiry, take, until_ = tonumber(ARGV[i + 4]), ARGV[i + 5] == '1', tonumber(ARGV[i + 6])
  local held, lines, latest = read(KEYS[2], member, now)
  local granted, free_at = 1, 0
  while not (held or force or used + weight <= limit) and forget() do end  -- what is over refuses nobody
  if held or force or used + weight <= limit then
    if take then
      lines = lines or {}
      local kept = {}
      for _, line in ipairs(lines) do
        if line[1] ~= id then kept[#kept + 1] = line else expiry = math.max(expiry, line[2]) end
      end
      kept[#kept + 1] = {id, expiry}
      write(KEYS[2], member, held or weight, kept)
      redis.call('ZADD', KEYS[1], string.format('%.0f', math.max(latest or 0, expiry)), member)
      redis.call('ZREM', KEYS[4], id)
      if not held then used = used + weight end
    end
  else
    granted = 0
    if until_ > now then redis.call('ZADD', KEYS[4], ARGV[i + 6], id) end
    local ahead = redis.call('ZRANK', KEYS[4], id) or redis.call('ZCARD', KEYS[4])
    local nth = math.min(ahead, redis.call('ZCARD', KEYS[1]) - 1)
    if nth >= 0 then free_at = tonumber(redis.call('ZRANGE', KEYS[1], nth, nth, 'WITHSCORES')[2]) end
  end
  answers[#answers + 1] = granted
  answers[#answers + 1] = used
  answers[#answers + 1] = free_at
end
if used ~= before then redis.call('SET', KEYS[3], string.format('%.0f', used)) end
return answers
"""
)

# KEYS: members, holders, spent, waiters; ARGV: now, then (id, member) of each
_RELEASE = (
    _HOLDERS
    + """
local now = tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
  local id, member = ARGV[i], ARGV[i + 1]
  redis.call('ZREM', KEYS[4], id)
  local weight, lines = read(KEYS[2], member, now)
  if weight then
    local rest, latest = {}, 0
    for _, line in ipairs(lines) do
      if line[1] ~= id then
        rest[#rest + 1] = line
        latest = math.max(latest, line[2])
      end
    end
    if #rest > 0 then
      write(KEYS[2], member, weight, rest)
      redis.call('ZADD', KEYS[1], string.format('%.0f', latest), member)
    else
      redis.call('HDEL', KEYS[2], member)
      redis.call('ZREM', KEYS[1], member)
      redis.call('DECRBY', KEYS[3], string.format('%.0f', weight))
    end
  end
end
"""
)

# KEYS: vouched, the buckets, one per name; ARGV: how many must vouch, now, keep (both in s), then (name, owner as 8 bytes each, since when in s) of each.
# Answers the run, then 1 for each name that the owner has; nothing while too few vouch.
_OWN = (
    _COMPLETE
    + """
if not complete(KEYS[1], tonumber(ARGV[1])) then return false end
local now, keep = tonumber(ARGV[2]), tonumber(ARGV[3])
local answers = {run}
for i = 1, #KEYS - 1 do
  local bucket = KEYS[i + 1]
  local name, owner, since = ARGV[3 * i + 1], ARGV[3 * i + 2], tonumber(ARGV[3 * i + 3])
  local known = redis.call('HGET', bucket, name)
  if known and struct.unpack('>I4', string.sub(known, 9)) + keep <= now then known = nil end
  if not known and since + keep > now then
    if redis.call('HLEN', bucket) % 64 == 63 then
      local all = redis.call('HGETALL', bucket)
      for j = 1, #all, 2 do
        if struct.unpack('>I4', string.sub(all[j + 1], 9)) + keep <= now then redis.call('HDEL', bucket, all[j]) end
      end
    end
    redis.call('HSET', bucket, name, owner .. struct.pack('>I4', since))
    redis.call('EXPIRE', bucket, keep)
  end
  answers[i + 1] = (not known or string.sub(known, 1, 8) == owner) and 1 or 0
end
return answers
"""
)
_BUCKETS = 262_144
"""Up to 128 names share a hash that Redis keeps as one compact list: a name takes some 60 bytes among a million (a key of its own: 190),
30 among 33 million in 8 days; beyond that some 100."""


def vouched(namespace: str, group: str) -> str:
    """The key of the group's vouchers: partition → the run of Redis in which its owner took it and found its state complete (store.py)."""
    return f"{{{namespace}:claims}}:vouched:{group}"


class BookIncomplete(Exception):
    """Some partition doesn't vouch for its claims; those asked now could be granted too often."""


class Asked(NamedTuple):
    """The answers by the claims' ids, and the run of Redis that gave them; another one may have lost them."""

    grants: dict[str, Grant]
    run: str


class Claims:
    """The claims book of a consumer group.

    Args:
        partitions: how many must vouch before the book answers.
    """

    def __init__(self, redis: Redis, namespace: str, *, group: str = "", partitions: int = 0) -> None:
        self._redis = redis
        self._tag = f"{{{namespace}:claims}}"
        self._vouched = vouched(namespace, group)
        self._partitions = partitions
        self._ask = redis.register_script(_ASK)
        self._release = redis.register_script(_RELEASE)
        self._own = redis.register_script(_OWN)

    def _keys(self, scope: str) -> list[str]:
        return [f"{self._tag}:{kind}:{scope}" for kind in ("members", "holders", "spent", "waiters")]

    async def ask(self, claims: Iterable[Claim | Owned], now_ms: int, *, force: bool = False) -> Asked:
        """Ask, in order, with one script for each scope and one for all names, in one round trip.

        With `force` the book need not be complete, and a place is granted beyond its limit: what was granted before its record was lost.

        Raises:
            BookIncomplete: ask all of them again, later; what was granted is granted then too.
        """
        scopes: dict[str, list[Claim]] = {}
        names: list[Owned] = []
        for claim in claims:
            if isinstance(claim, Owned):
                names.append(claim)
            else:
                scopes.setdefault(claim.scope, []).append(claim)
        must_vouch = 0 if force else self._partitions
        calls = []
        for scope, wanted in scopes.items():
            arguments: list[str | int] = [must_vouch, now_ms, int(force)]
            for claim in wanted:
                arguments += (claim.id, claim.member, claim.weight, claim.limit, claim.expires_ms)
                arguments += (int(claim.take), claim.waits_until_ms)
            calls.append(Call(self._ask, [*self._keys(scope), self._vouched], arguments))
        if names:
            keys = [self._vouched]
            words: list[int | bytes] = [must_vouch, now_ms // 1000, names[0].keep_ms // 1000]
            for owned in names:
                name = _hash(owned.name)
                keys.append(f"{self._tag}:names:{int.from_bytes(name[:3], 'big') % _BUCKETS}")
                words += (name, _hash(owned.owner), owned.at_ms // 1000)
            calls.append(Call(self._own, keys, words))
        found = await run(self._redis, calls)
        if None in found or len({answer[0] for answer in found}) != 1:
            raise BookIncomplete(self._vouched)
        grants: dict[str, Grant] = {}
        for wanted, places in zip(scopes.values(), found, strict=False):
            for index, claim in enumerate(wanted):
                granted, used, free_ms = places[3 * index + 1 : 3 * index + 4]
                grants[claim.id] = Grant(bool(granted), int(used), int(free_ms))
        if names:
            for owned, has in zip(names, found[-1][1:], strict=True):
                grants[owned.id] = Grant(bool(has), 1)
        return Asked(grants, found[0][0].decode())

    async def release(self, releases: Iterable[Release], now_ms: int) -> None:
        """Give places back, waiting ones too, in one round trip; a release of what is not held does nothing."""
        scopes: dict[str, list[str | int]] = {}
        for release in releases:
            scopes.setdefault(release.scope, [now_ms]).extend((release.id, release.member))
        calls = [Call(self._release, self._keys(scope), arguments) for scope, arguments in scopes.items()]
        if calls:
            await run(self._redis, calls)


def _hash(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
