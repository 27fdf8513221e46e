"""The forecast: linear in the spend, exact at the month's end, never below what is spent, and told apart by how much is known."""

import random
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing.budgets.forecast import Moment, Spending, forecast, moment_of

USD = 1_000_000
MONDAY = date(2026, 11, 16)


def days(*amounts: int, until: date = MONDAY) -> dict[date, int]:
    """The amounts of the days up to `until`, the latest last."""
    return {until - timedelta(len(amounts) - 1 - n): amount for n, amount in enumerate(amounts)}


def spending(*amounts: int, until: date = MONDAY) -> Spending:
    found = days(*amounts, until=until)
    return Spending(found, min(found, default=None))


def at(day: date, elapsed: Fraction = Fraction(0)) -> Moment:
    return Moment(day, elapsed)


def test_nothing_is_expected_of_an_account_of_which_not_one_full_day_is_known() -> None:
    for known in (Spending({}, None), spending(5 * USD)):
        found = forecast(known, at(MONDAY, Fraction(1, 2)))
        assert (found.method, found.known, found.expected, found.low, found.high) == (
            "none",
            0,
            None,
            None,
            None,
        )
        assert found.spent == sum(known.days.values())
        assert max(found.course) == MONDAY


def test_with_one_full_day_the_rest_of_the_month_is_like_it_and_may_be_anything_up_to_thrice_that() -> None:
    found = forecast(spending(2 * USD, 0), at(MONDAY))
    assert (found.method, found.known, found.spent) == ("pace", 1, 2 * USD)
    assert found.expected == 2 * USD + 15 * 2 * USD
    assert found.low == found.spent
    assert found.high is not None
    assert found.high > 2 * found.expected


def test_less_than_two_weeks_are_taken_at_the_mean_of_the_last_seven_full_days() -> None:
    found = forecast(spending(*[90 * USD] * 3, *[USD] * 7, 5), at(MONDAY))
    assert (found.method, found.known) == ("pace", 10)
    assert found.expected == found.spent + 15 * USD
    assert (found.low, found.high) == (found.expected, found.expected)


def test_two_weeks_tell_the_weekdays_apart_and_the_later_week_counts_double() -> None:
    week = [3 * USD, *[0] * 6]  # Mondays only
    found = forecast(spending(*week, *(2 * day for day in week), 0), at(MONDAY))
    assert (found.method, found.known) == ("weekdays", 14)
    monday = (2 * 6 * USD + 3 * USD) // 3
    assert found.expected == found.spent + 3 * monday  # the 16th, 23rd and 30th
    assert found.reaches(found.spent + 1) == MONDAY
    assert found.reaches(found.spent + monday + 1) == date(2026, 11, 23)
    assert found.reaches(found.spent + 3 * monday + 1) is None


def test_the_first_days_of_a_month_are_forecast_from_the_month_before() -> None:
    second = date(2026, 12, 2)
    found = forecast(spending(*[USD] * 20, 0, until=second), at(second, Fraction(1, 2)))
    assert (found.method, found.spent) == ("weekdays", USD)
    assert found.expected == USD + 29 * USD + USD // 2


def test_a_day_past_is_named_where_the_amount_was_reached_in_it() -> None:
    found = forecast(spending(*[USD] * 16), at(MONDAY))
    assert found.reaches(1) == date(2026, 11, 1)
    assert found.reaches(3 * USD) == date(2026, 11, 3)


def test_a_day_on_which_more_was_taken_back_than_charged_lowers_the_sum_and_counts_as_nothing_in_the_pace() -> (
    None
):
    found = forecast(spending(*[0] * 13, 10 * USD, -4 * USD, 0), at(MONDAY))
    assert found.spent == 6 * USD
    assert found.expected == 6 * USD + 2 * 2 * 10 * USD // 3  # the Saturdays 21 and 28


@pytest.mark.parametrize(
    ("now", "timezone", "day", "elapsed"),
    [
        (datetime(2026, 11, 30, 18, 30, tzinfo=UTC), "Asia/Kolkata", date(2026, 12, 1), Fraction(0)),
        (datetime(2026, 11, 30, 18, 29, tzinfo=UTC), "Asia/Kolkata", date(2026, 11, 30), Fraction(1439, 1440)),
        (datetime(2026, 10, 25, 11, 30, tzinfo=UTC), "Europe/Berlin", date(2026, 10, 25), Fraction(27, 50)),
        (datetime(2026, 3, 29, 10, 30, tzinfo=UTC), "Europe/Berlin", date(2026, 3, 29), Fraction(1, 2)),
    ],
)  # fmt: skip
def test_the_day_is_the_accounts_own_and_has_the_hours_that_it_has_there(
    now: datetime, timezone: str, day: date, elapsed: Fraction
) -> None:
    assert moment_of(now, timezone) == Moment(day, elapsed)


moments = st.builds(
    Moment,
    today=st.dates(date(2026, 2, 1), date(2026, 4, 30)),
    elapsed=st.fractions(0, 1, max_denominator=24),
)
amounts = st.lists(st.integers(0, 10**12), min_size=1, max_size=45)


@given(amounts, moments)
def test_the_expected_amount_lies_in_its_range_and_never_below_what_is_spent(
    known: list[int], moment: Moment
) -> None:
    found = forecast(spending(*known, until=moment.today), moment)
    assert found.spent == sum(
        amount
        for day, amount in days(*known, until=moment.today).items()
        if (day.year, day.month) == (moment.today.year, moment.today.month)
    )
    if found.expected is None:
        assert len(known) == 1
        return
    assert found.low is not None
    assert found.high is not None
    assert found.spent <= found.low <= found.expected <= found.high
    totals = list(found.course.values())
    assert totals == sorted(totals)
    assert totals[-1] == found.expected


@given(amounts, moments, st.data())
def test_spending_more_on_any_day_never_lowers_the_forecast(
    known: list[int], moment: Moment, data: st.DataObject
) -> None:
    before = forecast(spending(*known, until=moment.today), moment)
    place = data.draw(st.integers(0, len(known) - 1))
    more = [*known]
    more[place] += data.draw(st.integers(0, 10**12))
    after = forecast(spending(*more, until=moment.today), moment)
    assert (after.expected or 0) >= (before.expected or 0)
    assert after.method == before.method


@given(amounts, moments)
def test_at_the_months_end_the_forecast_is_what_is_spent(known: list[int], moment: Moment) -> None:
    last = (moment.today.replace(day=28) + timedelta(4)).replace(day=1) - timedelta(1)
    found = forecast(spending(*known, until=last), Moment(last, Fraction(1)))
    if len(known) > 1:
        assert found.spent == found.expected == found.low == found.high


@given(st.lists(st.tuples(*[st.integers(0, 10**12)] * 3), min_size=2, max_size=45), moments)
def test_the_forecasts_of_the_categories_add_up_to_that_of_all(
    known: list[tuple[int, ...]], moment: Moment
) -> None:
    parts = [
        forecast(spending(*category, until=moment.today), moment) for category in zip(*known, strict=True)
    ]
    whole = forecast(spending(*(sum(day) for day in known), until=moment.today), moment)
    assert whole.expected is not None
    assert 0 <= whole.expected - sum(part.expected or 0 for part in parts) <= len(parts) - 1


@pytest.mark.parametrize(("age", "least"), [(3, 0.6), (9, 0.8), (40, 0.9)])
def test_the_range_holds_for_businesses_whose_days_scatter(age: int, least: float) -> None:
    """Weekdays of their own weight, each day anything from half to one and a half of it; asked on the tenth of a month of 30 days."""
    chance, within, businesses = random.Random(7), 0, 400
    today = date(2026, 11, 10)
    for _ in range(businesses):
        weights = [chance.uniform(0.2, 1.0) for _ in range(7)]
        life = [today - timedelta(age) + timedelta(n) for n in range(age + 21)]
        spent = {day: int(100 * USD * weights[day.weekday()] * chance.uniform(0.5, 1.5)) for day in life}
        known = {day: amount for day, amount in spent.items() if day < today}
        found = forecast(Spending(known, life[0]), Moment(today, Fraction(0)))
        truth = sum(amount for day, amount in spent.items() if day.month == 11)
        assert found.low is not None
        assert found.high is not None
        within += found.low <= truth <= found.high
    assert within / businesses >= least
