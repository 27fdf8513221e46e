"""Counts what the router decides, around its fold; the fold itself stays pure."""

import msgspec

from services.router.fold import RouterFold
from services.router.heard import Heard, sent_ms
from services.router.state import State
from shared.accounts import AccountFacts
from shared.clock import Clock
from shared.events import ConversationEvent, SendRequested, StatusReceived, TimerFired, UncertainSettled
from shared.metrics import (
    DECISION_SECONDS,
    DECISIONS,
    DUPLICATES,
    RECEIVED,
    STATUS_STEPS,
    UNCERTAIN_RESOLVED,
)
from shared.reasons import REASONS
from shared.stream.fold import Grants, Outgoing, Step
from shared.topics import MESSAGES_RECEIVED, SEND_EVENTS
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
_DUPLICATE = b'"reason":"duplicate"'


class MeteredFold:
    """The router's fold, counted. A batch that the store refuses is folded again and counts again: rare, and it errs upwards.

    It notes in `heard` of which numbers statuses come.
    """

    def __init__(self, fold: RouterFold, clock: Clock, heard: Heard) -> None:
        self._fold = fold
        self._clock = clock
        self.decode = fold.decode
        self.key = fold.key
        self.malformed = fold.malformed
        self.encode_state = fold.encode_state
        self.decode_state = fold.decode_state
        self._heard = heard
        self._decisions = {reason: DECISIONS.labels(reason) for reason in REASONS}
        self._steps = {step: STATUS_STEPS.labels(step) for step in _STEPS}

    def fold(
        self, state: State | None, event: ConversationEvent, facts: AccountFacts, grants: Grants
    ) -> Step[State]:
        """As `RouterFold.fold`."""
        step = self._fold.fold(state, event, facts, grants)
        if grants.recalled is None and not step.claims and step.out:
            for out in step.out:
                self._count(out)
            if isinstance(event, StatusReceived) and state is not None:
                self._note(state, event)
            for command in _resolved(step):
                UNCERTAIN_RESOLVED.labels(_how(event, command, step)).inc()
            if isinstance(event, SendRequested):
                DECISION_SECONDS.observe(max(0.0, self._clock.time() - event.at_ms / 1000))
        return step

    def _note(self, state: State, status: StatusReceived) -> None:
        sent = sent_ms(state, status)
        if sent is not None:
            self._heard.note(state.number, sent, status.received_ms)

    def _count(self, out: Outgoing) -> None:
        if out.topic is MESSAGES_RECEIVED:
            RECEIVED.inc()
        elif out.topic is SEND_EVENTS:
            if out.type == "decided":
                decision = _reason(out.value).decision
                if decision.final:
                    self._decisions[decision.reason].inc()
            elif out.type in self._steps:
                self._steps[out.type].inc()
                if out.type == "accepted" and _DUPLICATE in out.value:
                    DUPLICATES.inc()


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
