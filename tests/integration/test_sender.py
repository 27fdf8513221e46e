"""The sender between a real Kafka, a real Redis and a scripted Graph API; it runs as a process and is killed as one."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from time import time

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from deploy.local.ports import free_ports
from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from shared.events import CancelMessage, SendAccepted, SendFailed, SendUncertain, encode
from shared.stream.publisher import partition_of
from shared.stream.store import Keys
from shared.topics import SEND_COMMANDS
from tests.conftest import Prefix
from tests.integration.sender_bench import PAST_CLAIMS_S, TOKEN, Call, SenderBench, accept, forever, refuse
from tests.integration.stream.harness import PARTITIONS, until


@pytest_asyncio.fixture
async def bench(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> AsyncIterator[SenderBench]:
    bench = SenderBench(stack, prefix, tmp_path)
    await bench.start()
    yield bench
    await bench.stop()


def _partition(number: str) -> int:
    return partition_of(number.encode(), PARTITIONS)


async def ended(process: OwnedProcess) -> int | None:
    """Wait for a process to end by itself; its exit code."""

    async def gone() -> bool:
        return process.returncode is not None

    await until(gone, "the process's end", 30)
    return process.returncode


async def test_each_command_is_sent_once_and_reported(bench: SenderBench) -> None:
    bench.sender()
    commands = [bench.command(f"r{i}", category="service" if i % 2 else "utility") for i in range(40)]
    await bench.order(*commands, *commands[:10])
    told = await bench.until_told(40)
    assert told == {c.command_id: {"SendAccepted"} for c in commands}
    assert bench.graph.counts() == {c.command_id: 1 for c in commands}
    assert {call.token for call in bench.graph.calls} == {TOKEN}
    assert {call.body["to"] for call in bench.graph.calls} == {f"+{c.user}" for c in commands}
    first = next(e for e in await bench.outcomes() if isinstance(e, SendAccepted) and e.command_id == "r0#1")
    assert (first.event_id, first.wamid, first.user) == ("r0#1:accepted", "wamid.r0#1", commands[0].user)


async def test_a_repetition_after_the_send_changes_nothing(bench: SenderBench) -> None:
    bench.sender()
    command = bench.command("again")
    await bench.order(command)
    await bench.until_told(1)
    await bench.order(command, bench.command("later"))
    await bench.until_told(2)
    assert bench.graph.counts() == {"again#1": 1, "later#1": 1}


async def test_refusals_are_retried_as_the_table_says(bench: SenderBench) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        if call.command_id == "flaky#1" and call.nth < 3:
            return refuse(131000, 500)
        if call.command_id == "bad#1":
            return refuse(131026)
        return await accept(call)

    bench.graph.answer = answer
    bench.sender()
    await bench.order(bench.command("flaky"), bench.command("bad"), bench.command("good"))
    told = await bench.until_told(3)
    assert told == {"flaky#1": {"SendAccepted"}, "bad#1": {"SendFailed"}, "good#1": {"SendAccepted"}}
    assert bench.graph.counts() == {"flaky#1": 3, "bad#1": 1, "good#1": 1}
    failed = next(e for e in await bench.outcomes() if isinstance(e, SendFailed))
    assert (failed.code, failed.origin, failed.retryable) == (131026, "meta", False)


async def test_a_meta_that_cannot_be_reached_costs_nothing_but_time(bench: SenderBench) -> None:
    port = bench.graph.port
    await bench.graph.stop()
    sender = bench.sender()
    await bench.order(*(bench.command(f"r{i}") for i in range(20)))

    async def tried() -> bool:
        return '"label": "transport"' in sender.log_path.read_text()

    await until(tried, "a try", 30)
    await bench.graph.start(port)
    told = await bench.until_told(20)
    assert set(map(frozenset, told.values())) == {frozenset({"SendAccepted"})}
    assert set(bench.graph.counts().values()) == {1}


async def test_a_call_without_an_answer_is_uncertain_and_never_repeated(bench: SenderBench) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        match call.command_id:
            case "hang#1":
                return await forever(call)
            case "broken#1":
                return web.Response(status=502, text="<html>")
            case _:
                return await accept(call)

    bench.graph.answer = answer
    bench.sender(WA_CALL_TIMEOUT_S="5")
    await bench.order(bench.command("hang"), bench.command("broken"), bench.command("good"))
    told = await bench.until_told(3)
    assert told == {"hang#1": {"SendUncertain"}, "broken#1": {"SendUncertain"}, "good#1": {"SendAccepted"}}
    assert set(bench.graph.counts().values()) == {1}


@pytest.mark.parametrize(
    ("moment", "calls", "outcome"),
    [
        ("claimed", 0, "SendUncertain"),
        ("calling", 0, "SendUncertain"),
        ("answered", 1, "SendUncertain"),
        ("recorded", 1, "SendAccepted"),
        ("reported", 1, "SendAccepted"),
    ],
)
async def test_a_kill_at_any_moment_never_repeats_a_call(
    bench: SenderBench, moment: str, calls: int, outcome: str
) -> None:
    killed = bench.sender(FAULT=moment)
    await bench.order(bench.command("victim"))
    assert await ended(killed) == -signal.SIGKILL
    bench.clock.advance(PAST_CLAIMS_S)
    bench.sender()
    told = await bench.until_told(1)
    await bench.order(bench.command("next"))
    told = await bench.until_told(2)
    assert told == {"victim#1": {outcome}, "next#1": {"SendAccepted"}}
    assert bench.graph.counts()["victim#1"] == calls


async def test_a_kill_in_the_middle_of_a_load_repeats_no_call_and_loses_no_command(
    bench: SenderBench,
) -> None:
    first = bench.sender()
    commands = [bench.command(f"r{i}", number=f"100{i % 3}") for i in range(600)]
    await bench.order(*commands)
    await bench.until_called(100)
    await first.kill()
    bench.clock.advance(PAST_CLAIMS_S)
    bench.sender()
    told = await bench.until_told(600)
    assert set(told) == {c.command_id for c in commands}
    assert max(bench.graph.counts().values()) == 1
    uncertain = [id for id, kinds in told.items() if "SendUncertain" in kinds]
    assert len(uncertain) < 100
    assert all(kinds in ({"SendAccepted"}, {"SendUncertain"}) for kinds in told.values())


async def test_a_number_never_exceeds_its_throughput_in_any_second(bench: SenderBench) -> None:
    await bench.set_number("1001", throughput=20)
    bench.sender()
    await bench.order(
        *(bench.command(f"slow{i}", number="1001") for i in range(60)),
        *(bench.command(f"fast{i}", number="1002") for i in range(240)),
    )
    await bench.until_called(300)
    assert bench.graph.busiest_second("1001") <= 20
    assert bench.graph.busiest_second("1002") <= 80


async def test_what_customers_write_counts_towards_a_number_s_throughput(bench: SenderBench) -> None:
    inbound = 60

    async def written() -> None:
        while True:
            for second in (int(time()), int(time()) + 1):
                key = f"{{{bench.settings.redis_namespace}:inbound}}:1001:{second}"
                await bench.redis.set(key, inbound, ex=10)
            await asyncio.sleep(0.1)

    writing = asyncio.create_task(written())
    try:
        bench.sender()
        await bench.order(*(bench.command(f"r{i}") for i in range(100)))
        await bench.until_called(100)
    finally:
        writing.cancel()
    times = sorted(call.at_s for call in bench.graph.calls)
    settled = [at for at in times if at > times[0] + 1]
    assert 10 <= max(sum(start <= at < start + 1 for at in settled) for start in settled) <= 80 - inbound


async def test_a_partition_that_is_full_waits_in_kafka_and_the_others_go_on(bench: SenderBench) -> None:
    await bench.set_number("1001", throughput=1)
    full, other = "1001", next(n for n in map(str, range(1002, 1100)) if _partition(n) != _partition("1001"))
    bench.sender(WA_MAX_WAITING="50")
    await bench.order(*(bench.command(f"full{i}", number=full) for i in range(3000)))
    await bench.until_called(1)
    await bench.order(*(bench.command(f"other{i}", number=other) for i in range(100)))
    await bench.until_called(100)
    state = Keys(bench.settings.redis_namespace, "sender", _partition(full)).state
    assert 50 <= await bench.redis.hlen(state) < 2900
    await bench.set_number("1001", throughput=1000)
    assert len(await bench.until_told(3100, 90)) == 3100


async def test_a_command_taken_back_fails_as_cancelled(bench: SenderBench) -> None:
    await bench.set_number("1001", throughput=1)
    bench.sender()
    commands = [bench.command(f"r{i}") for i in range(10)]
    await bench.order(*commands)
    await bench.until_called(1)
    take_back = [
        CancelMessage(
            event_id=f"{one.command_id}:cancel",
            at_ms=one.at_ms,
            command_id=one.command_id,
            phone_number_id="1001",
        )
        for one in commands
    ]
    await bench.feed([("1001", encode(one)) for one in take_back], SEND_COMMANDS)
    told = await bench.until_told(10)
    cancelled = {id for id, kinds in told.items() if kinds == {"SendFailed"}}
    assert cancelled
    assert cancelled.isdisjoint(call.command_id for call in bench.graph.calls)


async def test_one_time_passwords_overtake_a_campaign(bench: SenderBench) -> None:
    known = asyncio.Event()

    async def answer(call: Call) -> web.StreamResponse:
        if len(bench.graph.calls) > 40:
            await known.wait()
        return await accept(call)

    async def journalled() -> bool:
        return bool(await bench.redis.hexists(state, "otp#1"))

    async def called() -> bool:
        return bench.graph.counts()["otp#1"] == 1

    state = Keys(bench.settings.redis_namespace, "sender", _partition("1001")).state
    bench.graph.answer = answer
    await bench.set_number("1001", throughput=40)
    bench.sender()
    await bench.order(*(bench.command(f"m{i}", category="marketing") for i in range(400)))
    await bench.until_called(40)
    await bench.order(bench.command("otp", category="authentication"))
    await until(journalled, "the sender's knowledge of the one-time password")
    known.set()
    await until(called, "the one-time password")
    place = [call.command_id for call in bench.graph.calls].index("otp#1")
    # What was under way goes before it: far fewer than 40. In the order in which they came, it would be the last of 401.
    assert place < 200


async def test_a_held_pair_holds_up_nobody_else(bench: SenderBench) -> None:
    bench.sender()
    await bench.order(
        *(bench.command(f"one{i}", user="4915100000001") for i in range(60)),
        *(bench.command(f"all{i}") for i in range(20)),
    )
    await bench.until_called(45 + 20)
    first = [call for call in bench.graph.calls if call.command_id.startswith("one")]
    assert [call.command_id for call in first] == [f"one{i}#1" for i in range(len(first))]
    assert 45 <= len(first) <= 47
    await bench.until_called(45 + 20 + 2)


async def test_a_new_owner_does_not_burst_to_a_pair_again(bench: SenderBench) -> None:
    first = bench.sender()
    await bench.order(*(bench.command(f"one{i}", user="4915100000001") for i in range(100)))
    await bench.until_called(45)
    await first.stop()
    bench.sender()
    await bench.order(bench.command("other"))

    async def called() -> bool:
        return bench.graph.counts()["other#1"] == 1

    await until(called, "another user's message", 30)
    assert 45 <= len(bench.graph.calls) - 1 <= 51


async def test_an_expired_command_is_not_called(bench: SenderBench) -> None:
    await bench.order(bench.command("late", valid_for_s=-1), bench.command("good"))
    bench.sender()
    told = await bench.until_told(2)
    assert told == {"late#1": {"SendFailed"}, "good#1": {"SendAccepted"}}
    assert bench.graph.counts() == {"good#1": 1}
    failed = next(e for e in await bench.outcomes() if isinstance(e, SendFailed))
    assert failed.reason == "expired"


async def test_a_command_that_expires_behind_a_park_is_reported(bench: SenderBench) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        return refuse(131042) if call.number == "1001" else await accept(call)

    bench.graph.answer = answer
    bench.sender()
    await bench.order(
        bench.command("parked", valid_for_s=4),
        bench.command("behind", valid_for_s=5),
        bench.command("elsewhere", number="2001", waba="20"),
    )
    told = await bench.until_told(3)
    assert {"parked#1": {"SendFailed"}, "behind#1": {"SendFailed"}} == {
        id: kinds for id, kinds in told.items() if id != "elsewhere#1"
    }
    assert bench.graph.counts()["parked#1"] + bench.graph.counts()["behind#1"] <= 2


async def test_redis_emptied_while_commands_wait_repeats_no_call(bench: SenderBench) -> None:
    bench.sender()
    commands = [bench.command(f"r{i}") for i in range(400)]
    await bench.order(*commands)
    await bench.until_called(100)
    await bench.lose_redis()
    told = await bench.until_told(400)
    assert set(told) == {c.command_id for c in commands}
    await bench.order(bench.command("after"))
    await bench.until_told(401)
    assert max(bench.graph.counts().values()) == 1
    assert bench.graph.counts()["after#1"] == 1
    uncertain = {e.command_id for e in await bench.outcomes() if isinstance(e, SendUncertain)}
    assert set(bench.graph.counts()) | uncertain >= {c.command_id for c in commands}


async def test_a_throttled_number_slows_down_and_still_sends_all(bench: SenderBench) -> None:
    refused = []

    async def answer(call: Call) -> web.StreamResponse:
        if 60 < len(bench.graph.calls) <= 80:
            refused.append(call.at_s)
            return refuse(130429)
        return await accept(call)

    bench.graph.answer = answer
    bench.sender()
    await bench.order(*(bench.command(f"r{i}") for i in range(300)))
    told = await bench.until_told(300, timeout_s=60)
    assert set(map(frozenset, told.values())) == {frozenset({"SendAccepted"})}
    # Calls under way at a refusal were still made at the old pace; a second later the limit is half of 80, and grows by as much as makes 80 in 30 s.
    later = [call.at_s for call in bench.graph.calls if call.at_s > refused[-1] + 1]
    assert later
    for start in later:
        in_a_second = sum(start <= at < start + 1 for at in later)
        assert in_a_second <= 80 / 2 + 80 * (start + 1 - refused[0]) / 30


async def test_a_stop_lets_calls_in_flight_end(bench: SenderBench) -> None:
    stopping = asyncio.Event()
    (probes,) = free_ports(1)

    async def answer(call: Call) -> web.StreamResponse:
        if len(bench.graph.calls) > 50:
            await stopping.wait()
        return await accept(call)

    async def says_so() -> bool:
        async with http.get(f"http://127.0.0.1:{probes}/ready") as said:
            return await said.text() == "stopping\n"

    bench.graph.answer = answer
    sender = bench.sender(WA_METRICS_PORT=str(probes), WA_DRAIN_S="20")
    await bench.order(*(bench.command(f"r{i}") for i in range(200)))
    await bench.until_called(50 + 2)
    sender.send_signal(signal.SIGTERM)
    async with aiohttp.ClientSession() as http:
        await until(says_so, "the sender's word that it stops")
    await asyncio.sleep(1)  # nothing is awaited by it: a sender that waits for no call is gone by then
    stopping.set()
    assert await ended(sender) == 0
    called = set(bench.graph.counts())
    told = await bench.told()
    assert told == {id: {"SendAccepted"} for id in called}
    assert len(called) < 200
    bench.sender()
    told = await bench.until_told(200)
    assert set(map(frozenset, told.values())) == {frozenset({"SendAccepted"})}
    assert max(bench.graph.counts().values()) == 1
