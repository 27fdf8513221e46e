"""What a month will have cost at its end: the spend per day in; expected amount, range and course out. Pure.

Amounts are integer millionths of one currency, days those of the account's time zone. The expected amount is linear in the spend of each
day: spending more never lowers it, and the forecasts of the categories add up to that of all (but for less than a millionth each).
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from fractions import Fraction
from math import isqrt
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from shared.pricing import local_day
from shared.times import to_ms

Method = Literal["weekdays", "pace", "none"]
"""How the days to come were guessed.

weekdays: each like the last two of its weekday, the later of them counting double; two full weeks are known.
pace: each like the mean of the last full days, seven at most.
none: not one full day is known.
"""

WEEK = 7
LATER, EARLIER = 2, 1
"""Weights of the last two days of a weekday: what began a week ago shows, what happened once does not stand alone."""
FORTNIGHT_COUNTS_AS = Fraction((LATER + EARLIER) ** 2 * WEEK, LATER**2 + EARLIER**2)
"""So many days of equal weight would fix the pace as well as 14 of these weights do."""
DEVIATIONS = 2
"""Half the range, in standard deviations: nine months of ten lie within, if the days to come scatter as the known ones do (docs/billing.md)."""


class Moment(NamedTuple):
    """Now, in the account's time zone: the day, and the share of it that is over (0 to 1)."""

    today: date
    elapsed: Fraction


class Spending(NamedTuple):
    """Millionths by day, at least of the 14 days before today and of today's month. `since` is the first day of which anything is known, None if none."""

    days: Mapping[date, int]
    since: date | None


class Forecast(NamedTuple):
    """A month as it stands and as it will end.

    Attributes:
        spent: until now.
        expected: at the month's end, and its range: `low` to `high`, never below `spent`; None without a method.
        method: how the days to come were guessed, by
        known: so many full days, 14 at most.
        course: the sum at the end of each day of the month, today's and later ones as expected; without a method it ends today.
    """

    spent: int
    expected: int | None
    low: int | None
    high: int | None
    method: Method
    known: int
    course: Mapping[date, int]

    def reaches(self, amount: int) -> date | None:
        """The day on which so much is spent, past or to come; None if not within the month."""
        return next((day for day, total in self.course.items() if total >= amount), None)


class _Pace(NamedTuple):
    """What a full day is expected to bring, by weekday (Monday first); the variance of a day about it; how many days fixed it."""

    method: Method
    by_weekday: tuple[Fraction, ...]
    variance: Fraction
    counts_as: Fraction


def moment_of(now: datetime, timezone: str) -> Moment:
    """Where an aware instant stands in an IANA time zone; a day may have 23 or 25 hours."""
    today, zone = local_day(now, timezone), ZoneInfo(timezone)

    def midnight(day: date) -> int:
        return to_ms(datetime(day.year, day.month, day.day, tzinfo=zone))

    begin, end = midnight(today), midnight(today + timedelta(1))
    return Moment(today, min(Fraction(1), Fraction(max(0, to_ms(now) - begin), end - begin)))


def month_before(moment: Moment) -> Moment:
    """The last instant of the month before."""
    return Moment(moment.today.replace(day=1) - timedelta(1), Fraction(1))


def forecast(spending: Spending, moment: Moment) -> Forecast:
    """The month of `moment`: what is spent, and what the rest of it will add at the pace of the last full days, whatever month they are of."""
    today = moment.today
    month = _days_of_month(today)
    spent, course = 0, {}
    for day in month[: today.day]:
        spent += spending.days.get(day, 0)
        course[day] = spent
    known = 0 if spending.since is None else max(0, min(2 * WEEK, (today - spending.since).days))
    pace = _pace([max(0, spending.days.get(today - timedelta(n), 0)) for n in range(1, known + 1)], today)
    if pace is None:
        return Forecast(spent, None, None, None, "none", known, course)
    rest = length = Fraction(0)
    for day in month[today.day - 1 :]:
        share = 1 - moment.elapsed if day == today else Fraction(1)
        rest += share * pace.by_weekday[day.weekday()]
        length += share
        course[day] = spent + int(rest)
    # The days to come scatter, and so did those that fixed the pace: an error of the pace repeats itself each day.
    margin = DEVIATIONS * isqrt(int(pace.variance * length * (1 + length / pace.counts_as)))
    expected = spent + int(rest)
    return Forecast(
        spent, expected, max(spent, expected - margin), expected + margin, pace.method, known, course
    )


def _pace(past: list[int], today: date) -> _Pace | None:
    """From the full days before `today`, the latest first."""
    if not past:
        return None
    if len(past) == 2 * WEEK:
        pairs = list(zip(past[:WEEK], past[WEEK:], strict=True))
        by_weekday = [Fraction(0)] * WEEK
        for ago, (later, earlier) in enumerate(pairs, start=1):
            weekday = (today - timedelta(ago)).weekday()
            by_weekday[weekday] = Fraction(LATER * later + EARLIER * earlier, LATER + EARLIER)
        # The difference of two days has twice the variance of one.
        variance = Fraction(sum((later - earlier) ** 2 for later, earlier in pairs), 2 * WEEK)
        return _Pace("weekdays", tuple(by_weekday), variance, FORTNIGHT_COUNTS_AS)
    last = past[:WEEK]
    mean = Fraction(sum(last), len(last))
    if len(last) == 1:
        variance = (
            mean**2
        )  # one day tells nothing of scatter: it may be anything between nothing and the double
    else:
        variance = sum(((day - mean) ** 2 for day in last), Fraction(0)) / (len(last) - 1)
    return _Pace("pace", (mean,) * WEEK, variance, Fraction(len(last)))


def _days_of_month(day: date) -> list[date]:
    first = day.replace(day=1)
    days = [first + timedelta(n) for n in range(31)]
    return [day for day in days if day.month == first.month]
