"""Whether an endpoint as a whole fails: answers in, what may be tried out; and for how long it was shut, which is nobody's delay. Pure.

Failures of one key may be its events' own, so it takes several keys' in a row, or connections that can't be made. While the breaker is open one
event at a time is tried, as a probe; the first success closes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.push.answers import delay_ms

IN_A_ROW = 5
"""Failures, no success in between, that open the breaker,"""
OF_KEYS = 3
"""if they are of so many keys at least."""
UNREACHABLE = 3
"""Connections in a row that could not be made open it whatever the keys."""
PROBE_LONGEST_MS = 300_000
"""Between two probes at most: an endpoint that is back is noticed within five minutes."""
_NEIGHBOURS_MS = 60_000
"""Outages closer to each other are one: so an endpoint that comes and goes makes few."""
_REMEMBERED_MS = 40 * 86_400_000
"""Longer than Kafka keeps any event."""


@dataclass(slots=True)
class Outages:
    """The times at which nothing was tried: breaker open, or endpoint disabled. `[from, to)` in epoch ms; `since_ms` is that of the present one."""

    past: list[tuple[int, int]] = field(default_factory=list)
    since_ms: int | None = None

    def begin(self, now_ms: int) -> None:
        """It shuts, if it is not shut."""
        if self.since_ms is not None:
            return
        if self.past and now_ms - self.past[-1][1] < _NEIGHBOURS_MS:
            now_ms = self.past.pop()[0]
        self.since_ms = now_ms

    def end(self, now_ms: int) -> None:
        """It is open again, if it was shut."""
        if self.since_ms is None:
            return
        self.past.append((self.since_ms, max(now_ms, self.since_ms)))
        self.since_ms = None
        self.past = [outage for outage in self.past if outage[1] > now_ms - _REMEMBERED_MS]

    def join(self, others: Iterable[tuple[int, int]]) -> None:
        """Count other times too, such as those of a process that served the endpoint before."""
        joined: list[tuple[int, int]] = []
        for start, end in sorted({*self.past, *others}):
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        self.past = joined

    def within_ms(self, from_ms: int, to_ms: int) -> int:
        """For how long it was shut between two moments."""
        present = [] if self.since_ms is None else [(self.since_ms, to_ms)]
        return sum(max(0, min(end, to_ms) - max(start, from_ms)) for start, end in (*self.past, *present))


@dataclass(slots=True)
class Breaker:
    """Closed while `probe_ms` is None; else the time of the next probe (epoch ms)."""

    probe_ms: int | None = None
    probing: bool = False
    _openings: int = 0
    _row: int = 0
    _unreachable: int = 0
    _keys: set[object] = field(default_factory=set)

    @property
    def open(self) -> bool:
        return self.probe_ms is not None

    def may_probe(self, now_ms: int) -> bool:
        """Whether one event may be tried although it is open."""
        return self.probe_ms is not None and not self.probing and now_ms >= self.probe_ms

    def succeeded(self) -> bool:
        """A success of anything; whether that closed it."""
        was_open = self.open
        self.probe_ms, self.probing, self._openings, self._row, self._unreachable = None, False, 0, 0, 0
        self._keys.clear()
        return was_open

    def failed(
        self,
        keys: set[object],
        now_ms: int,
        chance: float,
        *,
        probe: bool,
        unreachable: bool,
        retry_after_ms: int,
    ) -> bool:
        """A try failed or was refused; whether that opened it. Of what was under way when it opened, only the probe counts."""
        if self.open:
            if probe:
                self.probing = False
                self._openings += 1
                self._shut(now_ms, chance, retry_after_ms)
            return False
        self._row += 1
        self._unreachable = self._unreachable + 1 if unreachable else 0
        if len(self._keys) < OF_KEYS:
            self._keys |= keys
        if self._unreachable < UNREACHABLE and (self._row < IN_A_ROW or len(self._keys) < OF_KEYS):
            return False
        self._openings = 1
        self._shut(now_ms, chance, retry_after_ms)
        return True

    def open_again(self, now_ms: int) -> None:
        """As it was when the process ended: open, and tried at once."""
        self.probe_ms, self._openings = now_ms, 1

    def _shut(self, now_ms: int, chance: float, retry_after_ms: int) -> None:
        wait_ms = min(delay_ms(self._openings, chance), PROBE_LONGEST_MS)
        self.probe_ms = now_ms + max(wait_ms, retry_after_ms)
