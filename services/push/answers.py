"""What an endpoint's answer means, and when an event is tried again. Pure.

Source: Standard Webhooks, operational considerations (2xx, 410, retries); HTTP semantics (RFC 9110, Retry-After).
"""

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

from shared.times import DAY_MS, to_ms

Outcome = Literal["delivered", "failed", "refused", "gone"]
"""`failed` may pass; `refused` will not, by the receiver's word; `gone`: the receiver wants nothing more at all."""

FIRST_RETRY_MS = 1_000
LONGEST_RETRY_MS = DAY_MS
REFUSALS = 3
"""Tries of an event that the receiver refuses: a deployment of theirs may have been under way."""
FEWEST_TRIES = 3
"""Tries that each event gets, however old it is when its turn comes."""
_PASSING = frozenset((408, 409, 425, 429))
"""4xx that may pass: timeout, conflict, too early, too many requests."""


class Answer(NamedTuple):
    """What came of a try. `detail` holds nothing of the receiver's words, those are in `said`."""

    outcome: Outcome
    detail: str = ""
    retry_after_ms: int = 0
    unreachable: bool = False
    """No connection was made: certainly the endpoint's trouble, not the event's."""
    said: bytes = b""
    """The first bytes of the answer's body; may hold personal data."""


def of_status(status: int, retry_after: str | None, said: bytes, now_ms: int) -> Answer:
    """The meaning of an HTTP answer. Redirects are not followed, so they are refusals."""
    if 200 <= status < 300:
        return Answer("delivered", said=said)
    detail = f"HTTP {status}"
    if status == 410:
        return Answer("gone", detail, said=said)
    if status >= 500 or status in _PASSING:
        return Answer("failed", detail, _after_ms(retry_after, now_ms), said=said)
    return Answer("refused", detail, said=said)


def _after_ms(header: str | None, now_ms: int) -> int:
    """Milliseconds that `Retry-After` asks for, a day at most; 0 without one, or when it makes no sense."""
    if header is None:
        return 0
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]) * 1000, LONGEST_RETRY_MS)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0, min(to_ms(at) - now_ms, LONGEST_RETRY_MS))


def delay_ms(tries: int, chance: float) -> int:
    """How long to wait after so many failed tries (from 1): doubling from a second to a day, by chance (0 to 1) down to half of it."""
    longest = min(FIRST_RETRY_MS << min(tries - 1, 30), LONGEST_RETRY_MS)
    return round(longest * (0.5 + chance / 2))
