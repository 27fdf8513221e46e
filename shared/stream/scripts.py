"""Adapter to Redis: several Lua scripts in one round trip."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgpack
from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError, RedisError

RUN = "string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')"
"""In Lua: this run of Redis, another one after each restart (its `run_id`) and each failover, also back to where it was before (its `master_replid`)."""

PLACES = """
local places = {}
local function place(set, member, score)
  if not places[set] then places[set] = {} end
  places[set][member] = score or false
end
local function placed(set, member)
  local score = places[set] and places[set][member]
  if score == nil then score = tonumber(redis.call('ZSCORE', set, member) or nil) end
  return score or nil
end
local function in_portions(command, key, values)
  for i = 1, #values, 2000 do redis.call(command, key, unpack(values, i, math.min(i + 1999, #values))) end
end
local function put_in_place()
  for set, members in pairs(places) do
    local added, removed = {}, {}
    for member, score in pairs(members) do
      if score then added[#added + 1] = score; added[#added + 1] = member
      else removed[#removed + 1] = member end
    end
    in_portions('ZADD', set, added)
    in_portions('ZREM', set, removed)
  end
end
"""
"""In Lua: `place` a member of a sorted set at a score (nil removes it), ask where one is `placed`, and `put_in_place` all at the end, with one command for a set: each costs a script 5 µs beside its work.

`in_portions` runs a command with many values: 2,000 at once find room on Lua's stack."""

pack = msgpack.Packer(use_bin_type=False).pack
"""Many values as one argument, for `cmsgpack.unpack`. A client makes an argument ready by itself, in some 0.3 µs, and a batch has hundreds of values; Redis's MessagePack knows bytes as text only, which msgspec doesn't write."""


class Call(NamedTuple):
    """A script with its keys and arguments."""

    script: AsyncScript
    keys: Sequence[str]
    arguments: Iterable[str | bytes | int]


async def run(redis: "Redis", calls: Sequence[Call]) -> list[Any]:
    """The answers, in order.

    redis-py would ask before each pipeline whether Redis knows its scripts: a round trip more. Here Redis is told them once it says that it does not.
    """
    answers = await _answers(redis, calls)
    unknown = [nth for nth, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:
        for script in {calls[nth].script for nth in unknown}:
            await redis.script_load(script.script)
        again = await _answers(redis, [calls[nth] for nth in unknown])
        for nth, answer in zip(unknown, again, strict=True):
            answers[nth] = answer
    for answer in answers:
        if isinstance(answer, RedisError):
            raise answer
    return answers


async def _answers(redis: "Redis", calls: Sequence[Call]) -> list[Any]:
    """What Redis says of each call, errors too."""
    pipeline = redis.pipeline(transaction=False)
    for script, keys, arguments in calls:
        pipeline.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments)
    answers: list[Any] = await pipeline.execute(raise_on_error=False)
    return answers
