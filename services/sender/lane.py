"""The dispatch of one partition: keeps its numbers' windows filled, sends what may go, takes up what others left.

Reading path: `run` (look, then send), `_survey` (what is there), `pump` (who goes), `_send` (one command from claim to report).
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import msgspec
import structlog

from services.sender import entry as entries
from services.sender import request
from services.sender.answers import Accepted, Answer, NotSent, Refused
from services.sender.desk import Desk
from services.sender.entry import ROUTER_DEADLINE_MS, TOMBSTONE_MS, command_of, encode_entry
from services.sender.intake import EXPIRY, QUEUES, UNREPORTED, queue, unsent
from services.sender.journal import DELAYED, LINED, PAIR_LIMIT, PAIRS, Claimed, Held, Place, Stored, Survey, line_member
from services.sender.judge import Again, End, expired, judge, uncertain
from services.sender.schedule import Candidate, Schedule
from shared.events import AccountChanged, SendAccepted, SendMessage, encode
from shared.metrics import GRAPH_CALLS, SEND_ERRORS, SEND_WAIT_SECONDS, UNCERTAIN_SENDS

log = structlog.get_logger(__name__)

WINDOW = 256
"""Commands of one number and priority that are in memory at once."""
LOW_WATER = WINDOW // 2
AT_ONCE = 200
"""Commands handled per look in each of the smaller sets."""
TICK_S = 0.25
"""How often a lane that nobody wakes looks."""
CLAIM_FRESH_S = 3.0
"""A claim older than this is asked for again before its call: a process that was stopped may have lost its partition meanwhile."""

_FACTS_LEARNT = {
    "payment_method_missing": ("account", {"payment_method": "failing"}),
    "number_not_registered": ("number", {"registered": False}),
}
"""What a refusal's reason says about the account or number, so that the router refuses before Meta does."""


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
        self.alive = True
        self.wake = asyncio.Event()
        self.survey: Survey | None = None
        self._desk = desk
        self._journal = desk.journal
        self._numbers: dict[str, NumberLane] = {}

    async def run(self) -> None:
        """Serve until the partition is lost or the process stops."""
        for (number, user), count in (await self._journal.lines(self.partition)).items():
            self._number(number).schedule.lines[user] = count
        while self._serving:
            self.wake.clear()
            await self._survey()
            self.pump()
            if self._serving:
                await self._wait()

    def end(self) -> None:
        """Claim nothing more."""
        self.alive = False
        self.wake.set()

    @property
    def _serving(self) -> bool:
        return self.alive and not self._desk.stopping

    def _number(self, id: str) -> NumberLane:
        return self._numbers.setdefault(id, NumberLane(id))

    async def _lost(self) -> None:
        if self.alive:
            log.warning("lane_lost", partition=self.partition, epoch=self.epoch)
            self.end()
            await self._desk.ownership.doubt(self.partition, self.epoch)

    async def _wait(self) -> None:
        dues = [due for number in self._numbers.values() if (due := number.schedule.next_due_ms()) is not None]
        wait_s = TICK_S if not dues else min(TICK_S, max(0.001, (min(dues) - self._desk.now_ms()) / 1000))
        try:
            await asyncio.wait_for(self.wake.wait(), wait_s)
        except TimeoutError:
            pass

    # --- looking

    async def _survey(self) -> None:
        survey = await self._journal.survey(self.partition, self.epoch, self._desk.now_ms(), AT_ONCE)
        if survey is None:
            await self._lost()
            return
        self.survey = survey
        await self._take_up(survey.unreported)
        await self._expire(survey.expiring)
        await self._promote(survey.delayed)
        for number in self._numbers.values():
            number.waiting.clear()
        for id, priority, waiting in survey.queues:
            self._number(id).waiting[priority] = waiting
            await self._load(self._number(id), priority, waiting)
        for number in list(self._numbers.values()):
            await self._next_in_line(number)
            if number.schedule.idle and not number.waiting:
                del self._numbers[number.id]
        if AT_ONCE in (len(survey.expiring), len(survey.delayed)):
            self.wake.set()

    async def _load(self, number: NumberLane, priority: int, waiting: int) -> None:
        """Fill the window from the head of the number's queue."""
        window = number.schedule.window(priority)
        if len(window) >= LOW_WATER or waiting <= len(window):
            return
        ids, offset = await self._journal.head(self.partition, number.id, priority, len(window) + WINDOW)
        fresh = [id for id in ids if id not in window and id not in self._desk.in_flight]
        if not fresh or not await self._settled(offset):
            return
        stored = {found.id: found for found in await self._journal.fetch(self.partition, fresh)}
        for id in fresh:
            found = stored.get(id)
            if id in self._desk.in_flight:
                continue
            if found is None or not found.entry.unsent:
                await self._put(id, found, Place(queue(number.id, priority), id, None))
                continue
            aside = number.schedule.offer(Candidate(found, command_of(found.entry)))
            if aside is not None:
                await self._line_up(number, aside)
        if len(ids) == len(window) + WINDOW and len(number.schedule.window(priority)) < LOW_WATER:
            self.wake.set()

    async def _settled(self, offset: int) -> bool:
        """Wait until Kafka too knows of what was just read: a command that it would deliver once more must not be sent yet."""
        while self._serving:
            if self._desk.ownership.published(self.partition) >= offset:
                return True
            await asyncio.sleep(0.002)
        return False

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

    async def _promote(self, ids: tuple[str, ...]) -> None:
        """Put commands whose wait is over back into their queues."""
        for found in await self._journal.fetch(self.partition, ids):
            places = [Place(DELAYED, found.id, None)]
            if found.entry.unsent:
                places += _waiting_places(command_of(found.entry))
            await self._put(found.id, found, *places)

    async def _expire(self, ids: tuple[str, ...]) -> None:
        """End commands whose time has run out, drop tombstones whose time has come."""
        stored = {found.id: found for found in await self._journal.fetch(self.partition, ids)}
        for id in ids:
            found = stored.get(id)
            if id in self._desk.in_flight:
                continue
            if found is None:
                await self._put(id, None, Place(EXPIRY, id, None))
            elif found.entry.finished:
                await self._journal.write(self.partition, self.epoch, id, found.value, b"", [Place(EXPIRY, id, None)])
            elif found.entry.unsent:
                command = command_of(found.entry)
                self._number(command.phone_number_id).schedule.withdraw(command.user, id)
                self._work(id, self._end(found, self._too_late(found)))

    async def _take_up(self, ids: tuple[str, ...]) -> None:
        """Report what an earlier owner, or a lost journal, left unreported."""
        ours = [id for id in ids if id not in self._desk.in_flight]
        stored = {found.id: found for found in await self._journal.fetch(self.partition, ours)}
        for id in ours:
            found = stored.get(id)
            if found is None or found.entry.finished or found.entry.unsent:
                await self._put(id, found, Place(UNREPORTED, id, None))
            elif found.entry.outcome is not None:
                self._work(id, self._report(found))
            elif found.entry.status == "claimed":
                self._work(id, self._end(found, uncertain(id, "crash", self._desk.now_ms())))
            elif self._desk.now_ms() > found.entry.valid_until_ms + ROUTER_DEADLINE_MS:
                places = [Place(UNREPORTED, id, None), Place(EXPIRY, id, None)]
                await self._journal.write(self.partition, self.epoch, id, found.value, b"", places)
            else:
                self._work(id, self._end(found, uncertain(id, "journal_lost", self._desk.now_ms())))

    def _too_late(self, found: Stored) -> End:
        """How a command ends that is still unsent after its time. One so late that its tombstone would be gone may be a repetition."""
        now_ms = self._desk.now_ms()
        if now_ms > found.entry.valid_until_ms + TOMBSTONE_MS:
            return uncertain(found.id, "late", now_ms)
        GRAPH_CALLS.labels("expired").inc()
        return expired(found.id, now_ms)

    # --- sending

    def pump(self) -> None:
        """Start all commands that may go now."""
        for number in self._numbers.values():
            while self._may_start(number) and (candidate := number.schedule.best()) is not None:
                command = candidate.command
                if self._desk.parked(command.waba_id, number.id):
                    break
                number.schedule.fly(candidate)
                until = self._desk.template_parked_until(request.template_of(command))
                if until is not None:
                    self._work(candidate.found.id, self._postpone(number, candidate, until))
                    continue
                number.claiming += 1
                self._desk.calls += 1
                self._work(candidate.found.id, self._send(number, candidate))
            for priority, waiting in number.waiting.items():
                held = len(number.schedule.window(priority))
                if held < LOW_WATER and waiting > WINDOW:
                    number.waiting[priority] = 0
                    self.wake.set()

    def _may_start(self, number: NumberLane) -> bool:
        desk = self._desk
        return (
            self._serving
            and desk.calls < desk.max_in_flight
            and number.schedule.flying < desk.max_in_flight_per_number
            and number.claiming < desk.gate(number.id).ahead(desk.throughput(number.id), monotonic())
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
        """One command: claim, wait for its moment, call, record, report."""
        held_until_ms, recorded = None, None
        try:
            match prepared := await self._prepare(number, candidate):
                case Claimed():
                    recorded = await self._call(candidate, prepared)
                case Held(until_ms):
                    held_until_ms = until_ms
                case Stored():
                    recorded = prepared
        finally:
            self._desk.calls -= 1
            self._land(number, candidate, held_until_ms)
        if recorded is not None:
            await self._report(recorded)

    async def _prepare(self, number: NumberLane, candidate: Candidate) -> Claimed | Held | Stored | None:
        """Everything before the call: `Claimed` when it may be made now, `Stored` when the command ended here."""
        try:
            if self._desk.now_ms() > candidate.found.entry.valid_until_ms:
                return await self._record(candidate.found, self._too_late(candidate.found))
            asked_s = monotonic()
            claim = await self._claim(number, candidate)
            if not isinstance(claim, Claimed):
                return claim
            await self._desk.reached("claimed", candidate.found.id)
            if not (await self._moment(number, candidate.command) and await self._still_ours(candidate.found, asked_s)):
                await self._again(candidate, Again(0, called=False), claim)
                return None
            if self._desk.now_ms() > candidate.found.entry.valid_until_ms:
                return await self._record(candidate.found, self._too_late(candidate.found))
            return claim
        finally:
            number.claiming -= 1
            self.pump()

    async def _claim(self, number: NumberLane, candidate: Candidate) -> Claimed | Held | None:
        now_ms = self._desk.now_ms()
        command, found = candidate.command, candidate.found
        new = entries.claimed(found.entry, self.epoch, now_ms)
        value = encode_entry(new)
        if candidate.lined:
            source, member = LINED, line_member(number.id, command.user, command.priority, command.at_ms, found.id)
        else:
            source, member = queue(number.id, command.priority), found.id
        answer = await self._journal.claim(
            self.partition, self.epoch, found, value, source, member, f"{number.id}:{command.user}", now_ms
        )
        match answer:
            case Claimed():
                if candidate.lined:
                    number.schedule.left_line(command.user)
                    candidate.lined = False
                candidate.found = Stored(found.id, value, new)
                return answer
            case Held():
                if not candidate.lined:
                    await self._line_up(number, candidate)
                return answer
            case "lost":
                await self._lost()
        return None

    async def _moment(self, number: NumberLane, command: SendMessage) -> bool:
        """Wait for the number's next moment; False when nothing may be sent by then."""
        desk = self._desk
        if not self._serving or desk.parked(command.waba_id, number.id):
            return False
        now_s = monotonic()
        at_s = desk.gate(number.id).enter(desk.throughput(number.id), now_s)
        if at_s > now_s:
            await asyncio.sleep(at_s - now_s)
        return self._serving and not desk.parked(command.waba_id, number.id)

    async def _still_ours(self, found: Stored, asked_s: float) -> bool:
        if monotonic() - asked_s < CLAIM_FRESH_S:
            return True
        return await self._journal.write(self.partition, self.epoch, found.id, found.value, found.value) == "ok"

    async def _call(self, candidate: Candidate, claim: Claimed) -> Stored | None:
        """The call and what follows from it; the recorded outcome, None when it is to be tried again."""
        desk, command, found = self._desk, candidate.command, candidate.found
        SEND_WAIT_SECONDS.labels(command.category).observe(max(0.0, (desk.now_ms() - command.at_ms) / 1000))
        await desk.reached("calling", found.id)
        answer = await self._answer(command)
        await desk.reached("answered", found.id)
        judgement = judge(answer, command, found.entry.attempts, desk.table, desk.now_ms())
        self._account_for(answer, judgement, command)
        if isinstance(judgement, Again):
            await self._again(candidate, judgement, claim)
            return None
        return await self._record(found, judgement)

    async def _answer(self, command: SendMessage) -> Answer:
        desk = self._desk
        token = desk.tokens.get(desk.token_reference(command.phone_number_id))
        if token is None:
            log.error("no_access_token", phone_number_id=command.phone_number_id)
            return Refused(401, 0, "no access token is configured for this number")
        try:
            body = request.body(command)
        except msgspec.MsgspecError as error:
            return Refused(400, 100, f"the message is no JSON object: {error}")
        return await desk.graph.send(command.phone_number_id, token, body)

    def _account_for(self, answer: Answer, judgement: End | Again, command: SendMessage) -> None:
        """Count, log, and learn from an answer."""
        desk = self._desk
        outcome = judgement.status if isinstance(judgement, End) else "retried"
        GRAPH_CALLS.labels(outcome).inc()
        if judgement.label is not None:
            SEND_ERRORS.labels(judgement.label).inc()
        log.info(
            "sent" if isinstance(answer, Accepted) else "not_sent",
            outcome=outcome,
            command_id=command.command_id,
            phone_number_id=command.phone_number_id,
            user=desk.user_hash(command.user),
            category=command.category,
            code=answer.code if isinstance(answer, Refused) else None,
            label=judgement.label,
        )
        if isinstance(answer, (Accepted, Refused)):
            desk.parks.reachable()
        if isinstance(answer, NotSent):
            desk.parks.unreachable(desk.now_ms())
        if isinstance(judgement, Again):
            if judgement.throttled:
                gate = desk.gate(command.phone_number_id)
                gate.pace = gate.pace.throttled(desk.throughput(command.phone_number_id), monotonic())
            if judgement.park is not None:
                scope, delay_ms = judgement.park
                desk.park(scope, command, request.template_of(command), delay_ms)
                log.warning("parked", scope=scope, phone_number_id=command.phone_number_id, waba_id=command.waba_id, for_ms=delay_ms)
        if isinstance(answer, Refused) and answer.code is not None:
            self._tell_account(answer.code, command)

    def _tell_account(self, code: int, command: SendMessage) -> None:
        """Let the router know what Meta's refusal says about the account, unless it knows."""
        desk = self._desk
        learnt = _FACTS_LEARNT.get(desk.table.verdict(code, None, 1).reason)
        if learnt is None:
            return
        subject, fields = learnt
        known = (
            desk.facts().account(command.waba_id) if subject == "account" else desk.facts().number(command.phone_number_id)
        )
        if known is None or all(getattr(known, name) == value for name, value in fields.items()):
            return
        now_ms = desk.now_ms()
        event = AccountChanged(
            event_id=f"{command.command_id}:{code}",
            at_ms=now_ms,
            waba_id=command.waba_id,
            subject="account" if subject == "account" else "number",
            id=command.waba_id if subject == "account" else command.phone_number_id,
            fields=dict(fields),
            by="sender",
        )
        desk.spawn(desk.outcomes.report_account(event), "account-fact")

    def _land(self, number: NumberLane, candidate: Candidate, held_until_ms: int | None = None) -> None:
        number.schedule.land(candidate, held_until_ms)
        if candidate.user in number.schedule.lines:
            self.wake.set()
        self.pump()

    # --- writing

    def _epoch_now(self) -> int:
        """The epoch we hold the partition with by now: a call may outlast the one it began under."""
        return self._desk.ownership.owned.get(self.partition, self.epoch)

    async def _put(self, id: str, found: Stored | None, *places: Place) -> None:
        """Move a command between sets; its entry stays as it is."""
        value = b"" if found is None else found.value
        if await self._journal.write(self.partition, self.epoch, id, value, value, places) == "lost":
            await self._lost()

    async def _line_up(self, number: NumberLane, candidate: Candidate) -> None:
        """Let a command step out of the queue, into its user's line."""
        command, found = candidate.command, candidate.found
        number.schedule.lined_up(command.user)
        member = line_member(number.id, command.user, command.priority, command.at_ms, found.id)
        await self._put(
            found.id, found, Place(queue(number.id, command.priority), found.id, None), Place(LINED, member, 0)
        )

    async def _postpone(self, number: NumberLane, candidate: Candidate, until_ms: int) -> None:
        """Set a command aside until then; it was not claimed."""
        command, found = candidate.command, candidate.found
        member = line_member(number.id, command.user, command.priority, command.at_ms, found.id)
        try:
            await self._put(
                found.id,
                found,
                Place(queue(number.id, command.priority), found.id, None),
                Place(LINED, member, None),
                Place(DELAYED, found.id, until_ms),
            )
            if candidate.lined:
                number.schedule.left_line(command.user)
        finally:
            self._land(number, candidate)

    async def _again(self, candidate: Candidate, judgement: Again, claim: Claimed) -> None:
        """Undo a claim whose message certainly did not go out."""
        command, found = candidate.command, candidate.found
        now_ms = self._desk.now_ms()
        pair = f"{command.phone_number_id}:{command.user}"
        places = [Place(UNREPORTED, found.id, None)]
        if judgement.delay_ms and not judgement.pair:
            places.append(Place(DELAYED, found.id, now_ms + judgement.delay_ms))
        else:
            places += _waiting_places(command)
        if judgement.pair:
            ahead_ms = int(PAIR_LIMIT.interval) * (PAIR_LIMIT.burst - 1)
            places.append(Place(PAIRS, pair, now_ms + judgement.delay_ms + ahead_ms))
        elif not judgement.called:
            places.append(Place(PAIRS, pair, claim.pair_due_ms - int(PAIR_LIMIT.interval)))
        value = encode_entry(entries.unclaimed(found.entry, called=judgement.called))
        await self._journal.write(self.partition, self._epoch_now(), found.id, found.value, value, places)
        self.wake.set()

    async def _end(self, found: Stored, end: End) -> None:
        await self._report(await self._record(found, end))

    async def _record(self, found: Stored, end: End) -> Stored:
        """Write the outcome into the journal, before anybody is told."""
        event = end.event
        wamid = event.wamid if isinstance(event, SendAccepted) else None
        new = entries.ended(found.entry, end.status, event.event_id, encode(event), wamid)
        value = encode_entry(new)
        places = [Place(UNREPORTED, found.id, self._desk.now_ms()), Place(unsent(found.entry.category), found.id, None)]
        if found.entry.command is not None:
            command = command_of(found.entry)
            number = command.phone_number_id
            places += [
                Place(queue(number, command.priority), found.id, None),
                Place(DELAYED, found.id, None),
                Place(LINED, line_member(number, command.user, command.priority, command.at_ms, found.id), None),
            ]
        if end.status == "uncertain":
            UNCERTAIN_SENDS.inc()
        written = await self._journal.write(self.partition, self._epoch_now(), found.id, found.value, value, places)
        if written != "ok":
            log.warning("outcome_not_journalled", command_id=found.id, verdict=written)
        await self._desk.reached("recorded", found.id)
        return Stored(found.id, value, new)

    async def _report(self, found: Stored) -> None:
        """Put a recorded outcome on Kafka, then leave only a tombstone."""
        entry = found.entry
        assert entry.outcome is not None
        kind = {"accepted": "SendAccepted", "failed": "SendFailed", "uncertain": "SendUncertain"}[entry.status]
        await self._desk.outcomes.report(entry.key, entry.outcome_id, entry.outcome, kind)
        await self._desk.reached("reported", found.id)
        places = [Place(UNREPORTED, found.id, None), Place(EXPIRY, found.id, entry.valid_until_ms + TOMBSTONE_MS)]
        value = encode_entry(entries.tombstone(entry))
        await self._journal.write(self.partition, self._epoch_now(), found.id, found.value, value, places)


def _waiting_places(command: SendMessage) -> list[Place]:
    """Where a waiting command stands: its queue, and the list of queues."""
    return [
        Place(queue(command.phone_number_id, command.priority), command.command_id, command.at_ms),
        Place(QUEUES, f"{command.phone_number_id}:{command.priority}", command.at_ms),
    ]
