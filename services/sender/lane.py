"""The dispatch of one partition: keeps its numbers' windows filled, sends what may go, takes up what others left.

Reading path: `run` (look, then send), `_look` (what is there), `pump` (who goes), `_send` (one command, by sending.py).
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import structlog

from services.sender import sending
from services.sender.desk import Desk
from services.sender.entry import ROUTER_DEADLINE_MS, Stored, command_of
from services.sender.intake import EXPIRY, UNREPORTED, queue
from services.sender.journal import Claimed, Held, Place, Survey
from services.sender.judge import uncertain
from services.sender.records import Records
from services.sender.schedule import Candidate, Schedule

log = structlog.get_logger(__name__)

WINDOW = 256
"""Commands of one number and priority that are in memory at once."""
LOW_WATER = WINDOW // 2
AT_ONCE = 200
"""Commands handled per look in each of the smaller sets."""
TICK_S = 0.25
"""How often a lane that nobody wakes looks."""


@dataclass(slots=True)
class NumberLane:
    """One number in this partition."""

    id: str
    schedule: Schedule = field(default_factory=Schedule)
    claiming: int = 0
    """Commands between their claim and their call."""
    waiting: dict[int, int] = field(default_factory=dict)
    """Commands in each priority's queue at the last look."""


class Lane:
    """One partition held with one epoch. It ends by itself when the epoch is lost; calls in flight go on."""

    def __init__(self, partition: int, epoch: int, desk: Desk) -> None:
        self.partition = partition
        self.epoch = epoch
        self.wake = asyncio.Event()
        self.survey: Survey | None = None
        self.over = False
        """Ended, and whoever must know does."""
        self._alive = True
        self._desk = desk
        self._journal = desk.journal
        self._records = Records(partition, epoch, desk, self._lost)
        self._numbers: dict[str, NumberLane] = {}

    async def run(self) -> None:
        """Serve until the partition is lost or the process stops."""
        for (number, user), count in (await self._journal.lines(self.partition)).items():
            self._number(number).schedule.lines[user] = count
        while self._serving():
            self.wake.clear()
            await self._look()
            self.pump()
            if self._serving():
                await self._rest()

    def end(self) -> None:
        """Claim nothing more."""
        self._alive = False
        self.wake.set()

    def _serving(self) -> bool:
        return self._alive and not self._desk.stopping

    def _number(self, id: str) -> NumberLane:
        return self._numbers.setdefault(id, NumberLane(id))

    async def _lost(self) -> None:
        if self._alive:
            log.warning("lane_lost", partition=self.partition, epoch=self.epoch)
            self.end()
            await self._desk.ownership.doubt(self.partition, self.epoch)
            self.over = True

    async def _rest(self) -> None:
        dues = [
            due for number in self._numbers.values() if (due := number.schedule.next_due_ms()) is not None
        ]
        rest_s = TICK_S if not dues else min(TICK_S, max(0.001, (min(dues) - self._desk.now_ms()) / 1000))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wake.wait(), rest_s)

    # --- looking

    async def _look(self) -> None:
        survey = await self._journal.survey(self.partition, self.epoch, self._desk.now_ms(), AT_ONCE)
        if survey is None:
            await self._lost()
            return
        self.survey = survey
        await self._take_up(survey.unreported)
        await self._expire(survey.expiring)
        for found in await self._journal.fetch(self.partition, survey.delayed):
            await self._records.wait_again(found)
        for number in self._numbers.values():
            number.waiting.clear()
        for id, priority, waiting in survey.queues:
            self._number(id).waiting[priority] = waiting
            await self._load(self._number(id), priority, waiting)
        for number in list(self._numbers.values()):
            await self._next_in_line(number)
            if number.schedule.idle and not number.waiting:
                del self._numbers[number.id]
        if survey.delayed or len(survey.expiring) == AT_ONCE:
            self.wake.set()

    async def _load(self, number: NumberLane, priority: int, waiting: int) -> None:
        """Fill the window from the head of the number's queue."""
        window = number.schedule.window(priority)
        if len(window) >= LOW_WATER or waiting <= len(window):
            return
        ids, offset = await self._journal.head(self.partition, number.id, priority, len(window) + WINDOW)
        full = len(ids) == len(window) + WINDOW
        fresh = [id for id in ids if id not in window and id not in self._desk.in_flight]
        if not fresh or not await self._settled(offset):
            return
        stored = {found.id: found for found in await self._journal.fetch(self.partition, fresh)}
        for id in fresh:
            found = stored.get(id)
            if id in self._desk.in_flight:
                continue
            if found is None or not found.entry.unsent:
                await self._records.put(id, found, Place(queue(number.id, priority), id, None))
                continue
            aside = number.schedule.offer(Candidate(found, command_of(found.entry)))
            if aside is not None:
                await self._line_up(number, aside)
        if full and len(number.schedule.window(priority)) < LOW_WATER:
            self.wake.set()

    async def _settled(self, offset: int) -> bool:
        """Wait until Kafka too knows of what was just read: a command that it would deliver once more must not be sent yet."""
        while self._serving():
            if self._desk.ownership.published(self.partition) >= offset:
                return True
            await asyncio.sleep(0.002)
        return False

    async def _line_up(self, number: NumberLane, candidate: Candidate) -> None:
        number.schedule.lined_up(candidate.user)
        await self._records.line_up(candidate.found, candidate.command)

    async def _next_in_line(self, number: NumberLane) -> None:
        for user in number.schedule.due(self._desk.now_ms())[:AT_ONCE]:
            id = await self._journal.first_in_line(self.partition, number.id, user)
            if id is None:
                number.schedule.lines.pop(user, None)
                continue
            if id in self._desk.in_flight:
                continue
            found = await self._journal.fetch(self.partition, [id])
            if found and found[0].entry.unsent:
                number.schedule.offer_head(Candidate(found[0], command_of(found[0].entry)))

    async def _expire(self, ids: tuple[str, ...]) -> None:
        """End commands whose time has run out, drop tombstones whose time has come."""
        stored = {found.id: found for found in await self._journal.fetch(self.partition, ids)}
        for id in ids:
            found = stored.get(id)
            if id in self._desk.in_flight:
                continue
            if found is None:
                await self._records.put(id, None, Place(EXPIRY, id, None))
            elif found.entry.finished:
                await self._records.forget(found)
            elif found.entry.unsent:
                command = command_of(found.entry)
                self._number(command.phone_number_id).schedule.withdraw(command.user, id)
                self._work(id, self._records.end(found, sending.too_late(self._desk, found)))

    async def _take_up(self, ids: tuple[str, ...]) -> None:
        """Report what an earlier owner, or a lost journal, left unreported."""
        ours = [id for id in ids if id not in self._desk.in_flight]
        stored = {found.id: found for found in await self._journal.fetch(self.partition, ours)}
        for id in ours:
            found = stored.get(id)
            if id in self._desk.in_flight:
                continue
            if found is None or found.entry.finished or found.entry.unsent:
                await self._records.put(id, found, Place(UNREPORTED, id, None))
            elif found.entry.outcome is not None:
                self._work(id, self._records.report(found))
            elif found.entry.status == "claimed":
                if self._desk.now_ms() < found.entry.claimed_ms + self._desk.claim_grace_ms:
                    continue  # its owner may be alive, and about to report what we can only guess
                self._work(id, self._records.end(found, uncertain(id, "crash", self._desk.now_ms())))
            elif self._desk.now_ms() > found.entry.valid_until_ms + ROUTER_DEADLINE_MS:
                await self._records.forget(found)
            else:
                self._work(id, self._records.end(found, uncertain(id, "journal_lost", self._desk.now_ms())))

    # --- sending

    def pump(self) -> None:
        """Start all commands that may go now."""
        for number in self._numbers.values():
            while self._may_start(number) and (candidate := number.schedule.best()) is not None:
                command = candidate.command
                if not self._desk.permits.may_go(command):
                    break
                number.schedule.fly(candidate)
                until_ms = self._desk.permits.template_waits_until(command)
                if until_ms is not None:
                    self._work(candidate.found.id, self._postpone(number, candidate, until_ms))
                    continue
                number.claiming += 1
                self._desk.calls += 1
                self._work(candidate.found.id, self._send(number, candidate))
            for priority, waiting in number.waiting.items():
                if waiting > WINDOW and len(number.schedule.window(priority)) < LOW_WATER:
                    number.waiting[priority] = 0  # asked for; the next look says what is left
                    self.wake.set()

    def _may_start(self, number: NumberLane) -> bool:
        desk = self._desk
        return (
            self._serving()
            # One call is always allowed: busy numbers must not starve a quiet one.
            and (desk.calls < desk.max_in_flight or number.schedule.flying == 0)
            and number.schedule.flying < desk.max_in_flight_per_number
            and number.claiming < desk.gate(number.id).ahead(desk.throughput(number.id), monotonic())
            and number.claiming < desk.permits.room(number.id)
        )

    def _work(self, id: str, work: Coroutine[Any, Any, None]) -> None:
        self._desk.in_flight.add(id)
        self._desk.spawn(self._worked(id, work), f"send-{self.partition}")

    async def _worked(self, id: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._desk.in_flight.discard(id)

    async def _send(self, number: NumberLane, candidate: Candidate) -> None:
        """One command, from claim to report; its user is free for the next one as soon as the outcome is recorded."""
        held_until_ms, recorded = None, None
        try:
            match prepared := await self._prepare(number, candidate):
                case Claimed():
                    recorded = await sending.call(self._desk, self._records, candidate, prepared)
                case Held(until_ms):
                    held_until_ms = until_ms
                    if not candidate.lined:
                        await self._line_up(number, candidate)
                case Stored():
                    recorded = prepared
        finally:
            self._desk.calls -= 1
            self._land(number, candidate, held_until_ms)
        if recorded is not None:
            await self._records.report(recorded)

    async def _prepare(self, number: NumberLane, candidate: Candidate) -> Claimed | Held | Stored | None:
        try:
            return await sending.prepare(self._desk, self._records, candidate, self._serving)
        finally:
            if candidate.lined and not candidate.found.entry.unsent:
                number.schedule.left_line(candidate.user)
            number.claiming -= 1
            self.pump()

    async def _postpone(self, number: NumberLane, candidate: Candidate, until_ms: int) -> None:
        try:
            await self._records.postpone(candidate.found, candidate.command, until_ms)
            if candidate.lined:
                number.schedule.left_line(candidate.user)
        finally:
            self._land(number, candidate)

    def _land(self, number: NumberLane, candidate: Candidate, held_until_ms: int | None = None) -> None:
        number.schedule.land(candidate, held_until_ms)
        if candidate.user in number.schedule.lines:
            self.wake.set()
        self.pump()
