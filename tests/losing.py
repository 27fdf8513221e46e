"""Lets Redis lose what a test keeps there; and which run of Redis knows it."""

from redis.asyncio import Redis

_LOSE = """
local lost = redis.call('KEYS', ARGV[1])
for _, key in ipairs(lost) do redis.call('DEL', key) end
return #lost
"""


async def lose(redis: "Redis", pattern: str) -> None:
    """Delete the keys of this pattern in one step, as a Redis that is emptied does.

    Found first and then deleted, the keys that were written in between would stay: the new half of a partition's state, say, without its offset. That no Redis
    loses, and nothing could be made whole from it.
    """
    lost = await redis.eval(_LOSE, 0, pattern)
    assert lost, f"nothing is called {pattern}"


async def run_of(redis: "Redis") -> str:
    """This run of Redis, as vouchers name it."""
    server, replication = await redis.info("server"), await redis.info("replication")
    return f"{server['run_id']}{replication['master_replid']}"
