"""How fast a number may send: its throughput, lowered at once when Meta throttles, recovering by itself (AIMD). Pure."""

from dataclasses import dataclass

DEFAULT_THROUGHPUT = 80
"""Messages per second of a number nobody has told us about (Meta, Cloud API, throughput)."""
CUT = 0.5
SLOWEST = 1.0
"""Messages per second below which no cut goes."""
RECOVERY_S = 30.0
"""From standstill to full rate."""
SAME_CUT_S = 1.0
"""Calls in flight together are refused together: that is one signal, not many."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The rate after the last cut, and when that was (seconds, monotonic); never cut: `since_s` None."""

    base: float = 0.0
    since_s: float | None = None

    def rate(self, throughput: float, now_s: float) -> float:
        """Messages per second allowed now."""
        full = max(SLOWEST, throughput)
        if self.since_s is None:
            return full
        return min(full, self.base + full * (now_s - self.since_s) / RECOVERY_S)

    def throttled(self, throughput: float, now_s: float) -> "Pace":
        """The pace after Meta said 130429."""
        if self.since_s is not None and now_s - self.since_s < SAME_CUT_S:
            return self
        return Pace(max(SLOWEST, self.rate(throughput, now_s) * CUT), now_s)
