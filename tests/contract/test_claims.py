"""The claims book in Redis answers as the plain one in memory does, whatever is asked in whatever order."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from redis.asyncio import Redis

from deploy.local.stack import LocalStack
from shared.stream.claims import BookIncomplete, Claims, vouched
from shared.stream.fold import Claim, Grant, Owned, Release
from tests import claims_book
from tests.losing import lose, run_of

NOW = 1_793_620_800_000
KEEP_MS = 10_000

asked = st.builds(
    Claim,
    scope=st.sampled_from(["tier:P1", "budget:W1"]),
    id=st.sampled_from([f"N1:4915{n}|r#{n}|tier" for n in range(6)]),
    member=st.sampled_from(["4915", "4916", "4917", "4918"]),
    limit=st.integers(0, 4),
    expires_ms=st.integers(NOW, NOW + 60_000),
    weight=st.integers(1, 2),
    take=st.booleans(),
    waits_until_ms=st.sampled_from([0, 0, NOW + 5000, NOW + 50_000]),
)
owned = st.builds(
    Owned,
    id=st.sampled_from(["a", "b"]),
    name=st.sampled_from(["r1", "r2", "r3"]),
    owner=st.sampled_from(["N1:4915", "N1:4916"]),
    keep_ms=st.just(KEEP_MS),
    at_ms=st.integers(NOW - 2 * KEEP_MS, NOW + KEEP_MS),
)
released = st.builds(
    Release,
    scope=st.sampled_from(["tier:P1", "budget:W1"]),
    id=st.sampled_from([f"N1:4915{n}|r#{n}|tier" for n in range(6)]),
    member=st.sampled_from(["4915", "4916", "4917", "4918"]),
)
moves = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), asked, st.sampled_from([False] * 5 + [True])),
        st.tuples(st.just("ask"), owned, st.just(False)),
        st.tuples(st.just("release"), released, st.just(False)),
        st.tuples(st.just("pass"), st.integers(1, 20_000), st.just(False)),
    ),
    max_size=40,
)


async def ask(
    book: Claims, claims: Iterable[Claim | Owned], now_ms: int, *, force: bool = False
) -> dict[str, Grant]:
    return (await book.ask(claims, now_ms, force=force)).grants


@pytest.fixture(scope="module")
async def redis(stack: LocalStack) -> AsyncIterator[Redis]:
    client = Redis.from_url(stack.endpoints.redis_url)
    yield client
    await client.aclose()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves)
def test_redis_answers_as_the_plain_book_does(stack: LocalStack, played: list[tuple[str, Any, bool]]) -> None:
    asyncio.run(play(stack.endpoints.redis_url, played))


async def play(url: str, played: list[tuple[str, Any, bool]]) -> None:
    redis = Redis.from_url(url)
    try:
        real, plain, now = Claims(redis, f"claims-{uuid4().hex}"), claims_book.Claims(), NOW
        for what, value, force in played:
            if what == "pass":
                now += value
            elif what == "release":
                await real.release([value], now)
                plain.release(value, now)
            else:
                answers = await ask(real, [value], now, force=force)
                assert answers[value.id] == plain.ask(value, now, force=force), value
    finally:
        await redis.aclose()


async def test_a_place_extended_by_a_message_that_failed_is_free_when_the_first_ones_day_is_over(
    redis: Redis,
) -> None:
    book = Claims(redis, f"claims-{uuid4().hex}")
    await ask(book, [Claim("tier:P1", "first", "4915", 1, NOW + 1000)], NOW)
    await ask(book, [Claim("tier:P1", "second", "4915", 1, NOW + 9000)], NOW + 500)
    await book.release([Release("tier:P1", "second", "4915")], NOW + 600)
    answers = await ask(book, [Claim("tier:P1", "third", "4916", 1, NOW + 9000)], NOW + 999)
    assert (answers["third"].granted, answers["third"].free_ms) == (False, NOW + 1000)
    answers = await ask(book, [Claim("tier:P1", "third", "4916", 1, NOW + 9000)], NOW + 1000)
    assert answers["third"].granted


async def test_the_most_pressing_of_those_that_wait_is_told_the_earliest_place(redis: Redis) -> None:
    book = Claims(redis, f"claims-{uuid4().hex}")
    await ask(book, [Claim("tier:P1", f"held{n}", f"491{n}", 3, NOW + 1000 * (n + 1)) for n in range(3)], NOW)
    waiting = [Claim("tier:P1", id, id, 3, NOW + 99_000, waits_until_ms=until) for id, until in [
        ("patient", NOW + 80_000), ("pressing", NOW + 20_000), ("between", NOW + 50_000)
    ]]  # fmt: skip
    await ask(book, waiting, NOW)
    answers = await ask(book, waiting, NOW + 1)
    assert {id: answers[id].free_ms - NOW for id in answers} == {
        "pressing": 1000,
        "between": 2000,
        "patient": 3000,
    }


async def test_thousands_of_claims_on_many_scopes_are_asked_and_given_back_at_once(redis: Redis) -> None:
    book = Claims(redis, f"claims-{uuid4().hex}")
    wanted = [Claim(f"budget:W{n % 300}", f"id{n}", f"m{n}", 10, NOW + 9000) for n in range(3000)]
    names = [Owned(f"own{n}", f"r{n}", "N1:4915", KEEP_MS, NOW) for n in range(1000)]
    answers = await ask(book, [*wanted, *names], NOW)
    assert all(grant.granted for grant in answers.values())
    full = [replace(claim, id=f"other-{claim.id}", member=f"other-{claim.member}") for claim in wanted]
    assert not any(grant.granted for grant in (await ask(book, full, NOW)).values())
    await book.release([Release(claim.scope, claim.id, claim.member) for claim in wanted], NOW)
    assert all(grant.granted for grant in (await ask(book, full, NOW)).values())


async def test_a_redis_that_has_forgotten_some_of_the_scripts_answers_each_claim_once(redis: Redis) -> None:
    book = Claims(redis, f"claims-{uuid4().hex}")
    places = [Claim("tier:P1", f"id{n}", f"m{n}", 9, NOW + 9000) for n in range(5)]
    await redis.script_flush()
    answers = await ask(book, places[:3], NOW)
    assert [grant.used for grant in answers.values()] == [1, 2, 3]
    name = Owned("a|own", "a", "N1:4915", KEEP_MS, NOW)
    answers = await ask(book, [*places[3:], name], NOW)  # names have a script of their own
    assert [grant.used for grant in answers.values()] == [4, 5, 1]


async def test_names_of_one_bucket_are_forgotten_after_their_time_and_not_before(redis: Redis) -> None:
    namespace = f"claims-{uuid4().hex}"
    book = Claims(redis, namespace)
    one = Owned("id", "r1", "N1:4915", KEEP_MS, NOW)
    other = replace(one, owner="N1:4916", at_ms=NOW + KEEP_MS)
    assert (await ask(book, [one], NOW))["id"].granted
    assert not (await ask(book, [other], NOW + KEEP_MS - 1000))["id"].granted
    assert (await ask(book, [other], NOW + KEEP_MS))["id"].granted
    keys = [key async for key in redis.scan_iter(f"{{{namespace}:claims}}:names:*")]
    assert len(keys) == 1
    assert 0 < await redis.ttl(keys[0]) <= KEEP_MS // 1000


async def test_a_name_asked_for_again_after_its_time_binds_nobody(redis: Redis) -> None:
    book = Claims(redis, f"claims-{uuid4().hex}")
    old = Owned("id", "r1", "N1:4915", KEEP_MS, NOW - KEEP_MS)
    new = Owned("id", "r1", "N1:4916", KEEP_MS, NOW - 1000)
    assert (await ask(book, [old], NOW, force=True))["id"].granted
    assert (await ask(book, [new], NOW, force=True))["id"].granted
    assert not (await ask(book, [replace(old, at_ms=NOW)], NOW))["id"].granted


async def test_thousands_of_places_that_are_over_refuse_nobody(redis: Redis) -> None:
    book = Claims(redis, f"claims-{uuid4().hex}")
    held = [Claim("tier:P1", f"held{n}", f"m{n}", 5000, NOW + 1000) for n in range(5000)]
    await ask(book, held, NOW)
    answers = await ask(book, [Claim("tier:P1", "one", "4915", 250, NOW + 9000)], NOW + 2000)
    assert answers["one"].granted


async def test_a_book_answers_only_while_all_partitions_vouch_to_this_run_of_redis(redis: Redis) -> None:
    namespace = f"claims-{uuid4().hex}"
    book = Claims(redis, namespace, group="router", partitions=2)
    run, vouchers = await run_of(redis), vouched(namespace, "router")
    place, name = Claim("tier:P1", "one", "4915", 1, NOW + 9000), Owned("id", "r1", "N1:4915", KEEP_MS, NOW)

    async def answers() -> bool:
        """Whether it answers; it takes nothing either where it does not."""
        given = []
        for claim in (place, name):
            try:
                given.append((await ask(book, [claim], NOW))[claim.id].granted)
            except BookIncomplete:
                continue
        assert given in ([], [True, True])
        return bool(given)

    assert not await answers()
    await redis.hset(vouchers, mapping={"0": run, "1": "0" * 40})
    assert not await answers()
    assert [key async for key in redis.scan_iter(f"{{{namespace}:claims}}:*")] == [vouchers.encode()]
    await redis.hset(vouchers, "1", run)
    assert await answers()
    assert (await book.ask([place], NOW)).run == run
    await redis.hdel(vouchers, "0")
    assert not await answers()
    assert (await ask(book, [replace(place, id="two", member="4916")], NOW, force=True))["two"].used == 2
    await redis.hset(vouchers, "0", run)
    assert await answers()
    await lose(redis, f"{{{namespace}:*")
    assert not await answers()
