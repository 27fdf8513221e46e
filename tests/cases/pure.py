"""The pure player: ingress's readers and the router's fold, without Kafka, Redis, simulator or clock.

Requests and webhooks are the same bytes as in the system. Meta's statuses are bare here, without its own prices and conversations:
what comes out rests on our own rules alone.
"""

import heapq
import itertools
import json
from collections.abc import Callable, Sequence
from typing import assert_never

import msgspec

from services.ingress.requests import key_of, take
from services.ingress.updates import Undecodable
from services.ingress.webhooks import updates
from services.simulator.envelope import Update, encode, envelope
from shared.events import (
    AccountChanged,
    AccountEvent,
    AccountWebhook,
    ReceiverVerified,
    SendAccepted,
    SendMessage,
    StatusReceived,
    decode_command,
    decode_send_event,
)
from shared.ids import conversation_key
from shared.stream.fold import Outgoing
from shared.topics import MESSAGES_RECEIVED, SEND_COMMANDS, SEND_EVENTS
from tests.cases import accounts, told
from tests.cases.actions import Call, Facts, Happening, Pay, Prefer, Receive, Send, Verify, Webhook
from tests.cases.expectations import Answer, Expect, Totals, compare
from tests.cases.form import Case, Step
from tests.cases.names import Names
from tests.cases.player import Played
from tests.unit.router.world import World

_UNDELIVERABLE = 131026
"""Meta, Cloud API, error codes: message undeliverable."""


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
        self._answers: dict[str, bytes] = {}
        self._agenda: list[tuple[int, int, StatusReceived]] = []
        self._serial = itertools.count(1)

    def play(self) -> Played:
        case, world = self._case, self._world
        world.know(*accounts.facts(self._names))
        for claim in accounts.places_taken(self._names):
            world.claims.ask(claim, case.start_ms)
        for action in accounts.before(case):
            self._happen(action, case.start_ms)
        for place, step in enumerate(case.steps):
            self._statuses_until(step.at_ms)
            world.fire(step.at_ms)
            if isinstance(step.action, Send):
                self._send(place, step, step.action)
            else:
                self._happen(step.action, step.at_ms)
        while self._agenda:
            self._statuses_until(self._agenda[0][0])
        self._played.end = case.ends.compare(self._totals())
        return self._played

    def _happen(self, action: Happening, at_ms: int) -> None:
        match action:
            case Receive() | Call() | Prefer() | Webhook():
                self._tell(told.update(self._names, action, at_ms, next(self._serial)), at_ms)
            case Verify():
                number, user = self._names.number(action.to), self._names.user(action.user)
                event = ReceiverVerified(event_id=f"v{at_ms}", at_ms=at_ms, phone_number_id=number, user=user)
                self._world.play(conversation_key(number, user), event, at_ms)
            case Pay():
                self._world.know(accounts.paying(self._names, action, at_ms))
            case Facts():
                self._world.know(accounts.changed(self._names, action, at_ms))
            case Send():
                raise TypeError("a send is answered: see _send")
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

    def _statuses_until(self, until_ms: int) -> None:
        while self._agenda and self._agenda[0][0] <= until_ms:
            due_ms, _, status = heapq.heappop(self._agenda)
            self._world.play(conversation_key(status.phone_number_id, status.user), status, due_ms)

    def _carry_out(self, command: SendMessage, send: Send, at_ms: int) -> None:
        """Let Meta take the message; its statuses come later."""
        wamid = f"wamid.{command.command_id}"
        accepted = SendAccepted(
            event_id=f"{command.command_id}:accepted",
            at_ms=at_ms,
            command_id=command.command_id,
            wamid=wamid,
            user=command.user,
        )
        self._world.play(command.conversation_key, accepted, at_ms)
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
                error_code=_UNDELIVERABLE if name == "failed" else None,
            )
            heapq.heappush(self._agenda, (due_ms, next(self._serial), status))

    # --- the business

    def _send(self, place: int, step: Step, send: Send) -> None:
        expect = step.expect or Expect()
        send = told.from_default(self._case, send, asks_default=expect.from_ is not None)
        request_id = send.request_id or f"step{place + 1}"
        body = told.request(self._names, send, request_id)
        event = take(json.dumps(body).encode(), step.at_ms, self._world.facts.default_number())
        out = self._world.play(key_of(event), event, step.at_ms)
        value = next(o.value for o in out if o.topic is SEND_EVENTS)
        told_event = decode_send_event(value)
        answer = Answer(
            told_event,
            value,
            self._names.number_named(told_event.phone_number_id),
            self._answers.get(expect.same_as or ""),
        )
        self._answers.setdefault(request_id, value)
        self._played.steps[place] = compare(expect, answer)
        for command in _commands(out):
            self._carry_out(command, send, step.at_ms)

    # --- the end

    def _totals(self) -> Totals:
        tally: dict[str, tuple[int, int]] = {}
        for event in self._world.send_events():
            if event.charge is not None and event.charge.counted:
                free, paid = tally.get(event.charge.category, (0, 0))
                costs = event.charge.type == "regular"
                tally[event.charge.category] = (free + (not costs), paid + costs)
        received = sum(out.topic is MESSAGES_RECEIVED for out in self._world.out)
        return Totals({"tally": tally}, len(_commands(self._world.out)), received)


def _commands(out: Sequence[Outgoing]) -> list[SendMessage]:
    return [decode_command(o.value) for o in out if o.topic is SEND_COMMANDS]
