"""Adapter to the tallies in Redis: an account and a day in; its spend by day until then, and its tally of the month, out."""

from datetime import date, timedelta
from typing import Any

import msgspec
from redis.asyncio import Redis

from services.billing.budgets.outlook import DaySpend
from services.billing.settings import TalliesSettings
from services.billing.tally import Tally, month_tally
from services.billing.tally_rows import SEPARATOR, Counts, days_key

AT_ONCE = 500
"""Rows read in one go: between two of them the loop tallies on."""


class _DayRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of a day without its hours: they are most of its bytes, and skipped unread."""

    source: Any
    counts: Counts


_decode = msgspec.json.Decoder(_DayRow).decode


class RedisShown:
    """Reads what the tallies show. Raises redis.RedisError."""

    def __init__(self, redis: Redis, settings: TalliesSettings) -> None:
        self._redis = redis
        self._namespace = settings.redis_namespace
        self._generation = settings.tallies_generation

    async def spend(self, waba_id: str, today: date) -> list[DaySpend]:
        """The account's spend in the month of `today` (of its time zone) and in the month before, a line for each row."""
        first = today.replace(day=1)
        lines: list[DaySpend] = []
        for month in (first - timedelta(1), first):
            key = days_key(self._namespace, self._generation, waba_id, f"{month:%Y-%m}")
            rows: dict[bytes, DaySpend] = {}
            # A scan may tell a field twice, and each row is whole.
            async for field, row in self._redis.hscan_iter(key, count=AT_ONCE):
                _, day, category = field.decode().split(SEPARATOR)
                rows[field] = DaySpend(date.fromisoformat(day), category, _decode(row).counts.micros)
            lines += rows.values()
        return lines

    async def tally(self, waba_id: str, month: str) -> Tally:
        """The account's tally of a month, `YYYY-MM`."""
        return await month_tally(self._redis, self._namespace, waba_id, month, generation=self._generation)
