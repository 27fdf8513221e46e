"""What the stream processor promises, each promise broken at on purpose by kill, stop, loss and poison."""

import asyncio
import os
import random
import re
import shutil
import signal
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from shared.clock import FileClock
from shared.stream.publisher import partition_of
from shared.stream.store import Keys
from shared.topics import CONVERSATION_EVENTS, SEND_EVENTS
from tests.conftest import Prefix
from tests.integration.stream.counting import PLACES, Add, Burst
from tests.integration.stream.harness import PARTITIONS, Bench, adds, assert_exactly_once, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def bench(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(stack, prefix, tmp_path)
    await bench.start()
    yield bench
    await bench.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def lossy(prefix: Prefix, tmp_path: Path) -> AsyncIterator[Bench]:
    """On a stack of its own."""
    async with LocalStack(name="lossy") as stack:
        bench = Bench(stack, prefix, tmp_path)
        await bench.start()
        yield bench
        await bench.stop()


def encoded(load: list[tuple[str, Add]]) -> list[tuple[str, bytes]]:
    return [(key, msgspec.json.encode(add)) for key, add in load]


async def all_published(bench: Bench, count: int) -> None:
    async def done() -> bool:
        return await bench.published() >= count

    await until(done, f"{count} records published", timeout_s=90, every_s=0.2)


async def folded_at_least(bench: Bench, count: int) -> None:
    async def reached() -> bool:
        return await bench.folded() >= count

    await until(reached, f"{count} records folded", timeout_s=60, every_s=0.01)


async def test_workers_killed_at_random_leave_every_effect_exactly_once(bench: Bench) -> None:
    load = adds(20_000)
    await bench.feed(encoded(load))
    chance = random.Random(7)
    worker = bench.worker()
    for _ in range(6):
        before = await bench.folded()
        await folded_at_least(bench, min(len(load), before + 1))
        await asyncio.sleep(chance.uniform(0, 0.15))  # the moment of the kill is the experiment, not a wait
        await worker.kill()
        worker = bench.worker()
    await all_published(bench, len(load))
    await assert_exactly_once(bench, load, PLACES)


@pytest.mark.parametrize("step", ["commit", "publish"])
async def test_a_worker_stopped_before_a_step_past_its_session_does_no_harm_when_it_wakes(
    bench: Bench, step: str
) -> None:
    load = adds(12_000)
    await bench.feed(encoded(load[:6000]))
    zombie = bench.worker("zombie", FAULT=f"stop-before-{step}:6")
    await folded_at_least(bench, 1000)
    await until(lambda: _stopped(zombie.pid), "the worker stopped itself")
    successor = bench.worker("successor")
    await bench.feed(encoded(load[6000:]))
    await all_published(bench, len(load))
    zombie.send_signal(18)
    await until(lambda: _noticed(zombie), "the woken worker noticed that it had lost its partitions")
    await bench.feed([("late", msgspec.json.encode(Add("late/1", 5)))])
    await all_published(bench, len(load) + 1)
    repeats = await assert_exactly_once(bench, [*load, ("late", Add("late/1", 5))], PLACES)
    assert repeats["repeated"] > 0 or step == "commit"
    assert successor.returncode is None


async def _stopped(pid: int) -> bool:
    return _state(pid) == "T"


async def _noticed(zombie: OwnedProcess) -> bool:
    return any(sign in zombie.log_tail(400) for sign in ("partition_lost", "offset_not_committed"))


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_slow_takeover_passes_no_record_over(bench: Bench) -> None:
    load = adds(8000)
    await bench.feed(encoded(load))
    worker = bench.worker(FAULT="slow-takeover:300")
    await folded_at_least(bench, 1000)
    await worker.kill()
    bench.worker(FAULT="slow-takeover:300")
    await all_published(bench, len(load))
    await assert_exactly_once(bench, load, PLACES)


async def test_an_emptied_redis_is_rebuilt_without_publishing_or_deciding_anything_again(
    bench: Bench,
) -> None:
    load = adds(8000)
    await bench.feed(encoded(load[:5000]))
    bench.worker()
    await all_published(bench, 5000)
    before = await bench.read(SEND_EVENTS)
    states = await bench.states()
    await bench.lose_redis()

    async def rebuilt() -> bool:
        return await bench.folded() == 5000 and await bench.states() == states

    await until(rebuilt, "the state is as it was, though no record came")
    assert await bench.read(SEND_EVENTS) == before
    await bench.feed(encoded(load[5000:]))
    await all_published(bench, len(load))
    assert (await assert_exactly_once(bench, load, PLACES))["repeated"] == 0


async def test_a_partition_without_room_is_rebuilt_all_the_same_and_then_waits(bench: Bench) -> None:
    load = adds(6000)
    await bench.feed(encoded(load[:5000]))
    full = bench.logs / "full"
    bench.worker(FULL=str(full))
    await all_published(bench, 5000)
    states = await bench.states()
    full.touch()
    await bench.lose_redis()

    async def rebuilt() -> bool:
        return await bench.folded() == 5000 and await bench.states() == states

    await until(rebuilt, "the state is as it was")
    before = await bench.offsets()
    await bench.feed(encoded(load[5000:]))

    async def others_went_on() -> bool:
        after = await bench.offsets()
        return sum(after[1:]) == sum(before[1:]) + elsewhere

    elsewhere = sum(partition_of(key.encode(), PARTITIONS) != 0 for key, _ in load[5000:])
    await until(others_went_on, "the other partitions' records")
    assert (await bench.offsets())[0] == before[0]
    full.unlink()
    await all_published(bench, len(load))
    await assert_exactly_once(bench, load, None)


async def test_redis_emptied_in_the_middle_of_the_load_changes_nothing(bench: Bench) -> None:
    load = adds(20_000, claims=False)
    await bench.feed(encoded(load[:15_000]))
    bench.worker()
    await folded_at_least(bench, 6000)
    await bench.lose_redis()
    await bench.feed(encoded(load[15_000:]))
    await all_published(bench, len(load))
    await folded_at_least(bench, len(load))
    await assert_exactly_once(bench, load, None)


async def test_a_backlog_is_taken_in_turns_so_that_no_partition_waits_for_another_s(bench: Bench) -> None:
    each = 50
    keys = [
        [f"k{n}" for n in range(100) if partition_of(b"k%d" % n, PARTITIONS) == p] for p in range(PARTITIONS)
    ]
    evenly = cycle(chain.from_iterable(zip(*keys, strict=False)))  # as many records in each partition
    load = [(key, Add(f"{key}/{n}", 1, claim=n % 5 == 0)) for n, key in enumerate(islice(evenly, 12_000))]
    await bench.feed(encoded(load))
    bench.worker(EACH=str(each), TURNS=str(bench.logs / "turns"))
    await all_published(bench, 12_000)
    rows = map(str.split, (bench.logs / "turns").read_text().splitlines())
    turns = [(int(partition), int(offset)) for partition, offset in rows]
    ends = dict(turns)
    # While only some have come, they have it all; and who has ended leaves its share to the others.
    all_have_come = max(turns.index(next(turn for turn in turns if turn[0] == p)) for p in range(PARTITIONS))
    one_has_ended = min(turns.index(end) for end in ends.items())
    assert one_has_ended - all_have_come > 10 * PARTITIONS
    before, after = dict(turns[: all_have_come + 1]), dict(turns[:one_has_ended])
    served = [after[p] - before[p] for p in range(PARTITIONS)]
    assert max(served) - min(served) <= 2 * each  # the commits of one poll are in no order


async def test_redis_that_loses_its_last_second_is_caught_up_silently(lossy: Bench) -> None:
    load = adds(15_000)
    await lossy.feed(encoded(load[:5000]))
    lossy.worker()
    await all_published(lossy, 5000)
    async with redis_losing(lossy):
        await lossy.feed(encoded(load[5000:10_000]))
        await all_published(lossy, 10_000)
    await lossy.feed(encoded(load[10_000:]))
    await all_published(lossy, len(load))
    assert (await assert_exactly_once(lossy, load, PLACES))["repeated"] == 0


async def test_places_lost_with_the_last_second_are_not_granted_to_who_lost_nothing(lossy: Bench) -> None:
    load = list[tuple[str, Add]]()

    async def feed(partitions: Collection[int], count: int, *, claims: bool) -> None:
        keys = [f"k{n}" for n in range(64) if partition_of(b"k%d" % n, PARTITIONS) in partitions]
        more = [
            (key, Add(f"{key}/{len(load) + n}", 1, claim=claims))
            for n, key in enumerate(islice(cycle(keys), count))
        ]
        load.extend(more)
        await lossy.feed(encoded(more))

    await has_taken(lossy.worker("a"), PARTITIONS)
    other = lossy.worker("b")
    held = await has_taken(other, PARTITIONS // 2)
    await feed(range(PARTITIONS), 64, claims=False)
    await all_published(lossy, len(load))
    async with redis_losing(lossy):
        await feed(held, PLACES - 10, claims=True)
        await all_published(lossy, len(load))
        other.send_signal(signal.SIGSTOP)
    await feed(set(range(PARTITIONS)) - held, PLACES, claims=True)
    await all_published(lossy, len(load))
    await assert_exactly_once(lossy, load, PLACES)


_TAKEN = re.compile(r'"partition": (\d+),.*"partition_taken"')


async def has_taken(worker: OwnedProcess, count: int) -> set[int]:
    """Which partitions a new worker takes, once these are so many."""
    found = set[int]()

    async def taken() -> bool:
        found.update(map(int, _TAKEN.findall(worker.log_tail(100))))
        return len(found) >= count

    await until(taken, f"{count} partitions taken")
    return found


@asynccontextmanager
async def redis_losing(bench: Bench) -> AsyncIterator[None]:
    """Redis forgets what happens meanwhile, and is started again."""
    redis, older = bench.stack.redis, bench.logs / "older"
    shutil.copytree(redis.data_dir, older)
    yield
    await redis.kill()
    shutil.rmtree(redis.data_dir)
    shutil.copytree(older, redis.data_dir)
    await redis.start()
    await bench.redis.connection_pool.disconnect()


@pytest.mark.long
async def test_a_worker_outlives_a_kafka_that_hangs_for_longer_than_a_session(lossy: Bench) -> None:
    load = adds(30_000)
    await lossy.feed(encoded(load))
    worker = lossy.worker()
    await folded_at_least(lossy, 2000)
    os.kill(lossy.stack.kafka.pid, signal.SIGSTOP)

    async def missed() -> bool:
        return "Heartbeat session expired" in worker.log_tail(100)

    await until(missed, "the worker has missed Kafka for a whole session", every_s=0.2)
    os.kill(lossy.stack.kafka.pid, signal.SIGCONT)
    await all_published(lossy, len(load))
    await assert_exactly_once(lossy, load, PLACES)
    assert worker.returncode is None


async def test_two_workers_share_the_places_of_a_limit_exactly(bench: Bench) -> None:
    load = adds(4000, keys=400)
    await bench.feed(encoded(load))
    bench.worker("a")
    bench.worker("b")
    await all_published(bench, len(load))
    await assert_exactly_once(bench, load, PLACES)


async def test_poison_is_parked_with_its_coordinates_and_its_neighbours_go_on(bench: Bench) -> None:
    good = Add("k/1", 3)
    rows = [
        ("k", msgspec.json.encode(good)),
        ("k", b"\xff not json"),
        ("k", msgspec.json.encode(Burst("k/2"))),
    ]
    await bench.feed([*rows, ("k", msgspec.json.encode(Add("k/3", 4)))])
    bench.worker()
    await all_published(bench, 4)
    parked = await bench.read(CONVERSATION_EVENTS.dead_letters)
    assert [value for _, _, value, _ in parked] == [b"\xff not json", msgspec.json.encode(Burst("k/2"))]
    assert parked[0][3]["dlq-reason"].startswith(b"undecodable")
    assert parked[1][3]["dlq-reason"] == b"RuntimeError: burst"
    assert parked[1][3]["dlq-source"].endswith(b":2")
    assert (await bench.states())["k"].sum == 7


async def test_a_bad_deploy_stops_the_worker_instead_of_parking_all_traffic(bench: Bench) -> None:
    await bench.feed([("k", b"nonsense")] * 5000)
    worker = bench.worker()

    async def ended() -> bool:
        return worker.returncode is not None

    await until(ended, "the guard ends the worker")
    assert worker.returncode == 1
    assert "DlqGuardOpen" in worker.log_tail(60)
    assert len(await bench.read(CONVERSATION_EVENTS.dead_letters)) < 2000


async def test_a_timer_rings_once_on_a_silent_key_when_the_clock_passes_it(bench: Bench) -> None:
    clock = FileClock(bench.logs / "clock")
    ring_at_ms = int(clock.time() * 1000) + 24 * 3_600_000
    await bench.feed(
        [(f"k{i}", msgspec.json.encode(Add(f"k{i}/1", 1, ring_at_ms=ring_at_ms))) for i in range(200)]
    )
    worker = bench.worker()
    await all_published(bench, 200)
    assert not [s for s in (await bench.states()).values() if s.rung]
    clock.advance(24 * 3600 + 1)
    await folded_at_least(bench, 250)
    await worker.kill()
    bench.worker()

    async def all_rang() -> bool:
        return all(s.rung == 1 for s in (await bench.states()).values())

    await until(all_rang, "every timer rang")

    async def all_told() -> bool:
        rings = {h["ce_id"] for _, _, _, h in await bench.read(SEND_EVENTS) if b":rang:" in h["ce_id"]}
        return len(rings) == 200

    await until(all_told, "every ring is published")
    for partition in range(PARTITIONS):
        keys = Keys(bench.settings.redis_namespace, "router", partition)
        await until(partial(_no_timers, bench, keys), "fired timers are gone")


async def _no_timers(bench: Bench, keys: Keys) -> bool:
    return await bench.redis.zcard(keys.timers) == 0


async def test_a_drained_worker_hands_over_without_a_repetition(bench: Bench) -> None:
    load = adds(10_000)
    await bench.feed(encoded(load))
    worker = bench.worker()
    await folded_at_least(bench, 2000)
    await worker.stop(grace_s=20)
    assert worker.returncode == 0
    bench.worker()
    await all_published(bench, len(load))
    assert (await assert_exactly_once(bench, load, PLACES))["repeated"] == 0


async def test_records_lost_below_the_next_offset_stop_the_worker_with_an_alarm(bench: Bench) -> None:
    await bench.feed([("k", msgspec.json.encode(Add("k/1", 1)))] * 10)
    keys = [Keys(bench.settings.redis_namespace, "router", p) for p in range(PARTITIONS)]
    worker = bench.worker()
    await all_published(bench, 10)
    await worker.stop()
    for key in keys:
        await bench.redis.hset(key.meta, mapping={"offset": 0})
    await bench.truncate(CONVERSATION_EVENTS)
    worker = bench.worker()

    async def ended() -> bool:
        return worker.returncode is not None

    await until(ended, "the worker ends")
    assert "OffsetLost" in worker.log_tail(60)
