"""An account's month: its spend by day and category and its budgets in; spent, expected and used up by category out. Pure."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import NamedTuple

import msgspec

from services.billing.budgets.forecast import Forecast, Method, Moment, Spending, forecast
from services.billing.tallies.answers import AsOf
from shared.accounts import Account, Budget

TOTAL = None
"""The category of a sum over all of them, as of a budget on everything together."""


class DaySpend(NamedTuple):
    """What one category came to on one day of the account's time zone, in millionths by currency."""

    day: date
    category: str
    micros: Mapping[str, int]


class ScopeOutlook(msgspec.Struct, frozen=True):
    """The month of one category, or (`category` null) of all, in millionths of the account's currency.

    Attributes:
        category: null is all of them together.
        spent_micros: until now.
        expected_micros: at the month's end, and its range, `low_micros` to `high_micros`; null where `method` is none.
        budget_micros: null where there is no budget.
        used_percent: `spent_micros` of the budget, rounded down; null without one, or where it is 0.
        expected_percent: the same of `expected_micros`.
        used_up_on: the day on which the budget is used up, past or expected (`YYYY-MM-DD`); null if not within the month.
    """

    category: str | None
    spent_micros: int
    expected_micros: int | None
    low_micros: int | None
    high_micros: int | None
    budget_micros: int | None
    used_percent: int | None
    expected_percent: int | None
    used_up_on: str | None


class AccountOutlook(msgspec.Struct, frozen=True):
    """An account's month (`YYYY-MM`), of all categories together first, then by category.

    Attributes:
        as_of: when it was reckoned, and how far the ledger was counted then.
        timezone: the account's, in which days and months begin.
        currency: the account's; all amounts are millionths of it.
        method: how the days to come were guessed: weekdays, pace or none.
        days_known: from how many full days, 14 at most.
        other_currencies: what the month came to in currencies that the account no longer has, in millionths; in no other amount.
    """

    waba_id: str
    month: str
    as_of: AsOf
    timezone: str
    currency: str
    method: Method
    days_known: int
    scopes: list[ScopeOutlook]
    other_currencies: dict[str, int]


class Outlooks(msgspec.Struct, frozen=True):
    """The month of every account that is set up."""

    accounts: list[AccountOutlook]


def budget_category(category: str) -> str:
    """The category whose budget a ledger's category counts in: authentication-international is authentication, as the router has it."""
    return "authentication" if category == "authentication_international" else category


def forecasts(account: Account, spend: Iterable[DaySpend], moment: Moment) -> dict[str | None, Forecast]:
    """The forecast of all categories together (None) and of each that has spend or a budget.

    Args:
        account: its budgets and its currency; spend in others is left out.
        spend: the lines of this month and of the one before.
        moment: of the account's time zone.
    """
    lines = list(spend)
    since = min((line.day for line in lines), default=None)
    by_scope: dict[str | None, dict[date, int]] = {TOTAL: {}}
    by_scope |= {budget.category: {} for budget in account.budgets}
    for line in lines:
        micros = line.micros.get(account.currency, 0)
        for scope in (TOTAL, budget_category(line.category)):
            days = by_scope.setdefault(scope, {})
            days[line.day] = days.get(line.day, 0) + micros
    return {scope: forecast(Spending(days, since), moment) for scope, days in by_scope.items()}


def outlook(
    waba_id: str, account: Account, spend: Iterable[DaySpend], moment: Moment, as_of: AsOf
) -> AccountOutlook:
    """The account's month; arguments as `forecasts`."""
    lines = list(spend)
    found = forecasts(account, lines, moment)
    budgets: dict[str | None, int] = {budget.category: budget.amount_micros for budget in account.budgets}
    others: dict[str, int] = {}
    for line in lines:
        if (line.day.year, line.day.month) == (moment.today.year, moment.today.month):
            for currency, micros in line.micros.items():
                if currency != account.currency:
                    others[currency] = others.get(currency, 0) + micros
    return AccountOutlook(
        waba_id=waba_id,
        month=f"{moment.today:%Y-%m}",
        as_of=as_of,
        timezone=account.timezone,
        currency=account.currency,
        method=found[TOTAL].method,
        days_known=found[TOTAL].known,
        scopes=[
            _scope(scope, found[scope], budgets.get(scope))
            for scope in sorted(found, key=lambda scope: scope or "")
        ],
        other_currencies=others,
    )


def _scope(category: str | None, found: Forecast, budget: int | None) -> ScopeOutlook:
    used_up = found.reaches(budget) if budget else None
    return ScopeOutlook(
        category=category,
        spent_micros=found.spent,
        expected_micros=found.expected,
        low_micros=found.low,
        high_micros=found.high,
        budget_micros=budget,
        used_percent=_percent(found.spent, budget),
        expected_percent=None if found.expected is None else _percent(found.expected, budget),
        used_up_on=None if used_up is None else used_up.isoformat(),
    )


def _percent(amount: int, budget: int | None) -> int | None:
    return amount * 100 // budget if budget else None


def passes(amount: int, budget: Budget, percent: int) -> bool:
    """Whether an amount has come to so much of a budget; nothing at all never has, not even of a budget of nothing."""
    return amount > 0 and amount * 100 >= budget.amount_micros * percent
