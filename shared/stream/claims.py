"""Claims on limits shared between partitions, in Redis: granted once per id, released once, expired by time; never a blind increment."""

import asyncio
from collections.abc import Iterable

from redis.asyncio import Redis

from shared.stream.fold import Claim, Grant, Release

# KEYS: members (zset: member -> expiry), holders (hash: member -> claim ids, one per line)
# ARGV: now, id, member, limit, expiry, force
_ASK = """
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 1000)
for _, member in ipairs(gone) do
  redis.call('ZREM', KEYS[1], member)
  redis.call('HDEL', KEYS[2], member)
end
local ids = redis.call('HGET', KEYS[2], ARGV[3])
if ids then
  if not string.find('\\n' .. ids .. '\\n', '\\n' .. ARGV[2] .. '\\n', 1, true) then
    redis.call('HSET', KEYS[2], ARGV[3], ids .. '\\n' .. ARGV[2])
  end
  local expiry = redis.call('ZSCORE', KEYS[1], ARGV[3])
  if not expiry or tonumber(ARGV[5]) > tonumber(expiry) then redis.call('ZADD', KEYS[1], ARGV[5], ARGV[3]) end
  return {1, redis.call('ZCARD', KEYS[1])}
end
local used = redis.call('ZCARD', KEYS[1])
if ARGV[6] == '0' and used >= tonumber(ARGV[4]) then return {0, used} end
redis.call('HSET', KEYS[2], ARGV[3], ARGV[2])
redis.call('ZADD', KEYS[1], ARGV[5], ARGV[3])
return {1, used + 1}
"""

# KEYS as above; ARGV: id, member
_RELEASE = """
local ids = redis.call('HGET', KEYS[2], ARGV[2])
if not ids then return 0 end
local rest = {}
for id in string.gmatch(ids, '[^\\n]+') do
  if id ~= ARGV[1] then table.insert(rest, id) end
end
if #rest > 0 then
  redis.call('HSET', KEYS[2], ARGV[2], table.concat(rest, '\\n'))
else
  redis.call('HDEL', KEYS[2], ARGV[2])
  redis.call('ZREM', KEYS[1], ARGV[2])
end
return 1
"""


class Claims:
    """The claims book of a deployment."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._namespace = namespace
        self._ask = redis.register_script(_ASK)
        self._release = redis.register_script(_RELEASE)

    def _keys(self, scope: str) -> list[str]:
        tag = f"{{{self._namespace}:claims:{scope}}}"
        return [f"{tag}:members", f"{tag}:holders"]

    async def ask(self, claims: Iterable[Claim], now_ms: int, *, force: bool = False) -> dict[str, Grant]:
        """Ask for places, one scope's in order; by id. `force` grants beyond the limit what was granted before its record was lost."""
        scopes: dict[str, list[Claim]] = {}
        for claim in claims:
            scopes.setdefault(claim.scope, []).append(claim)
        answers: dict[str, Grant] = {}

        async def one(wanted: list[Claim]) -> None:
            for claim in wanted:
                granted, used = await self._ask(
                    keys=self._keys(claim.scope),
                    args=[now_ms, claim.id, claim.member, claim.limit, claim.expires_ms, int(force)],
                )
                answers[claim.id] = Grant(bool(granted), int(used))

        await asyncio.gather(*(one(wanted) for wanted in scopes.values()))
        return answers

    async def release(self, releases: Iterable[Release]) -> None:
        """Give places back; a release of what is not held does nothing."""
        await asyncio.gather(
            *(self._release(keys=self._keys(r.scope), args=[r.id, r.member]) for r in releases)
        )
