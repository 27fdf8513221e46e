"""Scripts of many callers in few round trips; a caller that leaves and a Redis that fails."""

import asyncio
from typing import Any

from redis.exceptions import ConnectionError as RedisGone

from services.ingress.edge.gathering import Gathering
from shared.stream.scripts import Call


class Script:
    sha = "sha"
    script = "return ARGV[1]"


class FakeRedis:
    """Answers each script with its first argument, after `open` is set; `trips` are the calls of each round trip."""

    def __init__(self) -> None:
        self.trips: list[int] = []
        self.open = asyncio.Event()
        self.failure: Exception | None = None

    def pipeline(self, *, transaction: bool) -> "FakePipeline":
        return FakePipeline(self)


class FakePipeline:
    def __init__(self, redis: FakeRedis) -> None:
        self._redis = redis
        self._arguments: list[Any] = []

    def execute_command(self, _: str, sha: str, keys: int, *rest: Any) -> None:
        self._arguments.append(rest[keys])

    async def execute(self, *, raise_on_error: bool) -> list[Any]:
        self._redis.trips.append(len(self._arguments))
        await self._redis.open.wait()
        if self._redis.failure is not None:
            raise self._redis.failure
        return self._arguments


def call(argument: int) -> Call:
    return Call(Script(), ["key"], [argument])  # type: ignore[arg-type]


async def test_what_comes_while_a_round_trip_is_under_way_goes_with_the_next() -> None:
    redis = FakeRedis()
    gathering = Gathering(redis)  # type: ignore[arg-type]
    calls = [asyncio.create_task(gathering.call(call(0)))]
    while not redis.trips:
        await asyncio.sleep(0)
    calls += [asyncio.create_task(gathering.call(call(nth))) for nth in range(1, 700)]
    await asyncio.sleep(0)
    calls[5].cancel()
    redis.open.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[:5] + answers[6:] == [*range(5), *range(6, 700)]
    assert redis.trips == [1, 500, 199]


async def test_a_round_trip_that_fails_fails_its_callers_and_no_later_ones() -> None:
    redis = FakeRedis()
    redis.failure = RedisGone("no Redis")
    redis.open.set()
    gathering = Gathering(redis)  # type: ignore[arg-type]
    answers = await asyncio.gather(*(gathering.call(call(nth)) for nth in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [RedisGone] * 3
    redis.failure = None
    assert await gathering.call(call(7)) == 7
