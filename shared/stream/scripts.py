"""Adapter to Redis: several Lua scripts in one round trip."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgpack
from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError, RedisError

RUN = "string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')"
"""In Lua: this run of Redis, another one after each restart (its `run_id`) and each failover, also back to where it was before (its `master_replid`)."""

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
