"""How long messages wait that could go at once, while 100,000 for one user and 100,000 for a parked number stand in the same partition; beside the same load alone.

All numbers share one partition, so nothing but the dispatch keeps them apart.
"""

import asyncio
import statistics
from pathlib import Path
from time import monotonic, time
from typing import Any

from aiokafka import AIOKafkaProducer

from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from shared import events, kafka
from shared.settings import ServiceSettings
from shared.topics import ACCOUNT_EVENTS, SEND_COMMANDS
from tests.bench import load, processes
from tests.bench.sender import Simulated, prepare

SECONDS = 30
RATE = 40
"""Messages a second for each of the two free numbers: half of what they may."""
FLOOD = 100_000
QUIET, BUSY, PARKED = (load.number_id(nth) for nth in range(3))
"""A number with nothing else to do, one that writes to the flooded user too, one that Meta does not let send."""
FLOODED_USER = "4915100000000"


async def measure(stack: LocalStack, core: int | None) -> dict[str, tuple[float, float]]:
    """(wait beside the floods, wait alone), the 99th percentile in ms, of the quiet and the busy number; and (memory with, without), in MB."""
    alone, alone_mb = await _play(stack, core, flooded=False)
    beside, beside_mb = await _play(stack, core, flooded=True)
    found = {
        f"sender: p99 wait of {name}": (beside[number], alone[number])
        for name, number in (("another number", QUIET), ("other users of the number", BUSY))
    }
    return {**found, "sender: memory": (beside_mb, alone_mb)}


async def _play(stack: LocalStack, core: int | None, *, flooded: bool) -> tuple[dict[str, float], float]:
    async with Simulated(stack, f"waits-{flooded}", 3) as simulated:
        await simulated.ask("POST", "/sim/options", {"pair_rate": True})
        await simulated.ask(
            "POST",
            "/sim/script",
            {"match": {"phone_number_id": PARKED}, "then": {"error": 131048, "times": None}},
        )
        settings, env = await prepare(stack, simulated.url, partitions=1)
        producer = kafka.producer(settings, linger_ms=5)
        await producer.start()
        sender = processes.start(
            ["services.sender"], env, stack.directory / "logs" / f"sender-waits-{flooded}.log", core
        )
        try:
            for fact in load.accounts(3, int(time() * 1000) - 1000, throughput=80):
                await producer.send(
                    kafka.name_of(ACCOUNT_EVENTS, settings), events.encode(fact), key=fact.waba_id.encode()
                )
            if flooded:
                await _flood(settings, producer)
            # The last of the floods is behind all of them: once it has gone out, they have all been taken in.
            await _order(settings, producer, "taken-in", QUIET, "4915199999999")
            await _called(simulated, sender, "taken-in")
            ordered = await _steadily(settings, producer)
            await _called(simulated, sender, f"{BUSY}-{SECONDS * RATE - 1}")
            calls: Any = (await simulated.ask("GET", "/sim/ledger?commands=0&calls=1"))["calls"]
            return _waits(calls, ordered), _memory_mb(sender)
        finally:
            await sender.stop(grace_s=20)
            await producer.stop()


async def _flood(settings: ServiceSettings, producer: AIOKafkaProducer) -> None:
    for nth in range(FLOOD):
        await _order(settings, producer, f"pair-{nth}", BUSY, FLOODED_USER)
        await _order(settings, producer, f"parked-{nth}", PARKED, f"49152{nth:08}")
    await producer.flush()


async def _steadily(settings: ServiceSettings, producer: AIOKafkaProducer) -> dict[str, float]:
    """Order messages of both free numbers at an even pace; when each was, by command id."""
    began, ordered = monotonic(), {}
    for nth in range(SECONDS * RATE):
        await asyncio.sleep(max(0.0, began + nth / RATE - monotonic()))
        for number, users in ((QUIET, "49153"), (BUSY, "49154")):
            ordered[f"{number}-{nth}#1"] = time()
            await _order(settings, producer, f"{number}-{nth}", number, f"{users}{nth:08}")
    return ordered


async def _order(
    settings: ServiceSettings, producer: AIOKafkaProducer, name: str, number: str, user: str
) -> None:
    now_ms = int(time() * 1000)
    command = load.command(name, number, user, now_ms, now_ms + 3_600_000)
    await producer.send(kafka.name_of(SEND_COMMANDS, settings), events.encode(command), key=number.encode())


async def _called(simulated: Simulated, sender: OwnedProcess, name: str) -> None:
    async with asyncio.timeout(300):
        while True:
            commands: Any = (await simulated.ask("GET", "/sim/ledger?calls=0"))["commands"]
            if f"{name}#1" in commands:
                return
            if sender.returncode is not None:
                raise RuntimeError(sender.log_tail(30))
            await asyncio.sleep(0.5)


def _waits(calls: list[dict[str, Any]], ordered: dict[str, float]) -> dict[str, float]:
    """Number → 99th percentile of the time from order to call, in ms."""
    waits: dict[str, list[float]] = {QUIET: [], BUSY: []}
    for call in calls:
        if call["command_id"] in ordered:
            waits[call["phone_number_id"]].append(1000 * (call["at"] - ordered[call["command_id"]]))
    return {number: statistics.quantiles(found, n=100)[98] for number, found in waits.items()}


def _memory_mb(process: OwnedProcess) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
