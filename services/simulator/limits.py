"""Meta's rate limits, as far as a test switches them on: per number and per pair of number and user. Pure.

Source: Meta, Cloud API, throughput (of a number) and pair rate (1 message in 6 s, 45 in advance).
"""

from dataclasses import dataclass, field

PAIR_INTERVAL_S = 6.0
PAIR_BURST = 45


@dataclass(slots=True)
class RateLimits:
    """Virtual scheduling (GCRA): per key the time at which the next call would be due."""

    _due: dict[tuple[str, ...], float] = field(default_factory=dict)

    def allow(self, key: tuple[str, ...], now: float, interval_s: float, burst: float) -> bool:
        """Count a call unless it comes more than `burst` calls ahead of one per `interval_s`."""
        due = max(self._due.get(key, now), now)
        if due - now > interval_s * (burst - 1) + 1e-9:
            return False
        self._due[key] = due + interval_s
        return True

    def clear(self) -> None:
        """Forget all calls."""
        self._due.clear()
