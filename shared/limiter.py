"""The rate limiter: GCRA (virtual scheduling, ITU-T I.371); a time in, the earliest allowed time out. Pure.

The whole memory of a limiter is one number, `due`: when the next event would be due were all events evenly spaced. Zero is a limiter
never used. Any unit of time serves, as long as interval, `due` and times share it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """One event per `interval`, up to `burst` of them in advance.

    In any stretch of time `t` (ends excluded) at most `burst + t / interval` events pass.
    """

    interval: float
    burst: int = 1

    def next_allowed(self, due: float, now: float) -> float:
        """The earliest time, not before `now`, at which an event may pass."""
        return max(now, due - self.interval * (self.burst - 1))

    def taken(self, due: float, at: float) -> float:
        """The new `due` after an event at `at`, which `next_allowed` permitted."""
        return max(due, at) + self.interval
