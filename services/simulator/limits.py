"""Meta's rate limits, as far as a test switches them on: per number and per pair of number and user. Pure.

Source: Meta, Cloud API, throughput (of a number) and pair rate (1 message in 6 s, 45 in advance); Meta, Graph API, rate limits.
"""

import json
from collections import deque
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple

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


@dataclass(slots=True)
class Throughput:
    """What passes each number in a moving second, messages in and out together; what is refused does not count."""

    _passed: dict[str, deque[float]] = field(default_factory=dict)

    def count(self, number_id: str, now: float) -> None:
        """A message passes whatever the limit says: users are not held back."""
        self._passed.setdefault(number_id, deque()).append(now)

    def allow(self, number_id: str, now: float, most: float) -> bool:
        """Let a message pass unless `most` have in the second that ends now."""
        passed = self._passed.setdefault(number_id, deque())
        while passed and passed[0] <= now - 1.0:
            passed.popleft()
        if len(passed) >= most:
            return False
        passed.append(now)
        return True

    def clear(self) -> None:
        """Forget all messages."""
        self._passed.clear()


MANAGEMENT_CALLS = 200
"""Management calls per app and account in an hour."""
_HOUR_S = 3600.0


def sending_headers(
    app_percent: float | None, account_percent: float | None, regain_minutes: int, waba_id: str
) -> dict[str, str]:
    """The usage headers of an answer to a send (Meta, Graph API, rate limits); what is None is not told."""
    headers = {}
    if app_percent is not None:
        headers["X-App-Usage"] = json.dumps({"call_count": app_percent, "total_time": 0, "total_cputime": 0})
    if account_percent is not None:
        use = {
            "type": "messages",
            "call_count": account_percent,
            "total_cputime": 0,
            "total_time": 0,
            "estimated_time_to_regain_access": regain_minutes,
        }
        headers["X-Business-Use-Case-Usage"] = json.dumps({waba_id: [use]})
    return headers


class Use(NamedTuple):
    """What of an account's hour is used: calls in percent, and in how many minutes a refused one may come again (0: not refused)."""

    percent: int
    regain_minutes: int

    def header(self, waba_id: str) -> dict[str, Any]:
        """The content of `X-Business-Use-Case-Usage`."""
        use = {
            "type": "whatsapp_business_management",
            "call_count": self.percent,
            "total_cputime": 0,
            "total_time": 0,
            "estimated_time_to_regain_access": self.regain_minutes,
        }
        return {waba_id: [use]}


@dataclass(slots=True)
class ManagementCalls:
    """The calls of a moving hour, by account."""

    _calls: dict[str, deque[float]] = field(default_factory=dict)

    def count(self, waba_id: str, now: float, limit: int | None) -> Use:
        """Count a call; beyond `limit` it is refused, and not counted."""
        calls = self._calls.setdefault(waba_id, deque())
        while calls and calls[0] <= now - _HOUR_S:
            calls.popleft()
        if limit is not None and len(calls) >= limit:
            return Use(100, ceil((calls[0] + _HOUR_S - now) / 60))
        calls.append(now)
        return Use(100 * len(calls) // (limit or MANAGEMENT_CALLS), 0)

    def clear(self) -> None:
        """Forget all calls."""
        self._calls.clear()
