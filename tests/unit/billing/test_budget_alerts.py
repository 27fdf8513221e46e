"""Alerts of budgets: over any history each threshold is told once a month, as a naive model has it; and what an account's month looks like."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing.budgets.alerts import budget_alerts, free_tier_alerts, looked_at
from services.billing.budgets.forecast import Moment, month_before
from services.billing.budgets.outlook import DaySpend, forecasts, outlook
from services.billing.free_tier import FreeTierOfMonth, FreeTierUse
from services.billing.tallies.answers import AsOf
from shared.accounts import Account, Budget
from shared.events import BillingAlert

USD = 1_000_000
AT = "2026-11-16T12:00:00.000Z"
NOON = Moment(date(2026, 11, 16), Fraction(1, 2))


def account(*budgets: tuple[int, str | None], **facts: Any) -> Account:
    return Account(budgets=[Budget(amount, category) for amount, category in budgets], **facts)  # type: ignore[arg-type]


def day(ago: int, micros: int, category: str = "utility", currency: str = "USD") -> DaySpend:
    return DaySpend(NOON.today - timedelta(ago), category, {currency: micros})


def due(of: Account, spend: Sequence[DaySpend], moment: Moment = NOON) -> list[BillingAlert]:
    return list(budget_alerts("W1", of, forecasts(of, spend, moment), f"{moment.today:%Y-%m}", AT))


def ids(alerts: Sequence[BillingAlert]) -> list[str]:
    return [alert.event_id for alert in alerts]


def test_each_threshold_that_is_passed_is_told_the_lowest_first() -> None:
    found = due(account((100 * USD, None)), [day(0, 80 * USD)])
    assert ids(found) == ["W1:all:2026-11:spent:50", "W1:all:2026-11:spent:80"]
    assert [alert.spent_micros for alert in found] == [80 * USD] * 2
    assert {alert.reached_on for alert in found} == {"2026-11-16"}
    assert found[0].expected_micros is None
    assert due(account((100 * USD, None)), [day(0, 50 * USD - 1)]) == []


def test_what_is_only_expected_is_told_with_the_day_on_which_it_will_be() -> None:
    spend = [day(ago, USD) for ago in range(1, 16)]
    half, most, all_of_it = due(account((24 * USD, "utility")), spend)
    assert (half.alert, half.percent, half.reached_on) == ("spent", 50, "2026-11-12")
    assert (most.event_id, most.reached_on) == ("W1:utility:2026-11:forecast:80", "2026-11-20")
    assert (all_of_it.event_id, all_of_it.reached_on) == ("W1:utility:2026-11:forecast:100", "2026-11-25")
    assert (most.spent_micros, most.expected_micros, most.method) == (
        15 * USD,
        29 * USD + USD // 2,
        "weekdays",
    )


def test_what_is_spent_needs_no_forecast_besides() -> None:
    spend = [day(ago, 2 * USD) for ago in range(1, 16)]
    assert {alert.alert for alert in due(account((USD, None)), spend)} == {"spent"}


def test_an_account_chooses_its_thresholds_and_may_choose_none() -> None:
    spend = [day(0, 99 * USD)]
    assert ids(due(account((100 * USD, None), budget_thresholds=[95, 33]), spend)) == [
        "W1:all:2026-11:spent:33",
        "W1:all:2026-11:spent:95",
    ]
    assert due(account((100 * USD, None), budget_thresholds=[]), spend) == []


def test_a_budget_of_nothing_is_passed_by_the_first_charge_and_not_before() -> None:
    assert due(account((0, None)), []) == []
    found = due(account((0, None)), [day(0, 1)])
    assert [alert.percent for alert in found] == [50, 80, 100]
    assert {alert.reached_on for alert in found} == {"2026-11-16"}


def test_one_time_passwords_abroad_count_in_the_budget_of_authentication() -> None:
    spend = [day(0, 60 * USD, "authentication_international"), day(0, 30 * USD, "marketing")]
    assert ids(due(account((100 * USD, "authentication"), budget_thresholds=[50]), spend)) == [
        "W1:authentication:2026-11:spent:50"
    ]


def test_the_month_before_is_told_as_it_ended() -> None:
    first = Moment(date(2026, 12, 1), Fraction(1, 100))
    spend = [
        DaySpend(date(2026, 11, 30), "utility", {"USD": 81 * USD}),
        DaySpend(first.today, "utility", {"USD": USD}),
    ]
    of = account((100 * USD, None), budget_thresholds=[80])
    (alert,) = due(of, spend, month_before(first))
    assert (alert.event_id, alert.spent_micros, alert.reached_on) == (
        "W1:all:2026-11:spent:80",
        81 * USD,
        "2026-11-30",
    )
    assert ids(due(of, spend, first)) == ["W1:all:2026-12:forecast:80"]


@pytest.mark.parametrize(
    ("today", "budgets_set", "months"),
    [
        (date(2026, 12, 3), date(2026, 11, 30), [date(2026, 11, 30), date(2026, 12, 3)]),
        (date(2026, 12, 3), date(2026, 12, 1), [date(2026, 12, 3)]),
        (date(2026, 12, 4), date(2026, 11, 30), [date(2026, 12, 4)]),
    ],
)
def test_the_month_before_is_looked_at_in_the_first_days_unless_the_budgets_are_younger(
    today: date, budgets_set: date, months: list[date]
) -> None:
    assert [of.today for of in looked_at(Moment(today, Fraction(0)), budgets_set)] == months


def test_an_outlook_names_all_first_then_the_categories_and_what_is_of_another_currency() -> None:
    spend = [
        *(day(ago, USD) for ago in range(15)),
        day(1, 3 * USD, "marketing"),
        day(1, 7, "marketing", currency="INR"),
        day(20, 9, "marketing", currency="INR"),
    ]
    found = outlook(
        "W1", account((100 * USD, None), (10 * USD, "utility"), (0, "service")), spend, NOON, AsOf(AT, 0)
    )
    assert (found.month, found.currency, found.method, found.days_known) == ("2026-11", "USD", "weekdays", 14)
    assert [scope.category for scope in found.scopes] == [None, "marketing", "service", "utility"]
    assert found.other_currencies == {"INR": 7}
    total, marketing, service, utility = found.scopes
    assert (total.spent_micros, total.used_percent, total.used_up_on) == (18 * USD, 18, None)
    assert (marketing.spent_micros, marketing.budget_micros, marketing.used_percent) == (3 * USD, None, None)
    assert (service.spent_micros, service.budget_micros, service.used_percent) == (0, 0, None)
    assert (utility.used_percent, utility.expected_percent, utility.used_up_on) == (150, 295, "2026-11-11")


@pytest.mark.parametrize(("scope", "owner", "named"), [("number", "N1", "N1"), ("waba", "W1", "all")])
def test_a_free_tier_is_told_of_when_most_of_it_is_used_and_when_all_is(
    scope: Literal["waba", "number"], owner: str, named: str
) -> None:
    def told(used: int) -> list[BillingAlert]:
        use = [FreeTierUse(owner, used, max(0, 1000 - used))]
        return list(
            free_tier_alerts("W1", FreeTierOfMonth("guide", scope, "message", 1000, use), "2026-11", AT)
        )

    assert told(799) == []
    assert ids(told(999)) == [f"W1:{named}:2026-11:free_tier:80"]
    assert ids(told(1000)) == [f"W1:{named}:2026-11:free_tier:{percent}" for percent in (80, 100)]
    assert told(800)[0].phone_number_id == (owner if scope == "number" else None)
    assert (told(800)[0].free_used, told(800)[0].free_units) == (800, 1000)


# --- against a naive model


@dataclass
class Naive:
    """Keeps every entry and asks of each threshold, after each, whether it was ever passed."""

    budgets: list[tuple[str | None, int]]
    thresholds: list[int]
    entries: list[tuple[date, str, int]] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

    def spent(self, category: str | None, month: str) -> int:
        return sum(
            amount
            for when, what, amount in self.entries
            if f"{when:%Y-%m}" == month and category in (None, what)
        )

    def expected(self, category: str | None, now: Moment) -> Fraction | None:
        if not self.entries or min(when for when, _, _ in self.entries) >= now.today:
            return None
        begin = min(when for when, _, _ in self.entries)
        known = min(14, (now.today - begin).days)

        def of(when: date) -> int:
            return max(0, sum(a for d, what, a in self.entries if d == when and category in (None, what)))

        def like(when: date) -> Fraction:
            if known == 14:
                ago = (now.today - when).days % 7 or 7
                later, earlier = (of(now.today - timedelta(n)) for n in (ago, ago + 7))
                return Fraction(2 * later + earlier, 3)
            last = min(7, known)
            return Fraction(sum(of(now.today - timedelta(n)) for n in range(1, last + 1)), last)

        total, when = Fraction(self.spent(category, f"{now.today:%Y-%m}")), now.today
        while when.month == now.today.month:
            total += like(when) * (1 - now.elapsed if when == now.today else 1)
            when += timedelta(1)
        return total

    def look(self, now: Moment) -> None:
        month = f"{now.today:%Y-%m}"
        for category, budget in self.budgets:
            spent, expected = self.spent(category, month), self.expected(category, now)
            for percent in self.thresholds:
                share = Fraction(budget * percent, 100)
                id = f"W1:{category or 'all'}:{month}"
                if spent > 0 and spent >= share:
                    self.told.add(f"{id}:spent:{percent}")
                elif expected is not None and int(expected) > 0 and int(expected) >= share:
                    self.told.add(f"{id}:forecast:{percent}")


entries = st.tuples(st.integers(-2, 0), st.sampled_from(["marketing", "utility"]), st.integers(-20, 100))


@given(
    budgets=st.dictionaries(
        st.sampled_from([None, "marketing", "utility"]), st.integers(0, 3000), min_size=1, max_size=3
    ),
    thresholds=st.lists(st.integers(1, 200), unique=True, max_size=4),
    history=st.lists(
        st.tuples(st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(2)]), st.lists(entries, max_size=4)),
        max_size=30,
    ),
)
def test_over_any_history_the_alerts_are_those_of_a_naive_model_and_each_comes_once(
    budgets: dict[str | None, int],
    thresholds: list[int],
    history: list[tuple[Fraction, list[tuple[int, str, int]]]],
) -> None:
    of = account(*((amount, category) for category, amount in budgets.items()), budget_thresholds=thresholds)
    naive = Naive(list(budgets.items()), thresholds)
    clock, told = Fraction((date(2026, 1, 20) - date(1970, 1, 1)).days), list[str]()
    for passes, news in history:
        clock += passes
        now = Moment(date(1970, 1, 1) + timedelta(int(clock)), clock - int(clock))
        naive.entries += [(now.today + timedelta(late), what, amount) for late, what, amount in news]
        naive.look(now)
        spend = [DaySpend(when, what, {"USD": amount}) for when, what, amount in naive.entries]
        told += [alert for alert in ids(due(of, spend, now)) if alert not in told]
    assert set(told) == naive.told


@pytest.mark.parametrize("scope", [None, "marketing"])
def test_a_forecast_that_falls_back_and_crosses_again_has_the_same_id(scope: str | None) -> None:
    of = account((100 * USD, scope), budget_thresholds=[100])
    busy = [day(ago, 7 * USD, "marketing") for ago in range(1, 8)]
    quiet = [day(ago, 3 * USD, "marketing") for ago in range(1, 8)]
    (first,), none, (again,) = due(of, busy), due(of, quiet), due(of, [*busy, day(0, USD, "marketing")])
    assert none == []
    assert first.event_id == again.event_id
