"""A whole system of its own for the cases, its clock standing still before the first of them begins."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from deploy.local.stack import LocalStack
from deploy.local.system import LocalSystem
from deploy.local.topics import create_topics
from shared.clock import FileClock
from shared.times import from_ms
from tests.cases.form import Case
from tests.cases.system.outside import Outside

READY_WITHIN_S: Final = 120.0
"""Bound of each service's start on a busy machine."""


@asynccontextmanager
async def running(cases: Sequence[Case]) -> AsyncIterator[Outside]:
    """The system, seen from outside; it is stopped at the end.

    Raises:
        StackError: it did not start.
    """
    start = from_ms(min(case.start_ms for case in cases)) - timedelta(minutes=1)
    clocks: list[FileClock] = []

    async def prepare(settings: Mapping[str, str]) -> None:
        clock = FileClock(settings["WA_CLOCK_FILE"], start)
        clock.stand(start + timedelta(seconds=1))
        clocks.append(clock)
        await create_topics(settings)

    stack = LocalStack(name="cases", appendfsync="always", environ={})
    async with (
        LocalSystem(stack, prepare, ready_within_s=READY_WITHIN_S) as system,
        Outside(system, clocks[0]) as outside,
    ):
        yield outside
