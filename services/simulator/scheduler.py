"""Lets happen what is due as the clock passes it: hands the fake Meta's updates to the outbox.

The clock may jump at any time, moved by another process, so no wait by the wall clock is longer than a poll.
"""

import asyncio

from services.simulator.meta import Meta
from services.simulator.outbox import Outbox
from shared.clock import Clock

POLL_S = 0.02
PAUSE_S = 0.005
"""Least wait between two rounds: what falls due meanwhile shares a POST."""


class Scheduler:
    """The only caller of `Meta.release`."""

    def __init__(self, meta: Meta, outbox: Outbox, clock: Clock) -> None:
        self._meta = meta
        self._outbox = outbox
        self._clock = clock
        self._wake = asyncio.Event()

    def release(self) -> float:
        """Let happen what is due, and return the time up to which it has."""
        now = self._clock.time()
        due = self._meta.agenda.next_due
        if due is not None and due <= now:
            self._outbox.put(self._meta.release(now))
        held = self._outbox.next_due
        if held is not None and held <= now:
            self._outbox.release(now)
        return now

    def wake(self) -> None:
        """Something new was entered."""
        self._wake.set()

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            now = self.release()
            due = min(
                (d for d in (self._meta.agenda.next_due, self._outbox.next_due) if d is not None),
                default=None,
            )
            if due is None and not self._outbox.in_flight:
                await self._wake.wait()
                self._wake.clear()
            else:
                await asyncio.sleep(POLL_S if due is None else min(POLL_S, max(PAUSE_S, due - now)))
