"""Which thresholds of an account's budgets and free tier are passed: forecasts and use in, one alert for each out, whether told before or not. Pure."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Literal

from services.billing.budgets.forecast import Forecast, Moment, month_before
from services.billing.budgets.outlook import passes
from services.billing.free_tier import FreeTierOfMonth
from shared.accounts import Account, Budget
from shared.events import BillingAlert

Kind = Literal["spent", "forecast"]
LATE_DAYS = 3
"""So many days into a month the one before is looked at too: what was delivered in its last moments, or corrected since, is told of then."""
FREE_TIER_PERCENTS = (80, 100)
"""Of a free tier there is nothing to raise: soon it costs, and now it costs."""


def alert_id(waba_id: str, scope: str | None, month: str, kind: str, percent: int) -> str:
    """An alert's identity: what an account (`waba_id`) is told of one threshold once a month, whatever the amounts are by then.

    `scope` is a budget's category or a free tier's number; None is the whole account's.
    """
    return f"{waba_id}:{scope or 'all'}:{month}:{kind}:{percent}"


def looked_at(moment: Moment, budgets_set: date) -> tuple[Moment, ...]:
    """What is looked at now: this month, and in its first days the end of the one before, unless the budgets were set since and are none of its own."""
    first = moment.today.replace(day=1)
    late = moment.today.day <= LATE_DAYS and budgets_set < first
    return (month_before(moment), moment) if late else (moment,)


def budget_alerts(
    waba_id: str, account: Account, found: Mapping[str | None, Forecast], month: str, at: str
) -> Iterator[BillingAlert]:
    """An alert for each threshold of each budget that what is spent has passed, or else what is expected; the lowest first.

    Args:
        waba_id: of the account.
        account: with its budgets and thresholds.
        found: a forecast for each of the account's budgets (`outlook.forecasts`).
        month: `YYYY-MM`, what the forecasts are of.
        at: now, RFC 3339.
    """
    for budget in account.budgets:
        outlook = found[budget.category]
        for percent in sorted(account.budget_thresholds):
            if passes(outlook.spent, budget, percent):
                yield _alert(waba_id, account, budget, outlook, month, at, "spent", percent)
            elif outlook.expected is not None and passes(outlook.expected, budget, percent):
                yield _alert(waba_id, account, budget, outlook, month, at, "forecast", percent)


def free_tier_alerts(waba_id: str, found: FreeTierOfMonth, month: str, at: str) -> Iterator[BillingAlert]:
    """An alert for each threshold that the use of a free tier has passed, for each number where each has one; arguments as `budget_alerts`."""
    for use in found.use:
        number = use.owner if found.scope == "number" else None
        for percent in FREE_TIER_PERCENTS:
            if use.used * 100 >= found.units_per_month * percent:
                yield BillingAlert(
                    event_id=alert_id(waba_id, number, month, "free_tier", percent),
                    alert="free_tier",
                    at=at,
                    waba_id=waba_id,
                    month=month,
                    percent=percent,
                    phone_number_id=number,
                    free_units=found.units_per_month,
                    free_used=use.used,
                )


def _alert(
    waba_id: str,
    account: Account,
    budget: Budget,
    found: Forecast,
    month: str,
    at: str,
    kind: Kind,
    percent: int,
) -> BillingAlert:
    reached = found.reaches(max(1, -(-budget.amount_micros * percent // 100)))
    return BillingAlert(
        event_id=alert_id(waba_id, budget.category, month, kind, percent),
        alert=kind,
        at=at,
        waba_id=waba_id,
        month=month,
        percent=percent,
        category=budget.category,
        currency=account.currency,
        budget_micros=budget.amount_micros,
        spent_micros=found.spent,
        expected_micros=found.expected,
        low_micros=found.low,
        high_micros=found.high,
        method=found.method,
        reached_on=None if reached is None else reached.isoformat(),
    )
