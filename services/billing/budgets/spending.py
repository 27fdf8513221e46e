"""Adapter to the tallies in Redis: an account in, its spend by day of this month and the one before out."""

from datetime import date, timedelta

from redis.asyncio import Redis

from services.billing.budgets.outlook import DaySpend
from services.billing.settings import TalliesSettings
from services.billing.tally import spend_of_month


class RedisSpending:
    """Reads what the tallies show."""

    def __init__(self, redis: Redis, settings: TalliesSettings) -> None:
        self._redis = redis
        self._namespace = settings.redis_namespace
        self._generation = settings.tallies_generation

    async def until(self, waba_id: str, today: date) -> list[DaySpend]:
        """The account's spend of the month of `today` (in its time zone) and of the month before."""
        lines: list[DaySpend] = []
        first = today.replace(day=1)
        for month in (first - timedelta(1), first):
            found = await spend_of_month(
                self._redis, self._namespace, waba_id, f"{month:%Y-%m}", generation=self._generation
            )
            lines += [
                DaySpend(date.fromisoformat(line.day), line.category, line.micros) for line in found.days
            ]
        return lines
