"""Claims on limits shared between partitions, in Redis: granted once per id, released once, expired by time; never a blind increment."""

import asyncio
from collections.abc import Iterable

from redis.asyncio import Redis

from shared.stream.fold import Claim, Grant, Release

# KEYS: members (zset: member -> expiry), holders (hash: member -> claim ids, one per line)
# ARGV: now, force, then (id, member, limit, expiry) of each claim; answers (granted, used) of each
_ASK = """
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 1000)
for _, member in ipairs(gone) do
  redis.call('ZREM', KEYS[1], member)
  redis.call('HDEL', KEYS[2], member)
end
local used = redis.call('ZCARD', KEYS[1])
local answers = {}
for i = 3, #ARGV, 4 do
  local id, member, expiry = ARGV[i], ARGV[i + 1], ARGV[i + 3]
  local granted = 1
  local ids = redis.call('HGET', KEYS[2], member)
  if ids then
    if not string.find('\\n' .. ids .. '\\n', '\\n' .. id .. '\\n', 1, true) then
      redis.call('HSET', KEYS[2], member, ids .. '\\n' .. id)
    end
    redis.call('ZADD', KEYS[1], 'GT', expiry, member)
  elseif ARGV[2] == '0' and used >= tonumber(ARGV[i + 2]) then
    granted = 0
  else
    redis.call('HSET', KEYS[2], member, id)
    redis.call('ZADD', KEYS[1], expiry, member)
    used = used + 1
  end
  answers[#answers + 1] = granted
  answers[#answers + 1] = used
end
return answers
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
        """Ask for places, in order, one script for each scope; the answers by id. `force` grants beyond the limit what was granted before its record was lost."""
        scopes: dict[str, list[Claim]] = {}
        for claim in claims:
            scopes.setdefault(claim.scope, []).append(claim)
        answers: dict[str, Grant] = {}

        async def one(scope: str, wanted: list[Claim]) -> None:
            arguments: list[str | int] = [now_ms, int(force)]
            for claim in wanted:
                arguments += (claim.id, claim.member, claim.limit, claim.expires_ms)
            found = await self._ask(keys=self._keys(scope), args=arguments)
            for claim, granted, used in zip(wanted, found[::2], found[1::2], strict=True):
                answers[claim.id] = Grant(bool(granted), int(used))

        await asyncio.gather(*(one(scope, wanted) for scope, wanted in scopes.items()))
        return answers

    async def release(self, releases: Iterable[Release]) -> None:
        """Give places back; a release of what is not held does nothing."""
        await asyncio.gather(
            *(self._release(keys=self._keys(r.scope), args=[r.id, r.member]) for r in releases)
        )
