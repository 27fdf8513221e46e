"""How long a one-time password takes from its topic to the sender, and to its call at Meta, while campaigns wait and are released; and how much of its limit a campaign uses.

All services run, statuses come back, and half of the campaigns is for a number that Meta does not let send.
"""

import asyncio
import statistics
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

import aiohttp

from deploy.local.stack import LocalStack
from deploy.local.system import LocalSystem
from deploy.local.topics import create_topics
from shared import events, kafka
from shared.settings import ServiceSettings
from shared.topics import ACCOUNT_EVENTS, SEND_COMMANDS, SEND_REQUESTS, SEND_REQUESTS_BULK, Topic
from tests.bench import load
from tests.chaos.business import append, settings_of
from tests.reading import standing_at_start

SERVICES = ("simulator", "ingress", "ingress.intake", "router", "sender")
SOON_MS = 1000.0
"""A one-time password is at Meta within so much."""
RATE = 80
PARKED = load.number_id(0)
WITHIN_S = 180.0


@dataclass(frozen=True)
class Trial:
    """So many bulk requests, half of them for a parked number, the others for `free` numbers; and one-time passwords of all of these, a few in a second."""

    bulk: int = 200_000
    free: int = 2
    passwords: int = 200
    per_s: float = 5.0
    compare: bool = True
    """Whether one-time passwords are asked for without bulk too, before."""


@dataclass(frozen=True)
class Outcome:
    """Waits in ms, of one-time passwords without and with bulk: until the router hands them to the sender, until they are at Meta; how many bulk messages of the free numbers
    Meta took before each one-time password, in all, and in a second meanwhile; bulk requests that were not yet released at the end."""

    alone_ms: dict[str, list[float]]
    beside_ms: dict[str, list[float]]
    bulk_before: dict[str, int]
    bulk_taken: int
    bulk_per_s: float
    waiting: int
    refused: dict[str, int]


async def measure(stack: LocalStack, core: int | None) -> dict[str, tuple[float, float]]:
    """(wait, what it may be), in ms."""
    trial = Trial()
    outcome = await play(stack, trial)
    found = {}
    for when, stretches in (
        ("without bulk", outcome.alone_ms),
        (f"among {trial.bulk:,} bulk requests", outcome.beside_ms),
    ):
        for where, waits in stretches.items():
            cuts = statistics.quantiles(waits, n=100)
            for what, value in (("p50", cuts[49]), ("p99", cuts[98]), ("worst", max(waits))):
                found[f"one-time password {when}, {where}: {what}"] = (value, SOON_MS)
    return found


async def limits(stack: LocalStack, core: int | None) -> dict[str, tuple[float, float]]:
    """(messages in a second, limit) of a campaign of one number that has it for itself, and of two numbers beside a parked one."""
    found = {}
    for name, trial in (
        ("one number", Trial(bulk=2 * RATE * 60, free=1, passwords=0)),
        ("2 numbers, 100,000 waiting for a parked one", Trial(passwords=0)),
    ):
        outcome = await play(stack, trial, seconds=40)
        if outcome.refused:
            raise RuntimeError(f"{name}: refused {outcome.refused}")
        found[f"campaign: limit used, {name}"] = (outcome.bulk_per_s, float(trial.free * RATE))
    return found


async def play(stack: LocalStack, trial: Trial, seconds: float = 0.0) -> Outcome:
    """Send one-time passwords without bulk, then with it."""
    async with _started(stack, trial) as (system, sim):
        settings = settings_of(system.settings)
        alone = await _passwords(settings, "alone", trial) if trial.compare and trial.passwords else {}
        await append_bulk(settings, trial)
        await _until(system, sim, lambda calls: sum(c["phone_number_id"] != PARKED for c in calls) > 2 * RATE)
        began = time()
        beside = await _passwords(settings, "beside", trial) if trial.passwords else {}
        await asyncio.sleep(seconds)
        ended = time()
        calls = await _until(system, sim, lambda calls: _over(calls, trial))
        waiting = await _metric(system, "wa_bulk_waiting_requests{")
        decided = await _decided(settings)
    bulk = [c["at"] for c in calls if _is_bulk(c)]
    refused = Counter(
        str(c["answer"]["code"]) for c in calls if c["answer"]["code"] and c["phone_number_id"] != PARKED
    )
    at = {c["command_id"]: c["at"] for c in reversed(calls) if c["command_id"]}
    stretches = {"to the sender": decided, "to Meta": at}
    return Outcome(
        alone_ms={
            name: [1000 * (ends[id] - since) for id, since in alone.items()]
            for name, ends in stretches.items()
        },
        beside_ms={
            name: [1000 * (ends[id] - since) for id, since in beside.items()]
            for name, ends in stretches.items()
        },
        bulk_before=_bulk_before(calls),
        bulk_taken=len(bulk),
        bulk_per_s=sum(began <= one < ended for one in bulk) / (ended - began),
        waiting=int(waiting),
        refused=dict(refused),
    )


def _is_bulk(call: dict[str, Any]) -> bool:
    """Whether Meta took a bulk message by this call."""
    return (
        bool(call["wamid"])
        and (call["command_id"] or "").startswith("bulk-")
        and call["phone_number_id"] != PARKED
    )


def _bulk_before(calls: list[dict[str, Any]]) -> dict[str, int]:
    """Command id of each one-time password among them → how many bulk messages Meta took before its first call."""
    before = dict[str, int]()
    taken = 0
    for call in calls:
        taken += _is_bulk(call)
        if (call["command_id"] or "").startswith("beside-"):
            before.setdefault(call["command_id"], taken)
    return before


def _over(calls: list[dict[str, Any]], trial: Trial) -> bool:
    """Whether all one-time passwords are at Meta, and a bulk message after them, if any is left."""
    before, taken = _bulk_before(calls), sum(map(_is_bulk, calls))
    left = trial.bulk - trial.bulk // 2 - taken
    return len(before) == trial.passwords and (taken > max(before.values(), default=-1) or not left)


@asynccontextmanager
async def _started(
    stack: LocalStack, trial: Trial
) -> AsyncIterator[tuple[LocalSystem, aiohttp.ClientSession]]:
    name = f"bulk{uuid.uuid4().hex[:6]}"
    extra = {
        "WA_LOG_LEVEL": "warning",
        "WA_TOPIC_PREFIX": f"{name}.",
        "WA_REDIS_NAMESPACE": name,
    }
    system = LocalSystem(stack, create_topics, extra=extra, names=SERVICES, own_stack=False)
    async with system:
        url = f"http://127.0.0.1:{system.ports.simulator}"
        async with aiohttp.ClientSession(url, raise_for_status=True) as sim:
            await _introduce(settings_of(system.settings), sim, trial.free + 1)
            yield system, sim


async def _introduce(settings: ServiceSettings, sim: aiohttp.ClientSession, numbers: int) -> None:
    """Tell the system and the fake Meta of the numbers; the first one may not send."""
    facts = load.accounts(numbers, int(time() * 1000) - 1000, regime="2025-07-01", throughput=RATE)
    account = {
        "id": load.WABA,
        "numbers": [
            {"id": load.number_id(nth), "display_phone_number": f"+1 555 {nth:07}", "max_mps": RATE}
            for nth in range(numbers)
        ],
        "templates": [
            {"name": name, "language": "en", "category": category}
            for name, category in (("promo", "marketing"), ("login_code", "authentication"))
        ],
    }
    await sim.put("/sim/accounts", json={"wabas": [account]})
    await sim.post("/sim/options", json={"delay_s": 0.2, "batch": 50, "pricing": "2025-07-01"})
    parked = {"match": {"phone_number_id": PARKED}, "then": {"error": 131048, "times": None}}
    await sim.post("/sim/script", json=parked)
    await append(settings, ACCOUNT_EVENTS, [(fact.waba_id, events.encode(fact)) for fact in facts])


async def append_bulk(settings: ServiceSettings, trial: Trial) -> None:
    """All bulk requests, those of the parked number first."""
    parked = trial.bulk // 2
    await append_all(
        settings,
        SEND_REQUESTS_BULK,
        [
            request(
                f"bulk-{nth}",
                0 if nth < parked else 1 + nth % trial.free,
                f"+49160{nth:08}",
                "promo",
            )
            for nth in range(trial.bulk)
        ],
    )


async def append_all(settings: ServiceSettings, topic: Topic, values: list[bytes]) -> None:
    """Append records without a key, spread over the partitions."""
    producer = kafka.producer(settings, linger_ms=5)
    await producer.start()
    try:
        name = kafka.name_of(topic, settings)
        for value in values:
            await producer.send(name, value)
        await producer.flush()
    finally:
        await producer.stop()


def request(request_id: str, number: int, to: str, template: str) -> bytes:
    """A send request for a template of the account's."""
    message = {
        "messaging_product": "whatsapp",
        "to": to,
        "type": "template",
        "template": {"name": template, "language": {"code": "en"}},
    }
    return events.encode({"request_id": request_id, "from": load.number_id(number), "message": message})


async def _passwords(settings: ServiceSettings, name: str, trial: Trial) -> dict[str, float]:
    """Ask for one-time passwords at an even pace; command id → when it was asked for."""
    producer = kafka.producer(settings)
    await producer.start()
    asked = {}
    try:
        began = monotonic()
        for nth in range(trial.passwords):
            await asyncio.sleep(max(0.0, began + nth / trial.per_s - monotonic()))
            value = request(f"{name}-{nth}", 1 + nth % trial.free, f"+49170{nth:08}", "login_code")
            asked[f"{name}-{nth}#1"] = time()
            await producer.send(kafka.name_of(SEND_REQUESTS, settings), value)
    finally:
        await producer.stop()
    return asked


async def _decided(settings: ServiceSettings) -> dict[str, float]:
    """Command id → when the router put it on `send.commands`."""
    found = dict[str, float]()
    async with standing_at_start(settings, SEND_COMMANDS) as (consumer, ends):
        for place, end in ends.items():
            while await consumer.position(place) < end:
                for rows in (await consumer.getmany(place, timeout_ms=500)).values():
                    found |= {
                        events.decode_command(row.value).command_id: row.timestamp / 1000 for row in rows
                    }
    return found


async def _until(
    system: LocalSystem, sim: aiohttp.ClientSession, condition: Any, within_s: float = WITHIN_S
) -> list[dict[str, Any]]:
    """The calls at Meta, once they are as they should be."""
    async with asyncio.timeout(within_s):
        while True:
            async with sim.get("/sim/ledger?commands=0&calls=1") as answer:
                calls: list[dict[str, Any]] = (await answer.json())["calls"]
            if condition(calls):
                return calls
            system.require_running()
            await asyncio.sleep(0.5)


async def _metric(system: LocalSystem, name: str) -> float:
    """The sum of a metric of intake's over its labels."""
    url = f"http://127.0.0.1:{system.ports.metrics_intake}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))
