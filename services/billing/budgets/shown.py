"""Adapter to the tallies in Redis: an account and a day in; its spend by day until then, and its tally of the month, out."""

from datetime import date, timedelta

from redis.asyncio import Redis

from services.billing.budgets.outlook import DaySpend
from services.billing.settings import TalliesSettings
from services.billing.tally import Tally, month_tally, spend_of_month


class RedisShown:
    """Reads what the tallies show. Raises redis.RedisError."""

    def __init__(self, redis: Redis, settings: TalliesSettings) -> None:
        self._redis = redis
        self._namespace = settings.redis_namespace
        self._generation = settings.tallies_generation

    async def spend(self, waba_id: str, today: date) -> list[DaySpend]:
        """The account's spend in the month of `today` (of its time zone) and in the month before."""
        first = today.replace(day=1)
        return [
            DaySpend(date.fromisoformat(line.day), line.category, line.micros)
            for month in (first - timedelta(1), first)
            for line in (
                await spend_of_month(
                    self._redis, self._namespace, waba_id, f"{month:%Y-%m}", generation=self._generation
                )
            ).days
        ]

    async def tally(self, waba_id: str, month: str) -> Tally:
        """The account's tally of a month, `YYYY-MM`."""
        return await month_tally(self._redis, self._namespace, waba_id, month, generation=self._generation)
