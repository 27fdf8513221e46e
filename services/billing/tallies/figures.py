"""The accounts' current months and days as metrics: rows in Redis in, gauges without any account's name out."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from time import monotonic

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.billing.free_tier import FreeTierOfMonth, free_tier_of
from services.billing.settings import TalliesSettings
from services.billing.tally import Tally, Totals, month_tally, months_known, totals_of_day
from shared.accounts import Account, AccountFacts
from shared.clock import Clock
from shared.lifecycle import Service
from shared.metrics import (
    BILLED_CATEGORIES,
    CURRENCIES,
    FREE_TIER_USED,
    MONTH_CONVERSATIONS,
    MONTH_SPENT_MICROS,
    MONTH_UNITS,
    TODAY_SPENT_MICROS,
)
from shared.pricing import Regimes, local_day

log = structlog.get_logger(__name__)

ROUND_S = 15.0
AT_MOST = 0.05
"""Share of the time that looking may take: beside it the same loop tallies. With many accounts a round lasts longer."""


class Figures:
    """A part that sets the gauges, round by round; a round that fails leaves them as they are."""

    def __init__(
        self,
        service: Service,
        settings: TalliesSettings,
        redis: Redis,
        clock: Clock,
        *,
        facts: Callable[[], AccountFacts],
        regimes: Regimes,
        partitions: Callable[[], int],
    ) -> None:
        self._service = service
        self._settings = settings
        self._redis = redis
        self._clock = clock
        self._facts = facts
        self._regimes = regimes
        self._partitions = partitions

    async def start(self) -> None:
        """Begin the rounds."""
        self._service.spawn(self._run(), "figures")

    async def stop(self) -> None:
        """Nothing: the task ends with the service."""

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            try:
                await self.round()
            except RedisError as error:
                log.warning("figures_missing", error=repr(error))

    async def round(self) -> None:
        """Look at every account of which something was counted, and set all gauges at once."""
        settings = self._settings
        sums = _Sums()
        known = await months_known(
            self._redis, settings.redis_namespace, generation=settings.tallies_generation
        )
        for waba_id, months in known.items():
            began = monotonic()
            account = self._facts().account(waba_id) or Account()
            day = local_day(self._clock.now(), account.timezone).isoformat()
            if day[:7] in months:
                await self._add(sums, waba_id, account, day)
                await asyncio.sleep((monotonic() - began) * (1 / AT_MOST - 1))
        sums.show()

    async def _add(self, sums: "_Sums", waba_id: str, account: Account, day: str) -> None:
        settings = self._settings
        namespace, generation = settings.redis_namespace, settings.tallies_generation
        tally = await month_tally(self._redis, namespace, waba_id, day[:7], generation=generation)
        today = await totals_of_day(
            self._redis,
            namespace,
            waba_id,
            day,
            categories=tally.totals,
            partitions=self._partitions(),
            generation=generation,
        )
        tier = free_tier_of(tally, account, self._facts().numbers_of(waba_id), self._regimes)
        sums.add(tally, today, tier)


class _Sums:
    """What the gauges will show: sums over accounts by the gauges' labels."""

    def __init__(self) -> None:
        self._units: Counter[tuple[str, str, str]] = Counter()
        self._conversations: Counter[tuple[str, str]] = Counter()
        self._month: Counter[tuple[str, str]] = Counter()
        self._today: Counter[tuple[str, str]] = Counter()
        self._tier_used = 0.0

    def add(self, tally: Tally, today: Mapping[str, Totals], tier: FreeTierOfMonth | None) -> None:
        """Add an account."""
        for row in tally.rows:
            category = _category(row.category)
            self._units[category, row.unit, "free"] += row.free
            self._units[category, row.unit, "paid"] += row.paid
            self._conversations[category, "free"] += row.conversations_free
            self._conversations[category, "paid"] += row.conversations_paid
            for currency, micros in row.micros.items():
                self._month[category, _currency(currency)] += micros
        for name, totals in today.items():
            for currency, micros in totals.micros.items():
                self._today[_category(name), _currency(currency)] += micros
        if tier is not None:
            worst = max((use.used / tier.units_per_month for use in tier.use), default=0.0)
            self._tier_used = max(self._tier_used, worst)

    def show(self) -> None:
        """Set every child of every gauge."""
        for category in BILLED_CATEGORIES:
            for price in ("free", "paid"):
                MONTH_CONVERSATIONS.labels(category, price).set(self._conversations[category, price])
                for unit in ("conversation", "message"):
                    MONTH_UNITS.labels(category, unit, price).set(self._units[category, unit, price])
            for currency in CURRENCIES:
                MONTH_SPENT_MICROS.labels(category, currency).set(self._month[category, currency])
                TODAY_SPENT_MICROS.labels(category, currency).set(self._today[category, currency])
        FREE_TIER_USED.set(self._tier_used)


def _category(name: str) -> str:
    return name if name in BILLED_CATEGORIES else "other"


def _currency(name: str) -> str:
    return name if name in CURRENCIES else "other"
