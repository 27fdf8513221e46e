"""The gate of one number: commands pass it in the order they came, as fast as Meta allows and no faster."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

from services.sender.moving_second import SECOND_S, MovingSecond
from services.sender.pace import Pace

CAUTIOUS_S = 900.0
"""So long after the start, or after Meta refused a call as too fast, caution is full; as long again, and it has gone."""


class Gate:
    """What one process knows of a number's calls; it outlives a change of lanes. Times are monotonic seconds.

    Args:
        allowed: messages per second that Meta allows the number, as of now.
        others: how many of them the customers' own messages take.
        early: by how many seconds a command may pass before its call, because so much is to be done in between.
    """

    def __init__(
        self,
        allowed: Callable[[], int],
        others: Callable[[], int],
        early: Callable[[], float],
    ) -> None:
        self._allowed = allowed
        self._others = others
        self._early = early
        self._pace = Pace()
        self._second = MovingSecond()
        self._cautious_from_s = monotonic()
        self._waiting: deque[asyncio.Future[float | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """Calls in a second, as of now."""
        return max(1, int(self._pace.rate(self._allowed(), monotonic())) - self._others())

    @property
    def ahead(self) -> int:
        """How many commands may wait here or be claimed: a twentieth of a second's worth, and one while another is claimed; 0 while only answers make room."""
        limit = self.limit
        return 1 + max(1, limit // 20) if self._second.next_s(limit, monotonic()) is not None else 0

    async def enter(self) -> float | None:
        """Wait for a place and take it; from when on the call may be made, None if there is no place to be had any more."""
        future: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._admit()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result() is not None:
                self.unused()
            raise

    def dismiss(self) -> None:
        """Nobody who waits gets a place."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)

    def leave(self, called_s: float) -> None:
        """The call that began at `called_s` is over, however it ended."""
        now_s = monotonic()
        caution = min(1.0, max(0.0, 2 - (now_s - self._cautious_from_s) / CAUTIOUS_S))
        self._second.answered(called_s, now_s, caution)
        self._admit()

    def unused(self) -> None:
        """Give a place back without a call."""
        self._second.unused()
        self._admit()

    def throttled(self) -> None:
        """Meta said that the number is too fast."""
        self._cautious_from_s = monotonic()
        self._pace = self._pace.throttled(self._allowed(), self._cautious_from_s)

    def taken_over(self, at_s: float) -> None:
        """The number was another process's until then: a second later, what that one sent counts no more."""
        self._second.shut(at_s + SECOND_S)

    def _admit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        now_s, limit, early_s = monotonic(), self.limit, self._early()
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
                continue
            at_s = self._second.next_s(limit, now_s)
            if at_s is None:
                return  # the next answer admits
            if at_s > now_s + early_s:
                self._timer = asyncio.get_running_loop().call_later(at_s - early_s - now_s, self._admit)
                return
            self._second.take(limit, at_s)
            self._waiting.popleft().set_result(at_s)
