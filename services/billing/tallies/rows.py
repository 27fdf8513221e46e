"""The rows in Redis: absolute values, and never an older one over a newer."""

import asyncio
from collections.abc import Mapping

from redis.asyncio import Redis

from services.billing.tally import Line, hash_key

# KEYS: hash; ARGV: n x (field, offset, row). Answers what was newer there: n x (field, row)
_PUT = """
local newer = {}
for i = 1, #ARGV, 3 do
  local there = redis.call('HGET', KEYS[1], ARGV[i])
  if there and cjson.decode(there).offset > tonumber(ARGV[i + 1]) then
    table.insert(newer, ARGV[i])
    table.insert(newer, there)
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
  end
end
return newer
"""
_MOST_PER_SCRIPT = 500


class RedisRows:
    """The tallies as queries see them, of one generation."""

    def __init__(self, redis: Redis, namespace: str, generation: int) -> None:
        self._namespace = namespace
        self._generation = generation
        self._redis = redis
        self._marks = f"{namespace}:tallies:{generation}:shown"
        self._put = redis.register_script(_PUT)

    async def put(self, rows: Mapping[Line, tuple[int, bytes]]) -> dict[Line, bytes]:
        """Store rows (offset, encoded row); those that are newer in Redis are left there and returned."""
        hashes: dict[str, dict[str, Line]] = {}
        for line in rows:
            key = hash_key(self._namespace, self._generation, line.waba_id, line.month)
            hashes.setdefault(key, {})[line.field] = line
        newer: dict[Line, bytes] = {}

        async def one(key: str, lines: list[tuple[str, Line]]) -> None:
            arguments: list[str | int | bytes] = []
            for field, line in lines:
                arguments += (field, *rows[line])
            answer = await self._put(keys=[key], args=arguments)
            by_field = dict(lines)
            for field, value in zip(answer[::2], answer[1::2], strict=True):
                newer[by_field[field.decode()]] = value

        work = []
        for key, by_field in hashes.items():
            lines = list(by_field.items())
            work += [
                one(key, lines[i : i + _MOST_PER_SCRIPT]) for i in range(0, len(lines), _MOST_PER_SCRIPT)
            ]
        await asyncio.gather(*work)
        return newer

    async def mark(self, offsets: Mapping[int, int]) -> None:
        """Note up to which offset of each partition the rows are shown; a Redis that forgets the note has forgotten rows too."""
        if offsets:
            await self._redis.hset(self._marks, mapping={str(p): offset for p, offset in offsets.items()})

    async def behind(self, offsets: Mapping[int, int]) -> set[int]:
        """The partitions of which Redis knows less than `offsets` say it was told."""
        if not offsets:
            return set()
        found = await self._redis.hmget(self._marks, [str(partition) for partition in offsets])
        return {
            p for (p, offset), mark in zip(offsets.items(), found, strict=True) if int(mark or -1) < offset
        }
