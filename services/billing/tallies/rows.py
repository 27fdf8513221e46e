"""The rows in Redis: absolute values, and never an older one over a newer."""

import asyncio
from collections.abc import Mapping

from redis.asyncio import Redis

from services.billing.tally_rows import SEPARATOR, Line, key_prefix, known_key
from shared.stream.source import Source

# KEYS: hash; ARGV: n x (field, offset and index of the source, row). Answers what was newer there: n x (field, row)
_PUT = """
local newer = {}
for i = 1, #ARGV, 4 do
  local there = redis.call('HGET', KEYS[1], ARGV[i])
  local source = there and cjson.decode(there)[1] or {0, -1, 0}
  local ours = {tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])}
  if source[2] > ours[1] or (source[2] == ours[1] and source[3] > ours[2]) then
    table.insert(newer, ARGV[i])
    table.insert(newer, there)
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 3])
  end
end
return newer
"""
# KEYS: hash of notes; ARGV: n x (partition, offset noted before, offset now). Answers the partitions whose note is not as it was.
_MARK = """
local lost = {}
for i = 1, #ARGV, 3 do
  if tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '-1') < tonumber(ARGV[i + 1]) then
    table.insert(lost, ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
  end
end
return lost
"""
_MOST_PER_SCRIPT = 500


class RedisRows:
    """The tallies as queries see them, of one generation."""

    def __init__(self, redis: Redis, namespace: str, generation: int) -> None:
        self._namespace = namespace
        self._generation = generation
        self._redis = redis
        self._known = known_key(namespace, generation)
        self._marks = f"{key_prefix(namespace, generation)}:shown"
        self._put = redis.register_script(_PUT)
        self._mark = redis.register_script(_MARK)

    async def put(self, rows: Mapping[Line, tuple[Source, bytes]]) -> dict[Line, bytes]:
        """Store rows (source, encoded row); those that are newer in Redis are left there and returned."""
        hashes: dict[str, dict[str, Line]] = {}
        for line in rows:
            hashes.setdefault(line.hash_key(self._namespace, self._generation), {})[line.field] = line
        if rows:
            known = {SEPARATOR.join((line.waba_id, line.month)) for line in rows}
            await self._redis.sadd(self._known, *known)
        newer: dict[Line, bytes] = {}

        async def one(key: str, lines: list[tuple[str, Line]]) -> None:
            arguments: list[str | int | bytes] = []
            for field, line in lines:
                source, row = rows[line]
                arguments += (field, source.offset, source.nth, row)
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

    async def shown(self) -> dict[int, int]:
        """Up to which offset of each partition the rows are shown."""
        return {int(n): int(offset) for n, offset in (await self._redis.hgetall(self._marks)).items()}

    async def mark(self, offsets: Mapping[int, tuple[int, int]]) -> set[int]:
        """Note up to which offset of each partition the rows are shown: partition -> (noted before, now).

        The partitions whose earlier note is gone or older are returned and not noted: Redis has forgotten rows of them, too.
        """
        if not offsets:
            return set()
        arguments = [
            value for partition, (before, now) in offsets.items() for value in (partition, before, now)
        ]
        return {int(partition) for partition in await self._mark(keys=[self._marks], args=arguments)}
