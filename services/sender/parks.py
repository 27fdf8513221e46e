"""Which numbers, accounts, templates wait because Meta refused them, and until when. Pure.

A park without an end of its own ends when what it was about changes (the account's facts, the number's, the token), and is probed with one call
from time to time. A new owner learns of a trouble by its first call.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

ParkScope = Literal["phone_number", "waba", "template", "app", "platform"]

PROBE_MS = 600_000
"""A trouble that only an operator can end is tried again this often: someone may have ended it on Meta's side."""
OUTAGE_FIRST_MS = 500
OUTAGE_LONGEST_MS = 15_000


@dataclass(frozen=True, slots=True)
class _Park:
    until_ms: int
    about: Any


@dataclass(slots=True)
class Parks:
    """All parks of one process."""

    _parks: dict[tuple[ParkScope, str], _Park] = field(default_factory=dict)
    _outages: int = 0

    def park(self, scope: ParkScope, id: str, now_ms: int, delay_ms: int | None, about: Any = None) -> None:
        """Stop calls of the scope for `delay_ms`, or (None) until `about` is no longer what it is now."""
        until = now_ms + (PROBE_MS if delay_ms is None else delay_ms)
        self._parks[scope, id] = _Park(until, about if delay_ms is None else None)

    def until(self, scope: ParkScope, id: str, now_ms: int, about: Any = None) -> int | None:
        """When the scope's park ends; None when there is none, or `about` has changed."""
        park = self._parks.get((scope, id))
        if park is None:
            return None
        if park.until_ms <= now_ms or (park.about is not None and park.about != about):
            del self._parks[scope, id]
            return None
        return park.until_ms

    def unreachable(self, now_ms: int) -> None:
        """No connection to Meta: everything waits, longer each time."""
        if self.until("platform", "", now_ms) is not None:
            return
        self.park("platform", "", now_ms, min(OUTAGE_LONGEST_MS, OUTAGE_FIRST_MS << min(self._outages, 10)))
        self._outages += 1

    def reachable(self) -> None:
        """Meta has answered."""
        self._outages = 0

    @property
    def any(self) -> bool:
        """Whether anything is parked at all."""
        return bool(self._parks)
