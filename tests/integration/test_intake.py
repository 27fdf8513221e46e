"""Intake as a process on a real Kafka: requests come out checked, each at least once, whatever happens to the process."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from deploy.local.stack import LocalStack
from shared.events import (
    AccountChanged,
    RequestMalformed,
    SendRequested,
    decode_conversation_event,
    encode,
)
from shared.times import DAY_MS
from shared.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS, SEND_REQUESTS
from tests.conftest import Prefix
from tests.integration.test_ingress import Ingress, request, running, until


@pytest_asyncio.fixture
async def intake(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> AsyncIterator[Ingress]:
    async with running(stack, prefix, tmp_path, "ingress.intake") as started:
        yield started


async def test_good_bad_and_unreadable_requests_each_go_their_way(intake: Ingress) -> None:
    number = AccountChanged(
        event_id="n",
        at_ms=1,
        waba_id="1",
        subject="number",
        id="106",
        fields={"default": True, "display_phone_number": "1"},
    )
    await intake.produce(ACCOUNT_EVENTS, encode(number), key=b"1")

    async def default_known() -> bool:
        async with intake.http.get(f"{intake.probes}/metrics") as answer:
            return "wa_account_facts_revision 1.0" in await answer.text()

    await until(default_known)
    good = [request(f"good-{n}", to=f"+49151123456{n:02}") for n in range(20)]
    await intake.produce(SEND_REQUESTS, *good[:10], b"no json", b'{"request_id":"bad"}', *good[10:])

    async def arrived() -> bool:
        parked = await intake.records(SEND_REQUESTS.dead_letters)
        return len(await intake.records(CONVERSATION_EVENTS)) >= 21 and len(parked) > 0

    await until(arrived)
    events = [
        (row.key.decode(), decode_conversation_event(row.value))
        for row in await intake.records(CONVERSATION_EVENTS)
    ]
    requested = {event.request_id: key for key, event in events if isinstance(event, SendRequested)}
    assert requested == {f"good-{n}": f"106:49151123456{n:02}" for n in range(20)}
    (refused,) = [(key, event) for key, event in events if isinstance(event, RequestMalformed)]
    assert refused[0] == "malformed:bad"
    assert refused[1].problems == ["message: Field required"]
    (parked,) = await intake.records(SEND_REQUESTS.dead_letters)
    assert parked.value == b"no json"
    assert dict(parked.headers)["dlq-source"].startswith(
        f"{intake.settings.topic_prefix}send.requests.v1:".encode()
    )


async def test_after_a_kill_every_request_still_comes_out(
    stack: LocalStack, prefix: Prefix, tmp_path: Path
) -> None:
    async with running(stack, prefix, tmp_path, "ingress.intake", WA_SESSION_TIMEOUT_S="6") as intake:
        ids = {f"r{n}" for n in range(400)}
        values = [request(name, **{"from": "106"}) for name in sorted(ids)]
        producing = asyncio.create_task(intake.produce(SEND_REQUESTS, *values))

        async def seen() -> set[str]:
            rows = await intake.records(CONVERSATION_EVENTS)
            return {
                event.request_id
                for row in rows
                if isinstance(event := decode_conversation_event(row.value), SendRequested)
            }

        async def some() -> bool:
            return bool(await seen())

        async def all_of_them() -> bool:
            return await seen() == ids

        await until(some)
        await intake.process.kill()
        await producing
        await intake.process.start(f"{intake.probes}/ready")
        await until(all_of_them)


async def test_stopped_and_started_again_it_goes_on_where_it_was(intake: Ingress) -> None:
    await intake.produce(SEND_REQUESTS, *(request(f"a{n}", **{"from": "106"}) for n in range(50)))

    async def first() -> bool:
        return len(await intake.records(CONVERSATION_EVENTS)) == 50

    await until(first)
    await intake.process.stop()
    assert intake.process.returncode == 0
    await intake.produce(SEND_REQUESTS, request("b", **{"from": "106"}))
    await intake.process.start(f"{intake.probes}/ready")

    async def second() -> bool:
        return len(await intake.records(CONVERSATION_EVENTS)) > 50

    await until(second)
    rows = await intake.records(CONVERSATION_EVENTS)
    ids = [decode_conversation_event(row.value).event_id for row in rows]
    assert sorted(ids) == sorted([*(f"a{n}:requested" for n in range(50)), "b:requested"])


async def test_a_group_that_kafka_forgot_takes_nothing_that_the_router_may_have_forgotten_too(
    stack: LocalStack, prefix: Prefix, tmp_path: Path
) -> None:
    async with running(stack, prefix, tmp_path) as without_intake:
        old_ms = int(time.time() * 1000) - 8 * DAY_MS
        old, new = request("old", **{"from": "106"}), request("new", **{"from": "106"})
        await without_intake.produce(SEND_REQUESTS, old, timestamp_ms=old_ms)
        await without_intake.produce(SEND_REQUESTS, new)
    async with running(stack, prefix, tmp_path, "ingress.intake") as intake:

        async def arrived() -> bool:
            return bool(await intake.records(CONVERSATION_EVENTS))

        await until(arrived)
        events = [decode_conversation_event(row.value) for row in await intake.records(CONVERSATION_EVENTS)]
        assert [event.event_id for event in events] == ["new:requested"]
        assert "intake_skips_old_requests" in intake.process.log_tail(100)
