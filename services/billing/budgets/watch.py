"""Watches budgets and free tiers: what the tallies show and the accounts' facts in; alerts, each once, and the worst account's ratios out."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from time import monotonic
from zoneinfo import ZoneInfoNotFoundError

import structlog
from aiokafka import AIOKafkaProducer

from services.billing.budgets.alerts import budget_alerts, free_tier_alerts, looked_at
from services.billing.budgets.forecast import Forecast, Moment, moment_of
from services.billing.budgets.outbox import RedisOutbox
from services.billing.budgets.outlook import forecasts
from services.billing.budgets.shown import RedisShown
from services.billing.free_tier import free_tier_of
from services.billing.settings import TalliesSettings
from services.billing.tallies.figures import SHARE_OF_TIME
from shared import kafka
from shared.accounts import Account, AccountFacts, Budget
from shared.clock import Clock
from shared.events import BillingAlert, decode_billing_alert
from shared.lifecycle import Service
from shared.metrics import ALERT_PERCENTS, BUDGET_ALERTS, BUDGET_EXPECTED, BUDGET_SCOPES, BUDGET_USED
from shared.pricing import Regimes, UnknownRegimeError, local_day, month_start
from shared.stream.publisher import partition_of
from shared.times import from_ms, rfc3339, to_ms
from shared.topics import BILLING_ALERTS

log = structlog.get_logger(__name__)


class BudgetWatch:
    """A part that looks at all accounts with a budget or a free tier, again and again.

    Args:
        facts: of the accounts, as of now.
        regimes: all of them, for the free tier.
        in_charge: whether this process is the one that watches; of several that tally, the owner of the ledger's first partition.
    """

    def __init__(
        self,
        service: Service,
        settings: TalliesSettings,
        shown: RedisShown,
        outbox: RedisOutbox,
        clock: Clock,
        *,
        facts: Callable[[], AccountFacts],
        regimes: Regimes,
        in_charge: Callable[[], bool],
    ) -> None:
        self._service = service
        self._settings = settings
        self._shown = shown
        self._outbox = outbox
        self._clock = clock
        self._facts = facts
        self._regimes = regimes
        self._in_charge = in_charge
        self._producer: AIOKafkaProducer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin the rounds."""
        self._producer = kafka.producer(self._settings)
        await self._producer.start()
        self._task = self._service.spawn(self._run(self._producer), "budgets")

    async def stop(self) -> None:
        """End them; what is decided and not published is published by the next process."""
        if self._task is not None:
            self._task.cancel()
        if self._producer is not None:
            await self._producer.stop()

    async def _run(self, producer: AIOKafkaProducer) -> None:
        while True:
            ratios = _Ratios()
            if self._in_charge():
                await self._look(producer, ratios)
            ratios.show()
            await asyncio.sleep(self._settings.budgets_period_s)

    async def _look(self, producer: AIOKafkaProducer, ratios: "_Ratios") -> None:
        await self._publish(producer)
        for waba_id in self._facts().accounts():
            account, began = self._facts().account(waba_id), monotonic()
            if account is None:
                continue
            try:
                await self._look_at(waba_id, account, self._clock.now(), ratios)
                await self._publish(producer)
                await asyncio.sleep((monotonic() - began) * (1 / SHARE_OF_TIME - 1))
            except (UnknownRegimeError, ZoneInfoNotFoundError) as error:
                log.error("account_not_watched", waba_id=waba_id, error=str(error))

    async def _look_at(self, waba_id: str, account: Account, now: datetime, ratios: "_Ratios") -> None:
        facts, moment, at = self._facts(), moment_of(now, account.timezone), rfc3339(to_ms(now))
        month = _month(moment)
        regime = self._regimes.regime_at(
            account.regime, month_start(month, account.timezone), account.timezone
        )
        if regime.free_tier is not None:
            tally = await self._shown.tally(waba_id, month)
            free = free_tier_of(tally, account, facts.numbers_of(waba_id), self._regimes)
            if free is not None:
                await self._outbox.decide(month, list(free_tier_alerts(waba_id, free, month, at)))
        if not account.budgets:
            return
        spend = await self._shown.spend(waba_id, moment.today)
        budgets_set = facts.settings_of(("account", waba_id, waba_id))["budgets"].at_ms
        for of in looked_at(moment, local_day(from_ms(budgets_set), account.timezone)):
            found = forecasts(account, spend, of)
            if of == moment:
                ratios.note(account, found)
            alerts = budget_alerts(waba_id, account, found, _month(of), at)
            await self._outbox.decide(_month(of), list(alerts))

    async def _publish(self, producer: AIOKafkaProducer) -> None:
        """Publish what is decided, one after the other, so that who reads them sees them in order."""
        topic = kafka.name_of(BILLING_ALERTS, self._settings)
        for value in await self._outbox.waiting():
            alert = decode_billing_alert(value)
            key = alert.waba_id.encode()
            partition = partition_of(key, self._settings.partitions)
            await producer.send_and_wait(topic, value, key, partition, headers=_headers(alert))
            await self._outbox.published(value)
            label = str(alert.percent) if str(alert.percent) in ALERT_PERCENTS else "other"
            BUDGET_ALERTS.labels(alert.alert, label).inc()
            log.info("billing_alert", id=alert.event_id, reached_on=alert.reached_on)


class _Ratios:
    """How much of its budget the worst account has used, and is going to, by the budget's scope."""

    def __init__(self) -> None:
        self._used = dict.fromkeys(BUDGET_SCOPES, 0.0)
        self._expected = dict.fromkeys(BUDGET_SCOPES, 0.0)

    def note(self, account: Account, found: Mapping[str | None, Forecast]) -> None:
        """Take an account in."""
        for budget in account.budgets:
            outlook, scope = found[budget.category], budget.category or "all"
            expected = outlook.spent if outlook.expected is None else outlook.expected
            self._used[scope] = max(self._used[scope], _ratio(outlook.spent, budget))
            self._expected[scope] = max(self._expected[scope], _ratio(expected, budget))

    def show(self) -> None:
        """Set the gauges."""
        for scope in BUDGET_SCOPES:
            BUDGET_USED.labels(scope).set(self._used[scope])
            BUDGET_EXPECTED.labels(scope).set(self._expected[scope])


def _ratio(amount: int, budget: Budget) -> float:
    """Of a budget of nothing: 1 as soon as there is something."""
    return amount / budget.amount_micros if budget.amount_micros else float(amount > 0)


def _month(moment: Moment) -> str:
    return f"{moment.today:%Y-%m}"


def _headers(alert: BillingAlert) -> list[tuple[str, bytes]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", alert.event_id.encode()),
        ("ce_type", b"BillingAlert"),
        ("ce_source", b"/tallies"),
        ("content-type", b"application/json"),
    ]
