"""Counts what the router decides, around its fold; the fold itself stays pure."""

import msgspec

from services.router.fold import RouterFold
from services.router.state import State
from shared.accounts import AccountFacts
from shared.clock import Clock
from shared.events import ConversationEvent, SendRequested
from shared.metrics import DECISION_SECONDS, DECISIONS, RECEIVED, STATUS_STEPS
from shared.reasons import REASONS
from shared.stream.fold import Grants, Outgoing, Step
from shared.topics import MESSAGES_RECEIVED, SEND_EVENTS


class _Decision(msgspec.Struct):
    reason: str
    final: bool


class _Decided(msgspec.Struct):
    decision: _Decision


_reason = msgspec.json.Decoder(_Decided).decode
_STEPS = ("accepted", "sent", "delivered", "read", "played", "failed", "uncertain")


class MeteredFold:
    """The router's fold, counted. A batch that the store refuses is folded again and counts again: rare, and it errs upwards."""

    def __init__(self, fold: RouterFold, clock: Clock) -> None:
        self._fold = fold
        self._clock = clock
        self.decode = fold.decode
        self.key = fold.key
        self.malformed = fold.malformed
        self.encode_state = fold.encode_state
        self.decode_state = fold.decode_state
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
            if isinstance(event, SendRequested):
                DECISION_SECONDS.observe(max(0.0, self._clock.time() - event.at_ms / 1000))
        return step

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
