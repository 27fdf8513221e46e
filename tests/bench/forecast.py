"""How good forecasts are: `python -m tests.bench.forecast` prints the table of docs/billing.md.

Invented businesses, 60 days old, whose weekdays have weights of their own and whose days scatter from a half to one and a half of that; asked at the
beginning of a day. The same seed each time.
"""

import random
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from fractions import Fraction
from statistics import median

from services.billing.budgets.forecast import Moment, Spending, forecast

BUSINESSES = 1000
AGE = 60
USD = 1_000_000

Shape = Callable[[random.Random, int, float], float]
"""What a day comes to (chance, the day by its distance from today, what it would be), in whole units."""
SHAPES: Mapping[str, Shape] = {
    "steady": lambda chance, nth, usual: usual,
    "a campaign once in 15 days": lambda chance, nth, usual: usual + 500 * (chance.random() < 1 / 15),
    "growing by 2 % a day": lambda chance, nth, usual: usual * 1.02**nth,
}


def life(chance: random.Random, shape: Shape, today: date) -> dict[date, int]:
    """The spend of each day, from the first one on until the month is over."""
    weights = [chance.uniform(0.2, 1.0) for _ in range(7)]
    days = {}
    for nth in range(-AGE, 31):
        day = today + timedelta(nth)
        usual = 100 * weights[day.weekday()] * chance.uniform(0.5, 1.5)
        days[day] = int(USD * shape(chance, nth, usual))
    return days


def measure(shape: Shape, today: date) -> tuple[float, float, float]:
    """The share of months that ended within the range; the median error of the forecast, and of what is spent by the days so far."""
    chance, within = random.Random(3), 0
    ours, plain = list[float](), list[float]()
    for _ in range(BUSINESSES):
        days = life(chance, shape, today)
        known = {day: amount for day, amount in days.items() if day < today}
        found = forecast(Spending(known, min(known)), Moment(today, Fraction(0)))
        if found.expected is None or found.low is None or found.high is None:
            raise ValueError("60 days are known, and nothing is expected")
        truth = sum(amount for day, amount in days.items() if day.month == today.month)
        within += found.low <= truth <= found.high
        ours.append(abs(found.expected - truth) / truth)
        plain.append(abs(found.spent * 30 / (today.day - 1) - truth) / truth)
    return within / BUSINESSES, median(ours), median(plain)


if __name__ == "__main__":
    for name, shape in SHAPES.items():
        for day in (3, 10, 20):
            within, ours, plain = measure(shape, date(2026, 11, day))
            print(
                f"{name}, on day {day}: {within:.0%} within the range, error {ours:.0%} (plain pace {plain:.0%})"
            )
