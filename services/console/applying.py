"""Applies an accounts file or a pause: read the facts, compare, publish the difference; for CLI and admin API."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from services.console.document import AccountsDocument
from services.console.pausing import Pause, pause_event
from services.console.plan import Applied as Applied
from services.console.plan import Plan, difference
from shared.accounts import AccountFacts
from shared.clock import Clock
from shared.events import AccountChanged


class AccountEvents(Protocol):
    """Where account events are kept."""

    async def read(self) -> AccountFacts: ...
    async def publish(self, events: Sequence[AccountChanged]) -> int: ...


class Applier:
    """Applies files one after the other."""

    def __init__(self, events: AccountEvents, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def plan(self, document: AccountsDocument, *, force: bool = False) -> Plan:
        """What applying the file would change now. Raises KafkaError."""
        facts = await self._events.read()
        return difference(document, facts, int(self._clock.time() * 1000), force=force)

    async def carry_out(self, plan: Plan) -> Applied:
        """Publish a plan's events; a plan with conflicts has none. Raises KafkaError."""
        revision = await self._events.publish(plan.events) if plan.events else plan.revision
        return Applied(plan, len(plan.events), revision)

    async def apply(self, document: AccountsDocument, *, force: bool, dry_run: bool) -> Applied:
        """Plan, and carry the plan out unless it is a dry run. Raises KafkaError."""
        async with self._one_at_a_time:
            plan = await self.plan(document, force=force)
            return Applied(plan, 0, plan.revision) if dry_run else await self.carry_out(plan)

    async def pause(self, pause: Pause) -> tuple[bool, int]:
        """Pause or resume; whether that changed anything, and the revision after it. Raises UnknownSubject, KafkaError."""
        async with self._one_at_a_time:
            facts = await self._events.read()
            event = pause_event(pause, facts, int(self._clock.time() * 1000))
            return (False, facts.revision) if event is None else (True, await self._events.publish([event]))
