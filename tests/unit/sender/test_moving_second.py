"""The places of a moving second, against a Meta that counts what arrives, whenever it arrives."""

import heapq
import random
from collections import deque
from collections.abc import Callable

import pytest

from services.sender.moving_second import SECOND_S, MovingSecond

Trip = Callable[[random.Random], tuple[float, float]]
"""Seconds to Meta, and back."""


def play(
    limit: int, trip: Trip, seconds: float, caution: float = 1.0, seed: int = 1, early: float = 0.0
) -> list[float]:
    """Arrival times at Meta of a sender that always has something to send; a claim takes up to twice the time that it is `early`."""
    rng = random.Random(seed)
    second, now, arrivals = MovingSecond(), 100.0, []
    answers: list[tuple[float, float]] = []
    end = now + seconds
    while now < end:
        while answers and answers[0][0] <= now:
            at, sent = heapq.heappop(answers)
            second.answered(sent, at, caution)
        at_s = second.next_s(limit, now)
        if at_s is not None and at_s <= now + early:
            second.take(limit, at_s)
            called = max(at_s, now + rng.uniform(0, 2 * early))
            there, back = trip(rng)
            arrivals.append(called + there)
            heapq.heappush(answers, (called + there + back, called))
            continue
        events = [at - early if at is at_s else at for at in (at_s, answers[0][0] if answers else None) if at]
        now = max(now, min(events))
    return sorted(arrivals)


def busiest(arrivals: list[float]) -> int:
    """Most arrivals within any second, its end excluded."""
    most, last = 0, deque[float]()
    for at in arrivals:
        last.append(at)
        while last[0] <= at - SECOND_S:
            last.popleft()
        most = max(most, len(last))
    return most


def quick(rng: random.Random) -> tuple[float, float]:
    return rng.uniform(0.001, 0.004), rng.uniform(0.001, 0.004)


def far(rng: random.Random) -> tuple[float, float]:
    return 0.08 + rng.expovariate(200), 0.06 + rng.expovariate(200)


def stalling(rng: random.Random) -> tuple[float, float]:
    return (rng.uniform(0.3, 2.0) if rng.random() < 0.01 else rng.uniform(0.01, 0.05)), 0.005


@pytest.mark.parametrize("limit", [1, 2, 20, 80, 1000])
@pytest.mark.parametrize("trip", [quick, far, stalling])
def test_meta_never_counts_more_than_the_limit_in_any_second(limit: int, trip: Trip) -> None:
    assert busiest(play(limit, trip, 12)) <= limit


@pytest.mark.parametrize("limit", [1, 20, 80, 1000])
@pytest.mark.parametrize("trip", [quick, stalling])
def test_nor_where_a_claim_begins_before_its_place_is_free(limit: int, trip: Trip) -> None:
    assert busiest(play(limit, trip, 12, early=0.05)) <= limit


@pytest.mark.parametrize("limit", [20, 80, 1000])
def test_a_claim_that_begins_early_costs_little_of_what_it_takes(limit: int) -> None:
    after = len(play(limit, lambda _: (0.1 + 0.002, 0.002), 30))
    before = len(play(limit, quick, 30, early=0.1))
    assert after < 0.92 * 30 * limit
    assert before >= 0.94 * 30 * limit


@pytest.mark.parametrize("limit", [20, 80, 1000])
def test_the_limit_is_used_to_the_full(limit: int) -> None:
    arrivals = play(limit, quick, 30)
    assert len(arrivals) >= 0.98 * 30 * limit


def uneven(rng: random.Random) -> tuple[float, float]:
    """One trip of ten takes 10 ms longer, one of fifty 40 ms."""
    delay = 0.01 * (rng.random() < 0.1) + 0.04 * (rng.random() < 0.02)
    return 0.003 + rng.expovariate(400) + delay, 0.002


@pytest.mark.parametrize("limit", [10, 20, 80])
def test_a_late_call_costs_its_own_place_and_no_other(limit: int) -> None:
    arrivals = play(limit, uneven, 60, early=0.008)
    assert busiest(arrivals) <= limit
    assert len(arrivals) >= 0.988 * 60 * limit


def test_a_long_way_costs_its_length_until_caution_has_gone() -> None:
    assert len(play(80, far, 60)) >= 0.85 * 60 * 80
    arrivals = play(80, far, 60, caution=0.0)
    assert len(arrivals) >= 0.97 * 60 * 80
    assert (
        busiest(arrivals) <= 82
    )  # a way there that is much longer than usual: Meta would refuse one, and caution be back


def working(rng: random.Random) -> tuple[float, float]:
    """Meta takes its time, after it has counted."""
    return 0.05 + rng.uniform(0, 0.005), 0.1 + rng.expovariate(5)


def test_what_meta_takes_for_its_own_work_costs_nothing_once_caution_has_gone() -> None:
    assert len(play(80, working, 60)) < 0.9 * 60 * 80
    arrivals = play(80, working, 60, caution=0.0)
    assert len(arrivals) >= 0.97 * 60 * 80
    assert busiest(arrivals) <= 80


def test_calls_keep_an_even_pace() -> None:
    arrivals = play(1000, lambda _: (0.002, 0.002), 3)
    assert max(sum(start <= at < start + 0.1 for at in arrivals) for start in arrivals[::10]) <= 160


def test_while_all_places_are_flying_only_an_answer_makes_room() -> None:
    second = MovingSecond()
    for _ in range(2):
        second.take(2, 10.0)
    assert second.next_s(2, 10.0) is None
    second.answered(10.0, 10.5)
    assert second.next_s(2, 10.5) == pytest.approx(11.5)


def test_a_place_not_used_is_free_at_once() -> None:
    second = MovingSecond()
    second.take(1, 10.0)
    second.unused()
    assert second.next_s(1, 12.0) == 12.0


def test_a_shut_window_opens_at_its_time() -> None:
    second = MovingSecond()
    second.shut(11.0)
    assert second.next_s(80, 10.0) == 11.0
    second.shut(5.0)
    assert second.next_s(80, 10.0) == 11.0


def test_a_lower_limit_waits_for_as_many_places_as_are_too_many() -> None:
    second = MovingSecond()
    for nth in range(4):
        second.take(4, 10 + nth / 10)
        second.answered(10 + nth / 10, 10 + nth / 10)
    assert second.next_s(2, 10.5) == pytest.approx(11.2)
