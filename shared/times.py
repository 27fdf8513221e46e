"""Epoch milliseconds, the internal form of every time, from and to RFC 3339. Pure."""

from datetime import UTC, date, datetime
from functools import lru_cache

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_EPOCH = date(1970, 1, 1).toordinal()


def to_ms(at: datetime) -> int:
    """Milliseconds since the epoch of an aware datetime."""
    return round(at.timestamp() * 1000)


def from_ms(ms: int) -> datetime:
    """The aware UTC datetime of milliseconds since the epoch."""
    return datetime.fromtimestamp(ms / 1000, UTC)


@lru_cache(maxsize=16_384)
def rfc3339(ms: int) -> str:
    """`2026-12-02T09:00:00.000Z`, as all public JSON writes times."""
    seconds, rest = divmod(ms, 1000)
    return f"{_to_the_second(seconds)}.{rest:03}Z"


@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:-6]


def parse_rfc3339(text: str) -> int:
    """Milliseconds since the epoch.

    Raises:
        ValueError: not RFC 3339, or without an offset.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"time without an offset: {text!r}")
    return to_ms(at)
