"""The window of one number."""

import gc

from hypothesis import given
from hypothesis import strategies as st

from services.sender.entry import Stored, encode_entry, queued
from services.sender.schedule import Candidate, Schedule
from shared.events import Category
from tests.unit.sender.fakes import NOW_MS, command

CATEGORIES: tuple[Category, ...] = ("authentication", "service", "utility", "marketing")


def candidate(name: str, user: str, priority: int = 2, at: int = 0) -> Candidate:
    one = command(name, user=user, category=CATEGORIES[priority], at_ms=NOW_MS + at)
    entry = queued(one)
    return Candidate(Stored(one.command_id, encode_entry(entry), entry), one)


def test_the_second_command_of_a_user_steps_aside() -> None:
    schedule = Schedule()
    first, second = candidate("a", "1"), candidate("b", "1", at=1)
    assert schedule.offer(first) is None
    assert schedule.offer(second) is second


def test_a_more_urgent_command_takes_the_place_of_its_user_s_ready_one() -> None:
    schedule = Schedule()
    first, urgent = candidate("a", "1"), candidate("otp", "1", priority=0)
    schedule.offer(first)
    assert schedule.offer(urgent) is first
    assert schedule.best() is urgent
    assert schedule.window(2) == set()


def test_a_command_in_flight_is_never_displaced() -> None:
    schedule = Schedule()
    first, urgent = candidate("a", "1"), candidate("otp", "1", priority=0)
    schedule.offer(first)
    schedule.fly(first)
    assert schedule.offer(urgent) is urgent


def test_a_held_user_comes_free_when_the_time_has_come() -> None:
    schedule = Schedule(lines={"1": 1})
    first = candidate("a", "1")
    schedule.offer_head(first)
    schedule.fly(first)
    schedule.land(first, held_until_ms=500)
    assert schedule.due(499) == []
    assert schedule.next_due_ms() == 500
    assert schedule.due(500) == ["1"]


def test_a_command_may_come_back() -> None:
    schedule = Schedule()
    schedule.offer(candidate("b", "2", at=-1))
    for _ in range(3):
        again = candidate("a", "1")
        assert schedule.offer(again) is None
        schedule.fly(again)
        schedule.land(again)


def test_a_withdrawn_command_is_not_the_best() -> None:
    schedule = Schedule()
    first = candidate("a", "1")
    schedule.offer(first)
    schedule.withdraw(first.command)
    assert schedule.best() is None
    assert schedule.idle


def test_what_expires_while_something_more_urgent_waits_leaves_nothing_behind() -> None:
    schedule = Schedule()
    schedule.offer(candidate("s", "1", priority=1))
    before = candidates_in_memory()
    for n in range(1000):
        one = candidate(f"m{n}", f"4915{n}", priority=3, at=n)
        schedule.offer(one)
        schedule.withdraw(one.command)
        assert schedule.best() is not one
    assert candidates_in_memory() < before + 100


def candidates_in_memory() -> int:
    return sum(isinstance(one, Candidate) for one in gc.get_objects())


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 50)), max_size=60))
def test_whatever_comes_the_best_of_each_user_goes_in_order_of_rank(load: list[tuple[int, int, int]]) -> None:
    schedule, by_user = Schedule(), dict[str, Candidate]()
    for i, (user, priority, at) in enumerate(load):
        one = candidate(f"r{i:02}", str(user), priority, at)
        aside = schedule.offer(one)
        best = by_user.get(one.party)
        assert (aside is None) == (best is None)
        if best is None or one.rank < best.rank:
            by_user[one.party] = one
    went = []
    while (best := schedule.best()) is not None:
        schedule.fly(best)
        went.append(best)
    assert went == sorted(by_user.values(), key=lambda c: c.rank)
