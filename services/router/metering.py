"""Counts what the router has told, batch by batch; the fold itself stays pure."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from shared.clock import Clock
from shared.events import ConversationEvent, SendRequested
from shared.metrics import DECISION_SECONDS, DECISIONS, RECEIVED, STATUS_STEPS
from shared.reasons import REASONS
from shared.stream.fold import Outgoing
from shared.topics import MESSAGES_RECEIVED, SEND_EVENTS


class _Decision(msgspec.Struct):
    reason: str
    final: bool


class _Decided(msgspec.Struct):
    decision: _Decision


_reason = msgspec.json.Decoder(_Decided).decode
_STEPS = ("accepted", "sent", "delivered", "read", "played", "failed", "uncertain")


class Meter:
    """Decisions by reason, steps of messages' lives, received messages, and how long requests took to their decision."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._decisions = {reason: DECISIONS.labels(reason) for reason in REASONS}
        self._steps = {step: STATUS_STEPS.labels(step) for step in _STEPS}

    def count(self, told: Iterable[tuple[ConversationEvent, tuple[Outgoing, ...]]]) -> None:
        """Count what a batch told."""
        now_s = self._clock.time()
        received, steps, reasons = 0, Counter[str](), Counter[str]()
        for event, outs in told:
            if isinstance(event, SendRequested):
                DECISION_SECONDS.observe(max(0.0, now_s - event.at_ms / 1000))
            for out in outs:
                if out.topic is MESSAGES_RECEIVED:
                    received += 1
                elif out.topic is SEND_EVENTS:
                    if out.type == "decided":
                        decision = _reason(out.value).decision
                        if decision.final:
                            reasons[decision.reason] += 1
                    else:
                        steps[out.type] += 1
        RECEIVED.inc(received)
        for reason, times in reasons.items():
            self._decisions[reason].inc(times)
        for step, times in steps.items():
            if step in self._steps:
                self._steps[step].inc(times)
