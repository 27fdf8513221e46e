"""How much of its numbers' throughput the sender uses against a simulator that refuses whatever exceeds it in any moving second, and how often it is refused.

Pairs, priorities and categories are mixed, and pairs are limited too; in the last trial a second sender joins and leaves again.
"""

import asyncio
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import time
from typing import Any

from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from shared import events, kafka
from shared.events import SendMessage
from shared.settings import ServiceSettings
from shared.topics import ACCOUNT_EVENTS, SEND_COMMANDS
from tests.bench import load, processes
from tests.bench.sender import Simulated, prepare

SECONDS = 60
HOT_USERS = 20
HOT_SHARE = 0.02
"""Part of the messages that goes to few users, more than their pairs may have."""
MIX: tuple[tuple[events.Category, int, int], ...] = (
    ("authentication", 0, 1),
    ("utility", 2, 6),
    ("marketing", 3, 3),
)
"""Category, priority, weight."""


@dataclass(frozen=True)
class Trial:
    """One run: so many numbers at so many messages a second each."""

    name: str
    numbers: int
    rate: int
    seconds: int = SECONDS
    second_sender: bool = False


TRIALS = (
    Trial("1 number at 80/s", 1, 80),
    Trial("1 number at 1,000/s", 1, 1000),
    Trial("50 numbers at 20/s", 50, 20),
    Trial("8 numbers at 80/s, a second sender joins and leaves", 8, 80, second_sender=True),
)


@dataclass(frozen=True)
class Outcome:
    """What the simulator saw: the part of the limit used, refusals by code, the busiest second of any number."""

    used: float
    refused: dict[str, int]
    busiest: int


async def measure(stack: LocalStack, core: int | None) -> dict[str, tuple[float, float]]:
    """(messages in a second, limit) of every trial; a refusal for exceeding a limit is an error."""
    found = {}
    for trial in TRIALS:
        outcome = await play(stack, core, trial)
        if outcome.refused:
            raise RuntimeError(f"{trial.name}: refused {outcome.refused}, busiest second {outcome.busiest}")
        limit = trial.numbers * trial.rate
        found[f"sender: limit used, {trial.name}"] = (outcome.used * limit, float(limit))
    return found


async def play(stack: LocalStack, core: int | None, trial: Trial) -> Outcome:
    """Send as fast as the limits allow for the trial's time."""
    async with Simulated(
        stack, f"limits-{trial.numbers}-{trial.rate}", trial.numbers, max_mps=trial.rate
    ) as simulated:
        await simulated.ask("POST", "/sim/options", {"pair_rate": True})
        settings, env = await prepare(stack, simulated.url)
        await _order(settings, trial)
        senders = [_sender(stack, env, core, "0")]
        try:
            await _until(simulated, lambda calls: calls > 0, senders)
            for act, share in _acts(stack, env, core, trial, senders):
                await asyncio.sleep(trial.seconds * share)
                await act()
            calls: Any = (await simulated.ask("GET", "/sim/ledger?commands=0&calls=1"))["calls"]
        finally:
            await asyncio.gather(*(sender.stop(grace_s=30) for sender in senders))
    return _outcome(trial, calls)


def _acts(
    stack: LocalStack, env: dict[str, str], core: int | None, trial: Trial, senders: list[OwnedProcess]
) -> list[tuple[Callable[[], Awaitable[object]], float]]:
    """What happens when, as parts of the trial's time since the act before."""

    async def nothing() -> None:
        """The end."""

    async def join() -> None:
        senders.append(_sender(stack, env, None, "1"))

    async def leave() -> None:
        await senders[1].stop(grace_s=30)

    if trial.second_sender:
        return [(join, 0.35), (leave, 0.3), (nothing, 0.4)]
    return [(nothing, 1.05)]


def _sender(stack: LocalStack, env: dict[str, str], core: int | None, instance: str) -> OwnedProcess:
    log = stack.directory / "logs" / f"sender-limits-{instance}.log"
    return processes.start(["services.sender"], {**env, "WA_INSTANCE": instance}, log, core)


async def _until(simulated: Simulated, condition: Callable[[int], bool], senders: list[OwnedProcess]) -> None:
    async with asyncio.timeout(60):
        while not condition(await simulated.accepted()):
            if senders[0].returncode is not None:
                raise RuntimeError(senders[0].log_tail(30))
            await asyncio.sleep(0.1)


async def _order(settings: ServiceSettings, trial: Trial) -> None:
    producer = kafka.producer(settings, linger_ms=5)
    await producer.start()
    try:
        facts = load.accounts(trial.numbers, int(time() * 1000) - 1000, throughput=trial.rate)
        for fact in facts:
            await producer.send(
                kafka.name_of(ACCOUNT_EVENTS, settings), events.encode(fact), key=fact.waba_id.encode()
            )
        topic = kafka.name_of(SEND_COMMANDS, settings)
        for command in commands(trial):
            await producer.send(topic, events.encode(command), key=command.phone_number_id.encode())
        await producer.flush()
    finally:
        await producer.stop()


def commands(trial: Trial) -> list[SendMessage]:
    """More than can be sent in the trial's time, mixed."""
    rng, now_ms = random.Random(1), int(time() * 1000)
    made = []
    for nth in range(int(trial.numbers * trial.rate * (trial.seconds * 1.15 + 10))):
        category, priority, _ = rng.choices(MIX, [weight for *_, weight in MIX])[0]
        number = load.number_id(nth % trial.numbers)
        user = f"4915{rng.randrange(HOT_USERS)}" if rng.random() < HOT_SHARE else f"49160{nth:08}"
        made.append(
            load.command(
                f"r{nth}", number, user.ljust(13, "0"), now_ms, now_ms + 3_600_000, category, priority
            )
        )
    return made


def _outcome(trial: Trial, calls: list[dict[str, Any]]) -> Outcome:
    began = min(call["at"] for call in calls) + 2
    accepted: dict[str, list[float]] = {}
    for call in calls:
        if call["wamid"]:
            accepted.setdefault(call["phone_number_id"], []).append(call["at"])
    for times in accepted.values():
        times.sort()
    during = sum(
        bisect_left(times, began + trial.seconds) - bisect_left(times, began) for times in accepted.values()
    )
    return Outcome(
        used=during / (trial.numbers * trial.rate * trial.seconds),
        refused=dict(Counter(str(call["answer"]["code"]) for call in calls if call["answer"]["code"])),
        busiest=max(
            bisect_left(times, at + 1) - nth for times in accepted.values() for nth, at in enumerate(times)
        ),
    )
