"""Places in a moving second, counted so that Meta, at the other end of a way of unknown length, never sees more calls than it allows. Pure.

A call made at `s` and answered at `a` was counted by Meta at some moment in between, so a place is free for another call a second after its answer:
then the two are a second apart at Meta too, whatever the ways and whatever else the machine had to do. With full caution that is all. But what a trip takes is more often Meta's
own work after counting than the way there, so with less caution less of it counts.
"""

from bisect import insort
from dataclasses import dataclass, field

SECOND_S = 1.0
UNEVEN_S = 0.02
"""What ways there differ by: so much of a trip always counts."""
HURRY = 1.02
"""The pace of calls beside the limit: what a stall has cost is made up for, and the places still say when that is enough."""
AT_ONCE_S = 0.05
"""Calls made at once: those of so much time, and two at least; a pace without any play would make up for a late call by no more than `HURRY`."""


@dataclass(slots=True)
class MovingSecond:
    """One number's places in any second; times are monotonic.

    A place is flying from `take`, which may be some time before the call, until `answered` (or `unused`), then it is coming back until its second is over.
    """

    flying: int = 0
    _back: list[float] = field(default_factory=list)
    """When places come back, ascending."""
    _due_s: float = 0.0
    _shut_until_s: float = 0.0

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

    def take(self, limit: int, at_s: float) -> None:
        """Promise a call at the time that `next_s` said, or later."""
        self.flying += 1
        self._due_s = max(self._due_s, at_s) + 1 / (limit * HURRY)

    def answered(self, sent_s: float, now_s: float, caution: float = 1.0) -> None:
        """The call made at `sent_s` is over: answered, or given up. `caution` is from 0 to 1."""
        self.flying -= 1
        spared_s = (1 - caution) * max(0.0, now_s - sent_s - UNEVEN_S)
        insort(self._back, now_s + SECOND_S - spared_s)

    def unused(self) -> None:
        """The call was not made after all."""
        self.flying -= 1

    def shut(self, until_s: float) -> None:
        """Make no call before: another process may have made calls that nobody here knows of."""
        self._shut_until_s = max(self._shut_until_s, until_s)


def _ahead_s(limit: int) -> float:
    """How far calls may run ahead of their even pace."""
    return (max(2.0, limit * AT_ONCE_S) - 1) / (limit * HURRY)
