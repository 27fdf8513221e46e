"""Day and month of an instant in a WABA's time zone, where regimes, cards and free tiers turn. Pure.

The first use of a time zone reads it from the system's database; later ones are served from memory.
"""

from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

_zone = lru_cache(maxsize=1024)(ZoneInfo)


def local_day(at: datetime, timezone: str) -> date:
    """Return the calendar day of an aware instant in an IANA time zone.

    Raises:
        ValueError: `at` is naive.
        zoneinfo.ZoneInfoNotFoundError: nobody knows this time zone (a KeyError).
    """
    if at.tzinfo is None:
        raise ValueError("a price needs an aware time")
    return at.astimezone(_zone(timezone)).date()


def local_month(at: datetime, timezone: str) -> str:
    """Return the month, `YYYY-MM`, of an aware instant in an IANA time zone; raises as `local_day`."""
    return f"{local_day(at, timezone):%Y-%m}"


def month_start(month: str, timezone: str) -> datetime:
    """Return the first instant of a month, `YYYY-MM`, in an IANA time zone; raises as `local_day`."""
    year, number = map(int, month.split("-"))
    return datetime(year, number, 1, tzinfo=_zone(timezone))


def month_end(month: str, timezone: str) -> datetime:
    """Return the first instant after a month, `YYYY-MM`, in an IANA time zone; raises as `local_day`."""
    year, number = map(int, month.split("-"))
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=_zone(timezone))
