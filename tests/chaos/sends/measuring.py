"""How long a takeover and a stop take with the settings that production has: two senders as they are deployed, one killed, the other stopped."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

from deploy.local.demo.simulator import Simulator
from deploy.local.ports import LOOPBACK, free_ports
from deploy.local.service import ServiceProcess
from shared.clock import Clock
from tests.chaos.sends.report import Measured
from tests.chaos.sends.verdict import Call, served_again_s

LOOK_S = 0.1
TAKEN_OVER_WITHIN_S = 60.0
DRAINED_WITHIN_S = 30.0
SLOW_ANSWER_S = 5.0
"""While a sender is stopped, Meta answers so late."""


@asynccontextmanager
async def two_senders(
    env: Mapping[str, str], logs: Path, meta: Simulator, clock: Clock
) -> AsyncIterator[Measured]:
    """Measure, and leave one of the two serving until the end of the block.

    Raises:
        TimeoutError: the survivor did not take over.
        StackError: a sender did not start.
    """
    first_port, second_port = free_ports(2)
    killed = ServiceProcess(
        "sender", {**env, "WA_INSTANCE": "a", "WA_METRICS_PORT": str(first_port)}, logs, instance="sender-a"
    )
    kept = ServiceProcess(
        "sender", {**env, "WA_INSTANCE": "b", "WA_METRICS_PORT": str(second_port)}, logs, instance="sender-b"
    )
    try:
        await killed.start(f"http://{LOOPBACK}:{first_port}/ready")
        await kept.start(f"http://{LOOPBACK}:{second_port}/ready")
        await all_served(meta, clock.time())
        struck_s = clock.time()
        await killed.kill()
        takeover_s = await all_served(meta, struck_s)
        await _slowly_answered(meta)
        began = monotonic()
        await kept.stop(grace_s=DRAINED_WITHIN_S)
        measured = Measured(round(takeover_s, 2), round(monotonic() - began, 2), kept.returncode)
        await kept.start(f"http://{LOOPBACK}:{second_port}/ready")
        yield measured
    finally:
        await killed.stop()
        await kept.stop()


async def all_served(meta: Simulator, since_s: float) -> float:
    """Wait until each number has been served after that moment; in how many seconds it was. TimeoutError if it never is."""
    try:
        async with asyncio.timeout(TAKEN_OVER_WITHIN_S):
            while (seconds := served_again_s(await calls(meta), since_s)) is None:
                await asyncio.sleep(LOOK_S)
            return seconds
    except TimeoutError:
        raise TimeoutError(f"some number was not served for {TAKEN_OVER_WITHIN_S:.0f} s") from None


async def calls(meta: Simulator) -> list[Call]:
    """All that the fake Meta received, as its ledger shows it."""
    ledger = await meta.call("GET", "/sim/ledger?commands=0")
    return [Call.from_ledger(row) for row in ledger["calls"]]


async def _slowly_answered(meta: Simulator) -> None:
    """Let Meta answer slowly from now on, and wait until calls are under way."""
    await meta.call("POST", "/sim/script", {"match": {}, "then": {"hang_s": SLOW_ANSWER_S, "times": 100}})
    async with asyncio.timeout(DRAINED_WITHIN_S):
        while (await meta.call("GET", "/sim/quiet"))["calls_in_progress"] < 5:
            await asyncio.sleep(0.02)
