"""One run: a steady load through the whole system while its senders die at every moment of a send; then the verdict from the fake Meta's ledger."""

import asyncio
from collections.abc import Callable
from time import monotonic

from deploy.local.demo.simulator import Simulator
from deploy.local.services import service_specs
from deploy.local.stack import LocalStack
from deploy.local.system import LocalSystem
from deploy.local.topics import create_topics
from shared.clock import Clock, FileClock
from tests.chaos.business import introduce, settings_of
from tests.chaos.sends.crew import Crew, Watching
from tests.chaos.sends.measuring import all_served, calls, two_senders
from tests.chaos.sends.owners import Owners
from tests.chaos.sends.plan import NUMBERS, Plan, lives
from tests.chaos.sends.report import Report
from tests.chaos.sends.traffic import Traffic
from tests.chaos.sends.verdict import judge

SERVICES = ("simulator", "ingress", "ingress.intake", "router")
SESSION_S = 3.0
"""Of the senders, so that a zombie costs seconds."""
SENDER = {"WA_CALL_TIMEOUT_S": "2"}
"""A call is given up soon, so that its claim is."""
OPTIONS: dict[str, object] = {"delay_s": 0.2, "batch": 50, "duplicate": 0.02, "shuffle": True}
SETTLES_S = (20 * 60.0, 20 * 60.0, 5 * 3600.0, 25 * 3600.0)
"""How far the clock is moved, one time after the other: longer than the router waits for the outcome of an uncertain send, twice, for a second attempt may be
uncertain too; then beyond the time of a template, and of a window, for numbers of which no later status comes."""
ENDED_WITHIN_S = 60.0
STILL_S = 10.0
"""Without a word for so long, no more comes until the clock is moved."""
LOOK_S = 0.25


async def run(plan: Plan, watching: Watching) -> Report:
    """Play the plan on a stack of its own.

    Raises:
        TimeoutError: a moment of a send did not come, or the system stands still; the text says what.
        StackError: a service did not start, or ended by itself.
    """
    began = monotonic()
    report = Report(plan)
    watching.doing("starting Kafka, Redis, router, ingress and the fake Meta")
    async with LocalStack(name="crashes", appendfsync="always") as stack:
        extra = {"WA_LOG_LEVEL": "warning"}
        system = LocalSystem(stack, create_topics, extra=extra, names=SERVICES, own_stack=False)
        async with system:
            await _trial(plan, system, report, watching)
    report.seconds = monotonic() - began
    return report


async def _trial(plan: Plan, system: LocalSystem, report: Report, watching: Watching) -> None:
    clock = FileClock(system.stack.directory / "clock")
    settings = settings_of(system.settings)
    meta = Simulator(f"http://127.0.0.1:{system.ports.simulator}")
    production = service_specs(system.settings, system.ports, ("sender",))[0].env
    owners = Owners(settings)
    crew = Crew(plan.senders, {**production, **SENDER}, system.log_dir, SESSION_S, owners, watching)
    await meta.start()
    try:
        await introduce(
            settings,
            f"http://127.0.0.1:{system.ports.simulator}/sim",
            NUMBERS,
            {**OPTIONS, "seed": plan.seed},
        )
        async with Traffic(settings, meta, plan.seed, plan.per_s) as traffic:
            watching.doing("senders die at every moment of a send")
            await crew.live(lives(plan), plan.seed)
            if plan.at_default_settings:
                watching.doing("a takeover and a stop with the settings of production")
                await crew.stop()
                async with two_senders(production, system.log_dir, meta, clock) as measured:
                    report.measured = measured
                    await _settle(traffic, meta, clock, watching)
            else:
                await _settle(traffic, meta, clock, watching)
            await crew.stop()
            received = await calls(meta)
            report.crashes, report.zombies = crew.crashes, crew.zombies
            report.answers_lost = traffic.answers_lost
            report.takeovers_s = crew.takeovers_s
            report.verdict = judge(traffic.asked.values(), traffic.told, received)
    finally:
        crew.kill_all()
        await owners.stop()
        await meta.stop()


async def _settle(traffic: Traffic, meta: Simulator, clock: Clock, watching: Watching) -> None:
    """Wait for the last word on each request: first those that are certain, then, the clock moved, the others."""
    watching.doing("waiting for every request to end")
    # The router sends once more only where statuses of later sends of the number have come.
    await all_served(meta, clock.time())
    await traffic.end()
    await _until_open(traffic, lambda id: not traffic.uncertain(id))
    await meta.quiet(ENDED_WITHIN_S)
    for advance_s in SETTLES_S:
        if not await traffic.open():
            return
        await meta.call("POST", "/sim/clock", {"advance_s": advance_s})
        await _until_open(traffic, lambda id: True)


async def _until_open(traffic: Traffic, matters: Callable[[str], bool]) -> None:
    """Wait until no open request matters, or nothing more is said of any; the verdict says what is still open."""
    until_s, words, since_s = monotonic() + ENDED_WITHIN_S, 0, monotonic()
    while any(map(matters, await traffic.open())) and monotonic() < min(until_s, since_s + STILL_S):
        if traffic.words != words:
            words, since_s = traffic.words, monotonic()
        await asyncio.sleep(LOOK_S)
