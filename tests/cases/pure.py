"""The pure player: ingress's readers and the router's fold, without Kafka, Redis, simulator or clock.

Requests and webhooks are the same bytes as in the system. Meta's statuses are bare here, without its own prices and conversations:
what comes out rests on our own rules alone. Time goes from one due thing to the next: timers of conversations, and what Meta tells.
"""

import heapq
import itertools
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import assert_never

import msgspec

from services.console.open_messages import Settling, settled
from services.console.pausing import pause_event
from services.ingress.requests import key_of, take
from services.ingress.updates import Undecodable
from services.ingress.webhooks import updates
from services.sender.answers import Refused
from services.sender.judge import End, expired, judge, uncertain
from services.sender.request import body
from services.simulator.envelope import Update, encode, envelope
from services.simulator.errors import GraphError
from services.simulator.messages import parse
from shared.error_table import ErrorTable
from shared.events import (
    AccountChanged,
    AccountEvent,
    AccountWebhook,
    ConversationEvent,
    ReceiverVerified,
    SendAccepted,
    SendEvent,
    SendMessage,
    StatusReceived,
    decode_command,
    decode_send_event,
    decode_user_preference,
)
from shared.ids import conversation_key
from shared.refusals import PAYMENT_BELIEVED_FAILING_MS
from shared.stream.fold import Outgoing
from shared.topics import MESSAGES_RECEIVED, PREFERENCES, SEND_EVENTS
from shared.uncertain import of_member
from tests.cases import accounts, told
from tests.cases.actions import (
    Asking,
    Call,
    Cancel,
    Facts,
    Import,
    MetaHolds,
    MetaLetsGo,
    Pause,
    Pay,
    Prefer,
    Receive,
    Resume,
    Send,
    Settle,
    Telling,
    Verify,
    Webhook,
)
from tests.cases.expectations import Answer, Expect, Totals, answer_to, compare, compare_later
from tests.cases.form import Case, Step
from tests.cases.names import Names
from tests.cases.player import Played
from tests.unit.router.world import CONFIG, World


@lru_cache(maxsize=1)
def error_table() -> ErrorTable:
    """What the sender makes of Meta's error codes."""
    return ErrorTable.load(CONFIG / "errors.yaml")


class PurePlayer:
    """Plays each case in a world of its own."""

    async def play(self, cases: Sequence[Case], done: Callable[[Played], None]) -> list[Played]:
        played = []
        for index, case in enumerate(cases):
            played.append(play(Names(case, index)))
            done(played[-1])
        return played


def play(names: Names) -> Played:
    """One case."""
    return _Run(names).play()


class _Run:
    """One case being played."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._case = names.case
        self._world = World()
        self._played = Played(names.case)
        self._sends: dict[str, Send] = {}
        """By request id, as Meta's side needs them once they go out."""
        self._carried = 0
        """Records of the world's log whose commands were carried out."""
        self._holds: dict[str, str] = {}
        """Templates that Meta holds, and as what."""
        self._held: dict[str, list[tuple[SendMessage, Send]]] = {}
        self._agenda: list[tuple[int, int, str, ConversationEvent]] = []
        """What Meta and the sender tell later: when, a serial, the conversation, the event."""
        self._serial = itertools.count(1)

    def play(self) -> Played:
        case, world = self._case, self._world
        world.know(*accounts.facts(self._names))
        for claim in accounts.places_taken(self._names):
            world.claims.ask(claim, case.start_ms)
        for action in accounts.before(case):
            self._happen(action, case.start_ms)
        for place, step in enumerate(case.steps):
            self._until(step.at_ms)
            if isinstance(step.action, Asking):
                self._ask(place, step, step.action)
            else:
                self._happen(step.action, step.at_ms)
        for at_ms in sorted(case.instants):
            self._until(at_ms)
        while self._agenda:
            self._until(self._agenda[0][0])
        for place, step in enumerate(case.steps):
            if step.later is not None and isinstance(step.action, Send):
                decided = self._told(told.request_id_of(step.action, place))
                number = self._names.number_named(decided[0][0].phone_number_id) if decided else None
                self._played.steps.setdefault(place, []).extend(compare_later(step.later, decided, number))
        self._played.end = case.ends.compare(self._totals())
        return self._played

    def _until(self, until_ms: int) -> None:
        """Let everything happen that is due by then, in order of time; of one moment what Meta tells comes first."""
        world = self._world
        while True:
            told_ms = self._agenda[0][0] if self._agenda else until_ms + 1
            timer_ms = min(world.timers.values(), default=until_ms + 1)
            if min(told_ms, timer_ms) > until_ms:
                return
            if told_ms <= timer_ms:
                due_ms, _, key, event = heapq.heappop(self._agenda)
                world.play(key, event, due_ms)
            else:
                world.fire(timer_ms)
            self._carry_out()

    def _happen(self, action: Telling, at_ms: int) -> None:
        names, world = self._names, self._world
        match action:
            case Receive() | Call() | Prefer() | Webhook():
                self._tell(told.update(names, action, at_ms, next(self._serial)), at_ms)
            case Import():
                for word in told.words(names, action, at_ms):
                    world.play(conversation_key(word.phone_number_id, word.user), word, at_ms)
            case Verify():
                number, user = names.number(action.to), names.user(action.user)
                event = ReceiverVerified(event_id=f"v{at_ms}", at_ms=at_ms, phone_number_id=number, user=user)
                world.play(conversation_key(number, user), event, at_ms)
            case Pay():
                world.know(accounts.paying(names, action, at_ms))
            case Facts():
                world.know(accounts.changed(names, action, at_ms))
            case Pause() | Resume():
                set_ = pause_event(accounts.pausing(names, action), world.facts, at_ms)
                if set_ is not None:
                    world.know(set_)
            case Settle():
                settling = Settling(names.request(action.request_id), action.verdict)
                found = [(of_member(member.encode()), at) for member, at in world.uncertain.items()]
                said = settled(settling, found, str, action.by, at_ms)
                world.play(conversation_key(said.phone_number_id, said.user), said, at_ms)
                self._carry_out()
            case MetaHolds():
                self._holds[action.template] = action.status
            case MetaLetsGo():
                del self._holds[action.template]
                for command, send in self._held.pop(action.template, ()):
                    if action.drop_code is not None:
                        send = send.model_copy(
                            update={"delivery": "failed", "delivered_after_ms": 0, "code": action.drop_code}
                        )
                    self._fare(command, send, at_ms)
            case _:
                assert_never(action)

    # --- Meta

    def _tell(self, update: Update, at_ms: int) -> None:
        """Hand a webhook to ingress's reader, and what it makes of it to the fold."""
        for part in updates(encode(envelope([update])), at_ms):
            if isinstance(part, Undecodable):
                raise TypeError(f"ingress can't read {part.place}: {part.reason}")
            if isinstance(part.event, AccountChanged | AccountWebhook):
                event: AccountEvent = part.event
                self._world.know(event)
            else:
                self._world.play(part.key, part.event, at_ms)

    def _carry_out(self) -> None:
        """Do with the commands that were given since the last time what the sender does: call Meta."""
        log = self._world.log
        while self._carried < len(log):
            record = log[self._carried]
            self._carried += 1
            for command in _commands(record.out):
                request_id, _, attempt = command.command_id.rpartition("#")
                send = self._sends[request_id]
                if send.lost is not None and attempt == "1":
                    self._lose(command, send, record.now_ms)
                elif send.refused is None or int(attempt) > (send.refused_times or int(attempt)):
                    self._accept(command, send, record.now_ms)
                else:
                    self._refuse(command, send.refused, record.now_ms)

    def _lose(self, command: SendMessage, send: Send, at_ms: int) -> None:
        """Let the network lose the call, or Meta's answer to it."""
        self._world.play(command.conversation_key, uncertain(command.command_id, "lost", at_ms).event, at_ms)
        if send.lost == "answer":
            self._fare(command, send, at_ms)

    def _accept(self, command: SendMessage, send: Send, at_ms: int) -> None:
        """Let Meta take the message; its statuses come later, and none of a read mark."""
        taken = parse(msgspec.json.decode(body(command)), command.endpoint)
        if isinstance(taken, GraphError):
            raise TypeError(f"Meta does not take {command.command_id}: {taken.details}")
        wamid = "" if command.marks is not None else f"wamid.{command.command_id}"
        accepted = SendAccepted(
            event_id=f"{command.command_id}:accepted",
            at_ms=at_ms,
            command_id=command.command_id,
            wamid=wamid,
            user=command.user,
            message_status=self._holds.get(send.template or "", "accepted"),
        )
        self._world.play(command.conversation_key, accepted, at_ms)
        account = self._world.facts.account(command.waba_id)
        doubted = account is not None and account.payment_failing_until_ms is not None
        if doubted and command.category != "service":
            self._learn(command, {"payment_method": "valid", "payment_failing_until_ms": None}, at_ms)
        if send.template in self._holds:
            self._held.setdefault(send.template or "", []).append((command, send))
        elif command.marks is None:
            self._fare(command, send, at_ms)

    def _fare(self, command: SendMessage, send: Send, at_ms: int) -> None:
        """Let the message have its statuses."""
        wamid = f"wamid.{command.command_id}"
        for after_ms, name in told.statuses(send):
            due_ms = at_ms + after_ms
            status = StatusReceived(
                event_id=f"{wamid}:{name}",
                at_ms=due_ms // 1000 * 1000,  # Meta tells times in whole seconds
                received_ms=due_ms,
                phone_number_id=command.phone_number_id,
                user=command.user,
                wamid=wamid,
                status=name,
                meta=msgspec.Raw(b"{}"),
                command_id=command.command_id,
                error_code=(send.code or told.UNDELIVERABLE) if name == "failed" else None,
            )
            self._plan(due_ms, command, status)

    def _refuse(self, command: SendMessage, code: int, at_ms: int) -> None:
        """Let Meta refuse every call: the sender gives up at once, or where its account is parked when the command's time is over."""
        judged = judge(Refused(400, code, None), command, 1, error_table(), at_ms)
        if isinstance(judged, End):
            self._plan(at_ms, command, judged.event)
        else:
            self._plan(
                command.valid_until_ms, command, expired(command.command_id, command.valid_until_ms).event
            )
        if error_table().verdict(code, 400, 1).reason == "payment_method_missing":
            until_ms = at_ms + PAYMENT_BELIEVED_FAILING_MS
            fields = {"payment_method": "failing", "payment_failing_until_ms": until_ms}
            self._learn(command, fields, at_ms)

    def _plan(self, due_ms: int, command: SendMessage, event: ConversationEvent) -> None:
        heapq.heappush(self._agenda, (due_ms, next(self._serial), command.conversation_key, event))

    def _learn(self, command: SendMessage, fields: dict[str, object], at_ms: int) -> None:
        """What the sender tells of the account by Meta's answer."""
        waba = command.waba_id
        self._world.know(
            AccountChanged(
                event_id=command.command_id,
                at_ms=at_ms,
                waba_id=waba,
                subject="account",
                id=waba,
                fields=fields,
                by="sender",
            )
        )

    # --- the business

    def _ask(self, place: int, step: Step, action: Asking) -> None:
        expect, names = step.expect or Expect(), self._names
        request_id = told.request_id_of(action, place)
        if isinstance(action, Cancel):
            asked = told.cancellation(names, action)
        else:
            action = told.from_default(self._case, action, asks_default=expect.from_ is not None)
            asked = told.request(names, action, request_id)
            self._sends.setdefault(names.request(request_id), action)
        first = answer_to(self._told(request_id if expect.same_as is None else expect.same_as))
        event = take(json.dumps(asked).encode(), step.at_ms, self._world.facts.default_number())
        out = self._world.play(key_of(event), event, step.at_ms)
        value = next(o.value for o in out if o.topic is SEND_EVENTS)
        told_event = decode_send_event(value)
        number = names.number_named(told_event.phone_number_id)
        self._played.steps[place] = compare(expect, Answer(told_event, value, number, first))
        self._carry_out()

    # --- the end

    def _told(self, request_id: str) -> list[tuple[SendEvent, bytes]]:
        """All decisions told of a request so far, in order."""
        wanted = self._names.request(request_id)
        told_ = [(decode_send_event(o.value), o.value) for o in self._world.out if o.topic is SEND_EVENTS]
        return [each for each in told_ if each[0].request_id == wanted and each[0].event == "decided"]

    def _totals(self) -> Totals:
        tally: dict[str, tuple[int, int]] = {}
        for event in self._world.send_events():
            if event.charge is not None and event.charge.counted:
                free, paid = tally.get(event.charge.category, (0, 0))
                costs = event.charge.type == "regular"
                tally[event.charge.category] = (free + (not costs), paid + costs)
        out = self._world.out
        received = sum(o.topic is MESSAGES_RECEIVED for o in out)
        words = [decode_user_preference(o.value) for o in out if o.topic is PREFERENCES]
        commands = _commands(out)
        marks = sum(command.marks is not None for command in commands)
        return Totals(
            {"tally": tally},
            len(commands) - marks,
            received,
            told.by_user(self._names, words),
            marks,
            told.steps_of(self._names, self._world.send_events()),
        )


def _commands(out: Sequence[Outgoing]) -> list[SendMessage]:
    return [decode_command(o.value) for o in out if o.type == "SendMessage"]
