"""How soon one sender is back at full rate after each trouble of Meta, under a steady load, and what the trouble cost.

Each trouble begins when the load runs smoothly and ends after a given time. Measured from its end: until a second in which as much is accepted as is ordered. Beside it
stands the bound that the rules give: the longest pause between two tries, and what grows back after it. Lost or repeated messages are an error, not a number.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from deploy.local.stack import LocalStack
from shared import events, kafka
from shared.events import SendAccepted, SendFailed, SendUncertain, decode_conversation_event
from shared.settings import ServiceSettings
from shared.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS, SEND_COMMANDS
from tests.bench import load, processes
from tests.bench.sender import TOKEN, Simulated, prepare
from tests.reading import read_all

RATE = 40
"""Messages ordered in a second; the number may send twice as many, so that what waited goes out beside what comes."""
LATENCY_S = 0.1
"""Of the fake Meta: of the real one's order, for what is under way when it hangs is what becomes uncertain."""
BEFORE_S, AFTER_S = 8.0, 30.0
NUMBER = load.number_id(0)


@dataclass(frozen=True)
class Case:
    """One trouble: body of `POST /sim/troubles`, the longest time to full rate in seconds, and the most uncertain messages, that the rules allow."""

    name: str
    trouble: dict[str, Any]
    bound_s: float
    uncertain: int

    @property
    def for_s(self) -> float:
        return float(self.trouble["for_s"])


CASES = (
    # 0.5, 1, 2 … 15 s between tries. Uncertain: twice what is under way at the peaks of the load (about three times RATE * LATENCY_S), and the tries.
    Case("hang", {"kind": "hang", "for_s": 30}, 16, 30),
    Case("5xx, not processed", {"kind": "failing", "for_s": 15}, 9, 25),
    Case("5xx, processed", {"kind": "failing", "for_s": 10, "processed": True}, 9, 25),
    Case("lost answers", {"kind": "lost_answers", "for_s": 5}, 5, 25),
    # Connections are tried every 2 s at the latest; those that are open when it begins are cut.
    Case("refused connections", {"kind": "refusing", "for_s": 10}, 3, 10),
    # A minute, whenever the upgrade is over.
    Case("maintenance", {"kind": "maintenance", "for_s": 55}, 8, 0),
    # Half at once, and back from standstill in half a minute: to half the rate, which is the load, in a good half of that.
    Case("throughput falls to 10", {"kind": "throttled", "for_s": 10, "mps": 10}, 20, 0),
    # The file is replaced at the end.
    Case("expired token", {"kind": "token", "for_s": 5}, 2, 0),
)


async def measure(
    stack: LocalStack, core: int | None, *, names: str | None = None
) -> dict[str, tuple[float, float]]:
    """(measured, bound) by what is measured; `names`: parts of the troubles' names, comma-separated, None for all."""
    measured: dict[str, tuple[float, float]] = {}
    wanted = None if names is None else names.split(",")
    for case in CASES:
        if wanted is None or any(part in case.name for part in wanted):
            measured |= await _measure(stack, core, case)
    return measured


async def _measure(stack: LocalStack, core: int | None, case: Case) -> dict[str, tuple[float, float]]:
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder)
        (tokens / "default").write_text(TOKEN)
        async with Simulated(stack, "recovery", numbers=1) as simulated:
            await simulated.ask("POST", "/sim/script", {"then": {"hang_s": LATENCY_S, "times": None}})
            settings, env = await prepare(stack, simulated.url)
            await _state_facts(settings)
            log = stack.directory / "logs" / "sender-recovery.log"
            sender = processes.start(["services.sender"], env | {"WA_TOKEN_DIR": folder}, log, core)
            try:
                run = asyncio.create_task(_order(settings, BEFORE_S + case.for_s + AFTER_S))
                await _until(lambda: _accepted(simulated, int(BEFORE_S * RATE * 0.8)), 60)
                began_s = time.time()
                await _trouble(simulated, case, tokens)
                ended_s = time.time()
                ordered = await run
                told = await _all_told(settings, len(ordered))
            finally:
                await sender.stop(grace_s=20)
            ledger = await simulated.ask("GET", "/sim/ledger")
    return _judged(case, began_s, ended_s, ordered, told, ledger)


async def _trouble(simulated: Simulated, case: Case, tokens: Path) -> None:
    """Begin the trouble and wait for its end."""
    if case.trouble["kind"] != "token":
        await simulated.ask("POST", "/sim/troubles", case.trouble)
        await asyncio.sleep(case.for_s)
        return
    await simulated.ask("POST", "/sim/options", {"access_token": "the-next-token"})
    await asyncio.sleep(case.for_s)
    (tokens / "new").write_text("the-next-token")
    (tokens / "new").replace(tokens / "default")


def _judged(
    case: Case,
    began_s: float,
    ended_s: float,
    ordered: list[str],
    told: dict[str, str],
    ledger: dict[str, Any],
) -> dict[str, tuple[float, float]]:
    calls = ledger["calls"]
    repeated = [id for id, count in ledger["commands"].items() if count["accepted"] > 1]
    lost = [id for id in ordered if id not in told]
    failed = [id for id in ordered if told.get(id) == "SendFailed"]
    if repeated or lost or failed:
        raise RuntimeError(f"{case.name}: repeated {repeated[:5]}, lost {lost[:5]}, failed {failed[:5]}")
    accepted = sorted(call["at"] for call in calls if call["answer"]["http_status"] == 200)
    after = [at for at in accepted if at >= ended_s]
    full = (
        at for nth, at in enumerate(after) if nth + RATE <= len(after) and after[nth + RATE - 1] <= at + 1.0
    )
    recovery_s = next(full, float("inf")) - ended_s
    refused = sum(
        1
        for call in calls
        if call["answer"]["http_status"] != 200 and began_s - 1 <= call["at"] <= ended_s + case.bound_s
    )
    uncertain = sum(1 for kind in told.values() if kind == "SendUncertain")
    name = f"{case.name} for {case.for_s:.0f} s"
    return {
        f"{name}: ms from its end to full rate": (recovery_s * 1000, case.bound_s * 1000),
        f"{name}: messages uncertain": (uncertain, max(1, case.uncertain)),
        f"{name}: calls refused or unanswered": (refused, case.for_s * RATE),
    }


async def _state_facts(settings: ServiceSettings) -> None:
    now_ms = int(time.time() * 1000)
    producer = kafka.producer(settings)
    await producer.start()
    try:
        for fact in load.accounts(1, now_ms - 1000):
            if fact.subject == "number":
                fact = msgspec.structs.replace(fact, fields={**fact.fields, "throughput": 2 * RATE})
            await producer.send_and_wait(
                kafka.name_of(ACCOUNT_EVENTS, settings), events.encode(fact), key=fact.waba_id.encode()
            )
    finally:
        await producer.stop()


async def _order(settings: ServiceSettings, for_s: float) -> list[str]:
    """Order a message every 1/RATE seconds; the command ids."""
    ids: list[str] = []
    producer = kafka.producer(settings)
    await producer.start()
    try:
        began = time.monotonic()
        while (passed_s := time.monotonic() - began) < for_s:
            while len(ids) < passed_s * RATE:
                now_ms = int(time.time() * 1000)
                command = load.command(
                    f"r{len(ids)}", NUMBER, f"49151{len(ids):08}", now_ms, now_ms + 3_600_000
                )
                ids.append(command.command_id)
                await producer.send(
                    kafka.name_of(SEND_COMMANDS, settings), events.encode(command), key=NUMBER.encode()
                )
            await asyncio.sleep(0.01)
        await producer.flush()
    finally:
        await producer.stop()
    return ids


async def _all_told(settings: ServiceSettings, count: int) -> dict[str, str]:
    """Wait until so many commands have an outcome; which kind each has."""
    told: dict[str, str] = {}
    deadline = time.monotonic() + 60
    while len(told) < count and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        for row in await read_all(settings, CONVERSATION_EVENTS):
            event = decode_conversation_event(row.value)
            if isinstance(event, (SendAccepted, SendFailed, SendUncertain)):
                told[event.command_id] = type(event).__name__
    return told


async def _accepted(simulated: Simulated, count: int) -> bool:
    return await simulated.accepted() >= count


async def _until(condition: Callable[[], Awaitable[bool]], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the load does not run")
        await asyncio.sleep(0.1)
