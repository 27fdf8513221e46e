"""Places in a moving second, counted so that Meta, at the other end of a way of unknown length, never sees more calls than it allows. Pure.

A call made at `s` and answered at `a` was counted by Meta at some moment in between, so a place is free for another call a second after its answer:
then the two are a second apart at Meta too. That is too cautious by what the way there and back takes in any case: the shortest trip of late, less
what short trips differ by. So much earlier it is free. What a trip takes beyond that may all have been spent on the way there, so with full caution
it counts; but it is more often Meta's own work after counting, so with less caution less of it does.
"""

from bisect import insort
from dataclasses import dataclass, field

SECOND_S = 1.0
UNEVEN_S = 0.02
"""What short trips differ by."""
KNOWN_TRIPS = 20
"""So many trips tell the shortest."""
OF_LATE_S = 10.0
HURRY = 1.02
"""The pace of calls beside the limit: what a stall has cost is made up for, and the places still say when that is enough."""
AT_ONCE_S = 0.05
"""Calls made at once: those of so much time."""


@dataclass(slots=True)
class MovingSecond:
    """One number's places in any second; times are monotonic.

    A place is flying from `take` until `answered` (or `unused`), then it is coming back until its second is over.
    """

    flying: int = 0
    _back: list[float] = field(default_factory=list)
    """When places come back, ascending."""
    _due_s: float = 0.0
    _shut_until_s: float = 0.0
    _trips: int = 0
    _shortest_s: tuple[float, float] = (0.0, 0.0)
    """The shortest trip of this stretch of `OF_LATE_S`, and of the one before."""
    _stretch_s: float = float("-inf")

    def next_s(self, limit: int, now_s: float) -> float | None:
        """The earliest time, not before now, at which a call may be made; None while that depends on answers still to come."""
        past = 0
        for back_s in self._back:
            if back_s > now_s:
                break
            past += 1
        del self._back[:past]
        over = self.flying + len(self._back) - limit
        at_s = max(now_s, self._shut_until_s, self._due_s - _ahead_s(limit))
        if over < 0:
            return at_s
        return max(at_s, self._back[over]) if over < len(self._back) else None

    def take(self, limit: int, now_s: float) -> None:
        """Make a call now, as `next_s` permitted."""
        self.flying += 1
        self._due_s = max(self._due_s, now_s) + 1 / (limit * HURRY)

    def answered(self, sent_s: float, now_s: float, caution: float = 1.0) -> None:
        """The call made at `sent_s` is over: answered, or given up. `caution` is from 0 to 1."""
        self.flying -= 1
        trip_s = now_s - sent_s
        self._note(trip_s, now_s)
        spared_s = 0.0
        if self._trips >= KNOWN_TRIPS:
            shortest_s = min(self._shortest_s)
            spared_s = max(0.0, shortest_s - UNEVEN_S) + (1 - caution) * (trip_s - shortest_s)
        insort(self._back, now_s + SECOND_S - spared_s)

    def unused(self) -> None:
        """The call was not made after all."""
        self.flying -= 1

    def shut(self, until_s: float) -> None:
        """Make no call before: another process may have made calls that nobody here knows of."""
        self._shut_until_s = max(self._shut_until_s, until_s)

    def _note(self, trip_s: float, now_s: float) -> None:
        self._trips += 1
        if now_s - self._stretch_s >= OF_LATE_S:
            before = self._shortest_s[0] if now_s - self._stretch_s < 2 * OF_LATE_S else trip_s
            self._shortest_s, self._stretch_s = (trip_s, before), now_s
        else:
            self._shortest_s = (min(self._shortest_s[0], trip_s), self._shortest_s[1])


def _ahead_s(limit: int) -> float:
    """How far calls may run ahead of their even pace."""
    return max(0.0, (limit * AT_ONCE_S - 1) / (limit * HURRY))
