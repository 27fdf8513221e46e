"""The limiter against a naive sliding window: it keeps every passage and counts."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from shared.limiter import Limit


class SlidingWindows:
    """For every earlier passage: no more than `burst` passages since, plus one per elapsed interval."""

    def __init__(self, interval: int, burst: int) -> None:
        self.interval, self.burst = interval, burst
        self.passed: list[int] = []

    def allows(self, now: int) -> bool:
        for index, first in enumerate(self.passed):
            since = len(self.passed) - index + 1
            if since > self.burst + Fraction(now - first, self.interval):
                return False
        return True


gaps = st.lists(st.integers(0, 50), min_size=1, max_size=120)


@given(gaps, st.integers(1, 20), st.integers(1, 8))
def test_allows_exactly_what_a_sliding_window_allows(steps: list[int], interval: int, burst: int) -> None:
    limit, naive = Limit(interval, burst), SlidingWindows(interval, burst)
    due, now = 0.0, 1000
    for step in steps:
        now += step
        allowed = limit.next_allowed(due, now) <= now
        assert allowed == naive.allows(now)
        if allowed:
            due = limit.taken(due, now)
            naive.passed.append(now)


@given(gaps, st.integers(1, 20), st.integers(1, 8))
def test_the_time_it_names_is_the_earliest_one(steps: list[int], interval: int, burst: int) -> None:
    limit, naive = Limit(interval, burst), SlidingWindows(interval, burst)
    due, now = 0.0, 1000
    for step in steps:
        now += step
        at = int(limit.next_allowed(due, now))
        assert at >= now
        assert naive.allows(at)
        assert at == now or not naive.allows(at - 1)
        due = limit.taken(due, at)
        naive.passed.append(at)
        now = at


def test_a_second_never_holds_more_than_the_rate() -> None:
    limit, due, now = Limit(12_500), 0.0, 0.0
    times = []
    for _ in range(400):
        now = limit.next_allowed(due, now)
        due = limit.taken(due, now)
        times.append(now)
    assert max(sum(1 for t in times if start <= t < start + 1_000_000) for start in times) == 80
