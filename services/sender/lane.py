"""The dispatch of one partition: keeps its numbers' windows filled, sends what may go, takes up what others left.

Reading path: `run` (look, then send), `_look` (what is there), `pump` (who goes), `_send` (one command, by sending.py).
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import structlog

from services.sender import sending
from services.sender.desk import Desk
from services.sender.entry import ROUTER_DEADLINE_MS, Stored, command_of
from services.sender.gate import Gate
from services.sender.intake import CANCELLED, EXPIRY, UNREPORTED, in_queue, queue
from services.sender.journal import Held, Place, Survey, Waiting, Write
from services.sender.judge import End, cancelled, turned_away, uncertain
from services.sender.records import Records, forgotten, moved, waiting_again
from services.sender.schedule import Candidate, Lot, Schedule
from services.sender.sending import Ready
from services.sender.together import MOST
from shared.backlog import Load, Note

log = structlog.get_logger(__name__)

WINDOW = 256
"""Commands of one number and priority that are in memory at once."""
LOW_WATER = WINDOW // 2
LOOKS = (WINDOW, *[4 * WINDOW] * 19)
"""Commands of a queue read by name, turn by turn: mostly each is another user's and the first turn is enough. After the last one other numbers have theirs."""
AT_ONCE = 200
"""Commands handled per look in each of the smaller sets."""
TICK_S = 0.25
"""How often a lane that nobody wakes looks."""
MOST_AHEAD_S = 4 * 3600
"""What a number can't send within so long, everything more urgent first, is turned away."""


@dataclass(slots=True, eq=False)
class NumberLane:
    """One number in this partition."""

    id: str
    gate: Gate
    schedule: Schedule = field(default_factory=Schedule)
    claiming: int = 0
    """Commands at the gate, or between it and their call."""
    stalled: bool = False
    """Whether it would have started more calls, had others ended."""
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
        self._continued = desk.ownership.continued(partition)
        self._numbers: dict[str, NumberLane] = {}
        self._since_s = monotonic()
        self._postponed: dict[str, str] = {}
        """Command id → number, of those that are set aside: their template is paused, or their category and others of their user wait."""
        self._recorded: list[Stored] = []
        """Outcomes to report."""
        self._reporting = False
        self._task = f"send-{partition}"

    async def run(self) -> None:
        """Serve until the partition is lost or the process stops."""
        for (id, user), count in (await self._journal.lines(self.partition)).items():
            self._number(id).schedule.lines[user] = count
        while self._serving():
            self.wake.clear()
            await self._look()
            for number in list(self._numbers.values()):
                self._let(number)
            if self._serving():
                await self._rest()

    def backlog(self) -> Note | None:
        """What each number has to send, lines and pauses included; None until the first look."""
        if self.survey is None or not self._serving():
            return None
        messages = Counter(self._postponed.values())
        for id, _, waiting in self.survey.queues:
            messages[id] += waiting
        for number in self._numbers.values():
            messages[number.id] += sum(number.schedule.lines.values())
        return Note(
            self.survey.offset,
            {id: Load(count, self._desk.gate(id).limit) for id, count in messages.items() if count > 0},
        )

    def end(self) -> None:
        """Claim nothing more."""
        self._alive = False
        for number in self._numbers.values():
            number.gate.dismiss()
        self.wake.set()

    def _serving(self) -> bool:
        return self._alive and not self._desk.stopping

    def _number(self, id: str) -> NumberLane:
        number = self._numbers.get(id)
        if number is None:
            number = self._numbers[id] = NumberLane(id, self._desk.gate(id))
            if not self._continued:
                number.gate.taken_over(self._since_s)
        return number

    async def _lost(self) -> None:
        if self._alive:
            log.warning("lane_lost", partition=self.partition, epoch=self.epoch)
            self.end()
            await self._desk.ownership.doubt(self.partition, self.epoch)
            self.over = True

    async def _rest(self) -> None:
        dues = [due for one in self._numbers.values() if (due := one.schedule.next_due_ms()) is not None]
        rest_s = TICK_S if not dues else min(TICK_S, max(0.001, (min(dues) - self._desk.now_ms()) / 1000))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest_s):
                await self.wake.wait()

    # --- looking

    async def _look(self) -> None:
        survey = await self._journal.survey(self.partition, self.epoch, self._desk.now_ms(), AT_ONCE)
        if survey is None:
            await self._lost()
            return
        self.survey = survey
        await self._take_up(survey.unreported)
        await self._expire(survey.expiring)
        await self._cancel(survey.cancelled)
        waited = await self._journal.fetch(self.partition, survey.delayed)
        await self._records.write(*map(waiting_again, waited))
        for found in waited:
            self._postponed.pop(found.id, None)
        for number in self._numbers.values():
            number.waiting.clear()
        for id, priority, waiting in survey.queues:
            number = self._number(id)
            number.waiting[priority] = waiting
            await self._load(number, priority, waiting)
            self._let(number)  # at once: hundreds of queues may still be to be looked at
        for number in self._numbers.values():
            await self._turn_away(number)
        for number in list(self._numbers.values()):
            await self._next_in_line(number)
            self._make_way(number)
            if number.schedule.idle and not number.waiting:
                del self._numbers[number.id]
        if survey.delayed or AT_ONCE in (len(survey.expiring), len(survey.cancelled)):
            self.wake.set()

    async def _load(self, number: NumberLane, priority: int, waiting: int) -> None:
        """Fill the window from the head of the number's queue; whoever stands behind another of his user steps aside, looked at by name only."""
        for ahead in LOOKS:
            window = number.schedule.window(priority)
            if len(window) >= LOW_WATER or waiting <= len(window):
                return
            most = len(window) + ahead
            heads, offset = await self._journal.head(self.partition, number.id, priority, most)
            fresh = [one for one in heads if one.id not in window and one.id not in self._desk.in_flight]
            if not fresh or not await self._settled(offset):
                return
            first: dict[str, Waiting] = {}
            aside = []
            for one in fresh:
                if one.party in first or number.schedule.behind(one.party, (priority, one.at_ms, one.id)):
                    aside.append(one)
                elif len(first) < WINDOW:
                    first[one.party] = one
            if aside:
                await self._line_up(number, priority, aside)
            await self._offer(number, priority, list(first.values()))
            if len(heads) < most:
                return
            waiting -= len(aside)
        self.wake.set()

    async def _offer(self, number: NumberLane, priority: int, waiting: Sequence[Waiting]) -> None:
        stored = {
            found.id: found
            for found in await self._journal.fetch(self.partition, [one.id for one in waiting])
        }
        strays: list[Write] = []
        for one in waiting:
            found = stored.get(one.id)
            if one.id in self._desk.in_flight:
                continue
            if found is None or not found.entry.unsent:
                place = Place(queue(number.id, priority), in_queue(one.party, one.id), None)
                strays.append(moved(one.id, found, place))
                continue
            back = number.schedule.offer(Candidate(found, command_of(found.entry)))
            if back is not None:
                command = back.command
                await self._line_up(
                    number, command.priority, [Waiting(command.user, command.command_id, command.at_ms)]
                )
        await self._records.write(*strays)

    async def _settled(self, offset: int) -> bool:
        """Wait until Kafka too knows of what was just read: a command that it would deliver once more must not be sent yet."""
        while self._serving():
            if self._desk.ownership.published(self.partition) >= offset:
                return True
            await asyncio.sleep(0.002)
        return False

    async def _line_up(self, number: NumberLane, priority: int, waiting: Sequence[Waiting]) -> None:
        for one in waiting:
            number.schedule.lined_up(one.party)
        if not await self._journal.line_up(self.partition, self.epoch, number.id, priority, waiting):
            await self._lost()

    async def _next_in_line(self, number: NumberLane) -> None:
        users = number.schedule.due(self._desk.now_ms())[:AT_ONCE]
        if not users:
            return
        heads = await self._journal.first_in_lines(self.partition, number.id, users)
        for user, id in zip(users, heads, strict=True):
            if id is None:
                number.schedule.lines.pop(user, None)
        ids = [id for id in heads if id is not None and id not in self._desk.in_flight]
        for found in await self._journal.fetch(self.partition, ids):
            if found.entry.unsent and found.id not in self._desk.in_flight:
                number.schedule.offer_head(Candidate(found, command_of(found.entry)))

    async def _expire(self, ids: tuple[str, ...]) -> None:
        """End commands whose time has run out, drop tombstones whose time has come."""
        stored = {found.id: found for found in await self._journal.fetch(self.partition, ids)}
        over: list[Write] = []
        for id in ids:
            found = stored.get(id)
            if id in self._desk.in_flight:
                continue
            if found is None:
                over.append(moved(id, None, Place(EXPIRY, id, None)))
            elif found.entry.finished:
                over.append(forgotten(found))
            elif found.entry.unsent:
                self._end_unsent(found, sending.too_late(self._desk, found))
        await self._records.write(*over)

    async def _take_up(self, ids: tuple[str, ...]) -> None:
        """Report what an earlier owner, or a lost journal, left unreported."""
        ours = [id for id in ids if id not in self._desk.in_flight]
        stored = {found.id: found for found in await self._journal.fetch(self.partition, ours)}
        over: list[Write] = []
        for id in ours:
            found = stored.get(id)
            if id in self._desk.in_flight:
                continue
            if found is None or found.entry.finished or found.entry.unsent:
                over.append(moved(id, found, Place(UNREPORTED, id, None)))
            elif found.entry.outcome is not None:
                self._work(id, self._records.report([found]))
            elif found.entry.status == "claimed":
                if self._desk.now_ms() < found.entry.claimed_ms + self._desk.claim_grace_ms:
                    continue  # its owner may be alive, and about to report what we can only guess
                self._work(id, self._records.end(found, uncertain(id, "crash", self._desk.now_ms())))
            elif self._desk.now_ms() > found.entry.valid_until_ms + ROUTER_DEADLINE_MS:
                over.append(forgotten(found))
            else:
                self._work(id, self._records.end(found, uncertain(id, "journal_lost", self._desk.now_ms())))
        await self._records.write(*over)

    async def _cancel(self, ids: tuple[str, ...]) -> None:
        """End commands that were taken back, unless they are on their way: then their outcome decides whether there is anything left to take back."""
        stored = {found.id: found for found in await self._journal.fetch(self.partition, ids)}
        over: list[Write] = []
        for id in ids:
            found = stored.get(id)
            if id in self._desk.in_flight:
                continue
            if found is None or found.entry.outcome is not None or found.entry.finished:
                over.append(moved(id, found, Place(CANCELLED, id, None)))
            elif found.entry.unsent:
                self._end_unsent(found, cancelled(id, self._desk.now_ms()))
        await self._records.write(*over)

    async def _turn_away(self, number: NumberLane) -> None:
        """Give back what came last of more than the number can send in time: who asked learns it now rather than in hours."""
        # Not of the pace of the moment: what slows a number for a while is over long before.
        left = self._desk.throughput(number.id) * MOST_AHEAD_S
        now_ms = self._desk.now_ms()
        for priority, waiting in sorted(number.waiting.items()):
            excess, left = waiting - left, max(0, left - waiting)
            if excess <= 0:
                continue
            last = await self._journal.tail(self.partition, number.id, priority, min(excess, AT_ONCE))
            for found in await self._journal.fetch(self.partition, [one.id for one in last]):
                if found.id not in self._desk.in_flight and found.entry.unsent:
                    self._end_unsent(found, turned_away(found.id, now_ms, now_ms + MOST_AHEAD_S * 1000))
            if excess > AT_ONCE:
                self.wake.set()

    def _end_unsent(self, found: Stored, end: End) -> None:
        command = command_of(found.entry)
        self._postponed.pop(found.id, None)
        self._number(command.phone_number_id).schedule.withdraw(command)
        self._work(found.id, self._records.end(found, end))

    # --- sending

    def pump(self, number: NumberLane) -> None:
        """Start all commands of a number that may go now."""
        desk, schedule = self._desk, number.schedule
        ahead, room = number.gate.ahead, desk.permits.room(number.id)
        number.stalled = ahead == 0
        passed_over: set[Lot] = set()
        while number.claiming < ahead and self._serving():
            candidate = schedule.best(passed_over)
            if candidate is None:
                break
            command = candidate.command
            held = desk.permits.held(command)
            if held == "number":
                break
            if held == "category":
                passed_over.add(candidate.lot)
                continue
            until_ms = desk.permits.waits_until(command, len(self._postponed))
            if until_ms is not None:
                self._set_aside(number, candidate, until_ms)
                continue
            # One call is always allowed: busy numbers must not starve a quiet one.
            crowded = bool(schedule.flying) and not desk.shares.room(command.waba_id, command.priority)
            if crowded or number.claiming >= room:
                number.stalled = True
                if crowded or not schedule.flying:  # it is others' calls that must end, not ours
                    desk.wanting.setdefault(number, partial(self.pump, number))
                break
            schedule.fly(candidate)
            number.claiming += 1
            desk.shares.begin(command.waba_id)
            desk.in_flight.add(candidate.found.id)
            desk.spawn(self._send(number, candidate), self._task)
        for priority, waiting in number.waiting.items():
            if waiting > WINDOW and len(number.schedule.window(priority)) < LOW_WATER:
                number.waiting[priority] = 0  # asked for; the next look says what is left
                self.wake.set()

    def _let(self, number: NumberLane) -> None:
        self._desk.let(number, partial(self.pump, number))

    def _work(self, id: str, work: Coroutine[Any, Any, None]) -> None:
        self._desk.in_flight.add(id)
        self._desk.spawn(self._worked(id, work), self._task)

    async def _worked(self, id: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._desk.in_flight.discard(id)

    def _report(self, recorded: Stored) -> None:
        """Report it with what else was recorded until Kafka is free to hear of it."""
        self._recorded.append(recorded)
        if not self._reporting:
            self._reporting = True
            self._desk.spawn(self._report_all(), self._task)

    async def _report_all(self) -> None:
        while self._recorded:
            now, self._recorded = self._recorded[:MOST], self._recorded[MOST:]
            await self._records.report(now)
            self._desk.in_flight.difference_update(found.id for found in now)
        self._reporting = False

    async def _send(self, number: NumberLane, candidate: Candidate) -> None:
        """One command, from claim to its recorded outcome, which leaves its user free for the next one."""
        held_until_ms, recorded = None, None
        try:
            match prepared := await self._prepare(number, candidate):
                case Ready():
                    recorded = await sending.call(self._desk, self._records, candidate, prepared)
                case Held(until_ms):
                    held_until_ms = until_ms
                    if not candidate.lined:
                        command = candidate.command
                        waiting = Waiting(command.user, command.command_id, command.at_ms)
                        await self._line_up(number, command.priority, [waiting])
                case Stored():
                    recorded = prepared
        finally:
            self._desk.shares.end(candidate.command.waba_id)
            self._land(number, candidate, held_until_ms)
            if recorded is None:
                self._desk.in_flight.discard(candidate.found.id)
            else:
                self._report(recorded)

    async def _prepare(self, number: NumberLane, candidate: Candidate) -> Ready | Held | Stored | None:
        try:
            return await sending.prepare(self._desk, self._records, candidate, self._serving)
        finally:
            if candidate.lined and not candidate.found.entry.unsent:
                number.schedule.left_line(candidate.command.user)
            number.claiming -= 1
            self._let(number)

    def _make_way(self, number: NumberLane) -> None:
        """Set aside what is of a category that is held back and has others of its user behind it, which may be of another one."""
        for candidate in number.schedule.before_others():
            if self._desk.permits.category_held(candidate.command):
                until_ms = self._desk.permits.look_again_ms(len(self._postponed))
                self._set_aside(number, candidate, until_ms)

    def _set_aside(self, number: NumberLane, candidate: Candidate, until_ms: int) -> None:
        number.schedule.fly(candidate)
        self._work(candidate.found.id, self._postpone(number, candidate, until_ms))

    async def _postpone(self, number: NumberLane, candidate: Candidate, until_ms: int) -> None:
        try:
            await self._records.postpone(candidate.found, candidate.command, until_ms)
            self._postponed[candidate.found.id] = number.id
            if candidate.lined:
                number.schedule.left_line(candidate.command.user)
        finally:
            self._land(number, candidate)

    def _land(self, number: NumberLane, candidate: Candidate, held_until_ms: int | None = None) -> None:
        number.schedule.land(candidate, held_until_ms)
        if candidate.command.user in number.schedule.lines:
            self.wake.set()
        if number.stalled or self._desk.wanting:
            self._let(number)
