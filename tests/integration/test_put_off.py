"""What Meta refuses for now, between a real Kafka and Redis, the router, the sender, ingress and a fake Meta, on a clock that is moved."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from deploy.local.stack import LocalStack
from shared.times import parse_rfc3339
from shared.topics import SEND_COMMANDS
from tests.conftest import Prefix
from tests.integration.stream.harness import until
from tests.integration.test_uncertain import UncertainBench
from tests.losing import lose

SYNCING, CAPPED = 134101, 131049
HOUR_S, DAY_S = 3600, 24 * 3600


@pytest_asyncio.fixture
async def bench(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> AsyncIterator[UncertainBench]:
    bench = UncertainBench(stack, prefix, tmp_path)
    await bench.start()
    await bench.begin()
    yield bench
    await bench.stop()


async def _deferred(bench: UncertainBench, request_id: str) -> list[str]:
    """The steps of a request, once it waits."""

    async def waits() -> bool:
        decisions = [step.decision for step in await bench.steps(request_id) if step.decision is not None]
        return bool(decisions) and decisions[-1].reason == "refused_for_now"

    await until(waits, f"{request_id} waits")
    return [step.event for step in await bench.steps(request_id)]


async def test_it_is_sent_once_more_when_its_time_has_come_and_never_again_when_redis_is_lost(
    bench: UncertainBench,
) -> None:
    for request_id, code in (("syncing", SYNCING), ("hopeless", SYNCING)):
        times = 1 if request_id == "syncing" else None
        rule = {"match": {"command_id": request_id}, "then": {"error": code, "times": times}}
        await bench.meta.call("POST", "/sim/script", rule)
    held_back = {"delivery": "failed", "delivered_after_s": 1, "code": CAPPED}
    await bench.meta.call("POST", "/sim/script", {"match": {"command_id": "capped#1"}, "then": held_back})
    await bench.ask("syncing", patience_s=HOUR_S)
    await bench.ask("hopeless")
    await bench.ask("capped", patience_s=2 * DAY_S)
    assert await _deferred(bench, "syncing") == ["decided", "decided"]
    assert await bench.told("hopeless", "failed") == ["decided", "failed"]
    failed = (await bench.steps("hopeless"))[-1]
    assert failed.error is not None
    assert failed.error.retry_at is not None
    assert abs(parse_rfc3339(failed.error.retry_at) - parse_rfc3339(failed.at) - 600_000) < 1000

    bench.clock.advance(5)
    assert await _deferred(bench, "capped") == ["decided", "accepted", "decided"]
    bench.clock.advance(601)
    await bench.told("syncing", "sent")
    bench.clock.advance(5)
    assert await bench.told("syncing", "delivered") == [
        "decided", "decided", "decided", "accepted", "sent", "delivered",
    ]  # fmt: skip
    bench.clock.advance(DAY_S)

    async def again() -> bool:
        return [step.event for step in await bench.steps("capped")].count("accepted") == 2

    await until(again, "the second attempt a day later")
    bench.clock.advance(5)
    await bench.told("capped", "delivered")

    commands = sorted(row.headers["ce_id"] for row in await bench.read(SEND_COMMANDS))
    assert commands == [b"capped#1", b"capped#2", b"hopeless#1", b"syncing#1", b"syncing#2"]
    await bench.settled()
    await bench.router.kill()
    await lose(bench.redis, f"{{{bench.settings.redis_namespace}:router*")
    bench.router = bench.spawn("router")
    bench.clock.advance(DAY_S)
    await bench.ask("afterwards")
    await bench.told("afterwards", "accepted")
    after = sorted(row.headers["ce_id"] for row in await bench.read(SEND_COMMANDS))
    assert after == sorted([*commands, b"afterwards#1"])
    calls = {id_: await bench.meta.calls_of(id_) for id_ in ("syncing", "hopeless", "capped")}
    assert calls == {"syncing": 2, "hopeless": 1, "capped": 2}
