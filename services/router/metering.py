"""Counts what the router has told, batch by batch; the fold itself stays pure."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from services.router.announce import PERHAPS_TOLD
from services.router.heard import Heard, sent_ms
from services.router.put_off import REASON
from services.router.state import State
from shared.clock import Clock
from shared.events import ConversationEvent, SendRequested, StatusReceived, TimerFired, UncertainSettled
from shared.metrics import (
    DECISION_SECONDS,
    DECISIONS,
    DLQ_RECORDS,
    DUPLICATES,
    RECEIVED,
    STATUS_STEPS,
    UNCERTAIN_RESOLVED,
    USER_NAMES,
)
from shared.reasons import REASONS
from shared.stream.fold import Step
from shared.topics import CONVERSATION_EVENTS, MESSAGES_RECEIVED, SEND_EVENTS
from shared.uncertain import of_member


class _Decision(msgspec.Struct):
    reason: str
    final: bool


class _Decided(msgspec.Struct):
    decision: _Decision


_reason = msgspec.json.Decoder(_Decided).decode
_STEPS = (
    "accepted", "held", "sent", "delivered", "read", "played", "failed", "uncertain", "resent", "cancelled"
)  # fmt: skip
_NAMING = {"UserKnownAs": "told", "ConversationMoved": "moved", "NameTaken": "taken"}
_DUPLICATE = b'"reason":"duplicate"'


class Meter:
    """Decisions by reason, steps of messages' lives, received messages, what became of open ones, users' names, and how long requests took to their decision.

    It notes in `heard` of which numbers statuses come.
    """

    def __init__(self, clock: Clock, heard: Heard) -> None:
        self._clock = clock
        self._heard = heard
        self._decisions = {reason: DECISIONS.labels(reason) for reason in REASONS}
        self._steps = {step: STATUS_STEPS.labels(step) for step in _STEPS}

    def count(self, told: Iterable[tuple[ConversationEvent, State | None, Step[State]]]) -> None:
        """Count what a batch told: each event that brought forth others, the state before it, and the step it made."""
        now_s = self._clock.time()
        received = duplicates = 0
        steps, reasons, resolved, names = list[str](), Counter[str](), Counter[str](), list[str]()
        for event, state, step in told:
            if state is not None and isinstance(event, StatusReceived):
                sent = sent_ms(state, event)
                if sent is not None:
                    self._heard.note(state.number, sent, event.received_ms)
            away = state is not None and state.address is not None
            for out in step.out:
                if out.topic is SEND_EVENTS:
                    if out.type == "decided":
                        decision = _reason(out.value).decision
                        if decision.final or decision.reason == REASON:
                            reasons[decision.reason] += 1
                        if isinstance(event, SendRequested):
                            DECISION_SECONDS.observe(max(0.0, now_s - event.at_ms / 1000))
                    else:
                        steps.append(out.type)
                        if out.type == "accepted" and _DUPLICATE in out.value:
                            duplicates += 1
                elif out.topic is MESSAGES_RECEIVED:
                    received += 1
                elif out.topic is CONVERSATION_EVENTS:
                    if away and out.type == type(event).__name__:
                        names.append("passed_on")
                    elif out.type in _NAMING:
                        names.append(_NAMING[out.type])
                elif out.type == PERHAPS_TOLD:
                    DLQ_RECORDS.labels(CONVERSATION_EVENTS.dead_letters.name).inc()
            if step.ranks:
                resolved.update(_how(event, command, step) for command in _resolved(step))
        RECEIVED.inc(received)
        DUPLICATES.inc(duplicates)
        for reason, times in reasons.items():
            self._decisions[reason].inc(times)
        for name, times in Counter(steps).items():
            if name in self._steps:
                self._steps[name].inc(times)
        for what, times in Counter(names).items():
            USER_NAMES.labels(what).inc(times)
        for how, times in resolved.items():
            UNCERTAIN_RESOLVED.labels(how).inc(times)


def _resolved(step: Step[State]) -> set[str]:
    """The messages that were open and are not any more."""
    gone = {of_member(rank.member.encode()).command_id for rank in step.ranks if rank.score is None}
    return gone - {
        of_member(rank.member.encode()).command_id for rank in step.ranks if rank.score is not None
    }


def _how(event: ConversationEvent, command: str, step: Step[State]) -> str:
    """What resolved a message that was open."""
    if isinstance(event, UncertainSettled):
        return "operator"
    if isinstance(event, StatusReceived):
        return "status"
    if isinstance(event, TimerFired):
        given_up = any(out.id == f"{command}:unresolved" for out in step.out)
        return "given_up" if given_up else "resent"
    return "sender"
