"""Of which numbers statuses have come lately, and for messages sent until when: whether webhooks reach us, number by number. Pure.

What it says is of one process and its moment; every decision that rests on it is told in an event, so that a replay need not ask.
"""

from services.router.state import ACCEPTED, COMMANDED, State
from shared.events import StatusReceived
from shared.uncertain import LOOK_AGAIN_MS

SETTLED_MS = LOOK_AGAIN_MS
"""A status counts once it came so long ago: after an outage Meta repeats what we missed beside what is new, and the repetitions come later."""
_STEP_MS = 60_000
"""Statuses that came within a minute of each other are one entry."""


class Heard:
    """Per number: the latest time of sending of which a status has come, as it was known at some moments."""

    def __init__(self) -> None:
        self._known: dict[str, list[tuple[int, int]]] = {}

    def note(self, number: str, sent_ms: int, came_ms: int) -> None:
        """A status came at `came_ms` of a message that was sent at `sent_ms` (both epoch ms)."""
        known = self._known.setdefault(number, [])
        if known and sent_ms <= known[-1][1]:
            return
        if len(known) > 1 and came_ms < known[-2][0] + _STEP_MS:
            known[-1] = (max(came_ms, known[-1][0]), sent_ms)
        else:
            known.append((came_ms, sent_ms))
        while len(known) > 1 and known[1][0] <= came_ms - SETTLED_MS:
            del known[0]

    def later_than(self, number: str, sent_ms: int, now_ms: int) -> bool:
        """Whether a status has come of a message of the number sent after `sent_ms`, and came long enough ago to count."""
        return any(
            sent > sent_ms and came <= now_ms - SETTLED_MS for came, sent in self._known.get(number, ())
        )

    def latest(self) -> dict[str, tuple[int, int]]:
        """By number, when a status came last of a message sent later than any before, and when that was sent."""
        return {number: known[-1] for number, known in self._known.items()}


def sent_ms(state: State, status: StatusReceived) -> int | None:
    """When the message was sent of which this is the first status, or earlier; None for any other status."""
    for life in state.lives:
        if life.command == status.command_id or life.wamid == status.wamid:
            if life.stage == ACCEPTED:
                return life.at_ms
            return life.decided_ms if life.stage == COMMANDED else None
    return None
