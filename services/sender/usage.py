"""How much of the hour's allowance of an app or account is used, and who may still call when it is nearly all. Pure.

Source: Meta, Graph API, rate limits: `X-App-Usage`, `X-Business-Use-Case-Usage`.
"""

from dataclasses import dataclass, field
from typing import Literal

UsageScope = Literal["app", "waba"]

SPARING_PERCENT = 90.0
"""Above this, what is left is for one-time passwords and for answers to customers."""
URGENT = 1
"""The last priority that goes nevertheless: 0 is authentication, 1 service, 2 utility, 3 marketing."""
READING_MS = 60_000
"""A reading counts for so long: the allowance is of a moving hour, and if nothing goes out, no new reading comes."""


@dataclass(slots=True)
class UsageBook:
    """The latest readings, by app (the reference of its token) and account."""

    _readings: dict[tuple[UsageScope, str], tuple[float, int]] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether Meta has told of any usage."""
        return bool(self._readings)

    def note(self, scope: UsageScope, id: str, percent: float, now_ms: int) -> None:
        """An answer tells how much is used."""
        self._readings[scope, id] = percent, now_ms

    def may_go(self, waba_id: str, reference: str, priority: int, now_ms: int) -> bool:
        """Whether a message of this priority may go out, by the account's and its app's usage."""
        if priority <= URGENT:
            return True
        return (
            self._percent(("waba", waba_id), now_ms) <= SPARING_PERCENT
            and self._percent(("app", reference), now_ms) <= SPARING_PERCENT
        )

    def worst(self, scope: UsageScope, now_ms: int) -> float:
        """The highest reading of the scope that still counts, in percent."""
        return max((self._percent(key, now_ms) for key in self._readings if key[0] == scope), default=0.0)

    def _percent(self, key: tuple[UsageScope, str], now_ms: int) -> float:
        percent, at_ms = self._readings.get(key, (0.0, 0))
        return percent if now_ms - at_ms < READING_MS else 0.0
