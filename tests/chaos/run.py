"""One chaos run: load through the whole system while its parts are killed, frozen and robbed of their memory; then the proof."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import aiohttp
import msgspec
from redis.asyncio import Redis

from deploy.local.service import ServiceProcess
from deploy.local.stack import LocalStack
from deploy.local.system import LocalSystem
from deploy.local.topics import create_topics
from shared import events, kafka
from shared.clock import FileClock
from shared.events import LedgerEntry, SendEvent
from shared.settings import ServiceSettings
from shared.stream.store import Keys
from shared.topics import (
    ACCOUNT_EVENTS,
    BILLING_CHARGES,
    CONVERSATION_EVENTS,
    SEND_EVENTS,
    SEND_REQUESTS,
    Topic,
)
from tests.bench import load
from tests.chaos.business import TEMPLATES, append, introduce, settings_of
from tests.chaos.report import Report
from tests.reading import Row, committed, ends, length, read_all

Say = Callable[[str], None]
T = TypeVar("T")
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NUMBERS = 20
EVENTS_PER_REQUEST = 5
"""Requested, accepted, sent, delivered, read."""
SESSION_S = 6.0
SERVICES = ("simulator", "ingress", "ingress.intake", "router", "sender", "billing", "billing.tallies")
MIX = ("utility", "utility", "marketing", "authentication")
AT_REST_S = 10.0
"""Without a new event for so long, and with all of them folded, the load is done."""
SETTLE_S = (20 * 60, 5 * 3600)
"""Longer than the router waits for the outcome of an uncertain send before it sends it again; then longer than any message is valid."""


@dataclass(frozen=True)
class Plan:
    """What to do to the system."""

    seed: int
    events: int
    kills: int
    minutes: float = 0.0
    empty_redis: bool = True
    zombie: bool = True


async def run(plan: Plan, say: Say) -> Report:
    """Play the plan on a stack of its own."""
    began = time.monotonic()
    report = Report(plan.seed, 0.0)
    async with LocalStack(name="chaos") as stack:
        extra = {"WA_SESSION_TIMEOUT_S": str(SESSION_S), "WA_LOG_LEVEL": "warning"}
        system = LocalSystem(stack, create_topics, extra=extra, names=SERVICES, own_stack=False)
        async with system:
            trial = _Trial(plan, system, report, say)
            await trial.set_up()
            rounds = 0
            while rounds == 0 or (time.monotonic() - began) / 60 < plan.minutes:
                await trial.round(rounds)
                rounds += 1
            await trial.settle()
            await trial.judge_sends()
            await trial.judge_tallies()
            for name in reversed(SERVICES):
                await system.services[name].stop()
            await trial.judge_against_an_undisturbed_run()
    report.minutes = (time.monotonic() - began) / 60
    return report


class _Trial:
    """The running system, what it was asked to do, and what it did."""

    def __init__(self, plan: Plan, system: LocalSystem, report: Report, say: Say) -> None:
        self.plan = plan
        self.system = system
        self.report = report
        self.say = say
        self.chance = random.Random(plan.seed)
        self.settings = settings_of(system.settings)
        self.sim = f"http://127.0.0.1:{system.ports.simulator}/sim"
        self.requests: dict[str, str] = {}
        self.expected = 0
        self.acts: list[dict[int, int]] = []
        """Where the conversation events ended, by partition, before each move of the clock."""

    # --- load

    async def set_up(self) -> None:
        options = {"read": True, "delay_s": 0.2, "batch": 50, "duplicate": 0.02, "shuffle": True}
        await introduce(self.settings, self.sim, NUMBERS, {**options, "seed": self.plan.seed})

    async def round(self, nth: int) -> None:
        """Feed one round of load and strike while it is worked on."""
        inbound = self.plan.events // 20
        requests = (self.plan.events - inbound) // EVENTS_PER_REQUEST
        rows = [self._request(nth, i) for i in range(requests)]
        start = await length(self.settings, CONVERSATION_EVENTS)
        self.say(f"round {nth + 1}: {requests:,} requests and {inbound:,} inbound messages")
        await append(self.settings, SEND_REQUESTS, rows)
        self.report.acknowledged += len(rows)
        writing = asyncio.create_task(self._customers_write(nth, inbound))
        for share, strike in self._strikes():
            await self._progress(start + int(share * self.plan.events))
            await strike()
        await writing

    def _request(self, nth: int, index: int) -> tuple[str, bytes]:
        category = MIX[index % len(MIX)]
        id = f"{category}-{self.plan.seed}-{nth}-{index}"
        self.requests[id] = category
        message = {
            "messaging_product": "whatsapp",
            "to": f"+49151{index % 9000:08}",
            "type": "template",
            "template": {"name": TEMPLATES[category], "language": {"code": "en"}},
        }
        return id, events.encode(
            {"request_id": id, "from": load.number_id(index % NUMBERS), "message": message}
        )

    async def _customers_write(self, nth: int, count: int) -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as http:
            for i in range(count):
                body = {"to": load.number_id(i % NUMBERS), "text": "hello", "id": f"wamid.in.{nth}.{i}"}
                async with http.post(f"{self.sim}/users/49151{i % 9000:08}/messages", json=body):
                    pass

    async def _progress(self, target: int) -> None:
        """Wait for so many events, or until there is nothing left to do: a message that no one sends brings forth fewer."""
        grown, seen = time.monotonic(), 0
        while (events := await length(self.settings, CONVERSATION_EVENTS)) < target:
            self.system.require_running()
            if events > seen:
                grown, seen = time.monotonic(), events
            still_s = time.monotonic() - grown
            if still_s > AT_REST_S and await committed(self.settings, "router") >= events:
                return
            if still_s > 120:
                raise TimeoutError(f"the system stands still at {events:,} of {target:,} events")
            await asyncio.sleep(0.05)

    # --- faults

    def _strikes(self) -> list[tuple[float, Any]]:
        """(share of the load, what to do), in order."""
        plan = self.plan
        strikes = [(self.chance.uniform(0.03, 0.9), lambda: self._kill("router")) for _ in range(plan.kills)]
        strikes += [
            (self.chance.uniform(0.03, 0.9), lambda: self._kill("billing")) for _ in range(plan.kills)
        ]
        strikes += [
            (self.chance.uniform(0.1, 0.8), lambda: self._kill("sender")) for _ in range(plan.kills // 5)
        ]
        if plan.zombie:
            strikes.append((0.3, self._freeze_a_router))
        if plan.empty_redis:
            strikes.append((0.5, self._empty_redis))
        return sorted(strikes, key=lambda strike: strike[0])

    async def _kill(self, name: str) -> None:
        began = time.monotonic()
        await self.system.services[name].kill()
        await self.system.start_service(name)
        self.report.takeovers_s.append(time.monotonic() - began)
        self._struck(f"kill {name}")

    async def _freeze_a_router(self) -> None:
        """A zombie: frozen past its session while another takes its partitions, then awake again."""
        spec = self.system.specs["router"]
        env = {**spec.env, "WA_INSTANCE": "successor", "WA_METRICS_PORT": "0"}
        successor = ServiceProcess("router", env, self.system.log_dir, instance="router-successor")
        zombie = self.system.services["router"]
        zombie.pause()
        await successor.start()
        await asyncio.sleep(SESSION_S + 3)  # the fault itself: silent for longer than the session
        zombie.resume()
        await asyncio.sleep(3)  # both alive, as when a frozen machine comes back
        await successor.stop()
        self._struck("freeze router past its session")

    async def _empty_redis(self) -> None:
        redis = Redis.from_url(self.settings.redis_url)
        await redis.flushall()
        await redis.aclose()
        self._struck("empty Redis")

    def _struck(self, fault: str) -> None:
        self.report.faults[fault] += 1
        self.say(f"  {fault}")

    # --- the end of the load

    async def settle(self) -> None:
        """Wait until every request has ended; move the clock so that uncertain sends are sent once more, or given up."""
        await self._be_heard()
        self.say("waiting for every request to end")
        try:
            await self._ended(within_s=120)
        except TimeoutError:
            self.say("moving the clock past the wait for uncertain sends")
        unended = set(self.requests)
        for advance_s in SETTLE_S:
            self.acts.append(await ends(self.settings, CONVERSATION_EVENTS))
            async with aiohttp.ClientSession(raise_for_status=True) as http:
                await http.post(f"{self.sim}/clock", json={"advance_s": advance_s})
            unended = await self._ended(within_s=120, strict=False)
        self.report.lost = len(unended)
        await self._caught_up("router", CONVERSATION_EVENTS)
        await self._caught_up("ledger", SEND_EVENTS)

    async def _be_heard(self) -> None:
        """One request more for each number: a router sends uncertain messages once more only if it has heard statuses of later ones, and the last one killed has heard none."""
        rows = [self._request(-1, i) for i in range(NUMBERS)]
        await append(self.settings, SEND_REQUESTS, rows)
        self.report.acknowledged += len(rows)

    async def _ended(self, within_s: float, *, strict: bool = True) -> set[str]:
        """The requests without an end; waits for none to be left."""
        deadline = time.monotonic() + within_s
        while True:
            unended = set(self.requests)
            for row in await read_all(self.settings, SEND_EVENTS):
                event = events.decode_send_event(row.value)
                refused = event.decision is not None and event.decision.outcome == "reject"
                if event.event in ("read", "failed") or refused:
                    unended.discard(event.request_id or "")
            if not unended or (time.monotonic() > deadline and not strict):
                return unended
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(unended)} requests have not ended")
            self.system.require_running()
            await asyncio.sleep(2)

    async def _caught_up(self, group: str, topic: Topic, settings: ServiceSettings | None = None) -> None:
        where = settings or self.settings
        deadline = time.monotonic() + 120
        while await committed(where, group) < await length(where, topic):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{group} lags behind")
            await asyncio.sleep(0.2)

    # --- the proof

    async def judge_sends(self) -> None:
        """The simulator's own ledger is the truth about what was sent."""
        async with (
            aiohttp.ClientSession(raise_for_status=True) as http,
            http.get(f"{self.sim}/ledger?calls=0") as answer,
        ):
            commands: dict[str, dict[str, int]] = (await answer.json())["commands"]
        by_request: defaultdict[str, int] = defaultdict(int)
        for command, counts in commands.items():
            by_request[command.rpartition("#")[0]] += counts["calls"]
        for request, calls in by_request.items():
            if calls > 1:
                self.report.duplicate_sends[self.requests[request]] += 1

    async def judge_tallies(self) -> None:
        """The Faust tallies agree with the ledger, month by month and category by category."""
        entries = _unique(await read_all(self.settings, BILLING_CHARGES))
        wanted: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(
            lambda: defaultdict(lambda: [0, 0, 0])
        )
        for row in entries.values():
            entry = msgspec.json.decode(row.value, type=LedgerEntry)
            sums = wanted[entry.month][entry.category]
            sums[0 if entry.free else 1] += entry.counts
            sums[2] += entry.amount_micros
        base = f"http://127.0.0.1:{self.system.ports.tallies}/v1/tallies/{load.WABA}"
        deadline = time.monotonic() + 60
        while True:
            wrong = 0
            async with aiohttp.ClientSession(raise_for_status=True) as http:
                for month, categories in wanted.items():
                    async with http.get(f"{base}/{month}") as answer:
                        found = await answer.json()
                    wrong += sum(_tallied(found, name) != sums for name, sums in categories.items())
            if not wrong or time.monotonic() > deadline:
                self.report.wrong_tallies = wrong
                return
            await asyncio.sleep(0.5)

    async def judge_against_an_undisturbed_run(self) -> None:
        """Fold the same log again, undisturbed, and compare states, events and ledger."""
        self.say("folding the same log again, undisturbed")
        calm = {**self.system.settings, "WA_TOPIC_PREFIX": "calm.", "WA_REDIS_NAMESPACE": "calm"}
        calm["WA_CLOCK_FILE"] = str(self.system.stack.directory / "calm-clock")
        FileClock(
            self.system.stack.directory / "calm-clock", start=_LONG_AGO
        )  # its own timers never come due
        settings = settings_of(calm)
        await create_topics(calm)
        await _copy(settings, ACCOUNT_EVENTS, await read_all(self.settings, ACCOUNT_EVENTS))
        rows = await read_all(self.settings, CONVERSATION_EVENTS)
        self.report.events = len(rows)
        async with self._calm("router", calm):
            # Act by act: whether an uncertain message is sent once more rests on what was heard in all partitions by then.
            for act in _acts(rows, self.acts):
                await _copy(settings, CONVERSATION_EVENTS, act)
                await self._caught_up("router", CONVERSATION_EVENTS, settings)
        async with self._calm("billing", calm):
            await self._caught_up("ledger", SEND_EVENTS, settings)
        self.report.differing_states = _differing(await _states(self.settings), await _states(settings))
        for topic in (SEND_EVENTS, BILLING_CHARGES):
            disturbed, undisturbed = await read_all(self.settings, topic), await read_all(settings, topic)
            unique = _unique(disturbed)
            self.report.duplicated_effects += sum(
                (row.key, row.value) != (first.key, first.value)
                for row in disturbed
                for first in (unique[row.headers["ce_id"]],)
            )
            differing = _differing(_values(unique), _values(_unique(undisturbed)))
            if topic is SEND_EVENTS:
                self.report.differing_events = differing
                self.report.uncertain = sum(_is_uncertain(row) for row in unique.values())
            else:
                self.report.wrong_charges = differing

    @asynccontextmanager
    async def _calm(self, name: str, calm: dict[str, str]) -> AsyncIterator[None]:
        """A service of the undisturbed run."""
        env = {**self.system.specs[name].env, **calm, "WA_METRICS_PORT": "0"}
        process = ServiceProcess(name, env, self.system.log_dir, instance=f"{name}-calm")
        await process.start()
        yield
        await process.stop()


def _acts(rows: list[Row], act_ends: list[dict[int, int]]) -> Iterator[list[Row]]:
    """The rows of each act, and what came after the last one."""
    nth: Counter[int] = Counter()
    acts: list[list[Row]] = [[] for _ in range(len(act_ends) + 1)]
    for row in rows:
        act = sum(nth[row.partition] >= end[row.partition] for end in act_ends)
        acts[act].append(row)
        nth[row.partition] += 1
    yield from acts


async def _copy(settings: ServiceSettings, topic: Topic, rows: list[Row]) -> None:
    """Append records where they were, in the order they were."""
    producer = kafka.producer(settings, linger_ms=5)
    await producer.start()
    try:
        name = kafka.name_of(topic, settings)
        for row in rows:
            await producer.send(
                name, row.value, key=row.key, partition=row.partition, headers=list(row.headers.items())
            )
        await producer.flush()
    finally:
        await producer.stop()


async def _states(settings: ServiceSettings) -> dict[bytes, bytes]:
    redis = Redis.from_url(settings.redis_url)
    found: dict[bytes, bytes] = {}
    for partition in range(settings.partitions):
        keys = Keys(settings.redis_namespace, "router", partition)
        found |= cast(dict[bytes, bytes], await redis.hgetall(keys.state))
    await redis.aclose()
    return found


def _unique(rows: list[Row]) -> dict[bytes, Row]:
    unique: dict[bytes, Row] = {}
    for row in rows:
        unique.setdefault(row.headers["ce_id"], row)
    return unique


def _values(rows: dict[bytes, Row]) -> dict[bytes, bytes]:
    return {id: row.value for id, row in rows.items()}


def _differing(one: dict[bytes, T], other: dict[bytes, T]) -> int:
    return sum(one.get(key) != other.get(key) for key in one.keys() | other.keys())


def _is_uncertain(row: Row) -> bool:
    event: SendEvent = events.decode_send_event(row.value)
    return event.event == "uncertain"


def _tallied(tally: dict[str, Any], category: str) -> list[int]:
    """[free, paid, micros] of a category in an answer of the tallies."""
    totals = tally["totals"].get(category, {"free": 0, "paid": 0, "micros": {}})
    return [totals["free"], totals["paid"], sum(totals["micros"].values())]
