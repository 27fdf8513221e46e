"""The sender's circuit breakers, windows and usage book."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sender.breakers import (
    IN_A_ROW,
    SILENT_LONGEST_MS,
    STATUS_MS,
    Breakers,
    BreakerScope,
    Part,
    Reason,
)
from services.sender.congestion import FEW, PLATFORM_FEW, Congestion
from services.sender.usage import READING_MS, UsageBook

HOUR_MS = 3_600_000


def way(number: str = "1", waba: str = "10", app: str = "default", about: str = "as it is") -> list[Part]:
    return [
        Part("platform", ""),
        Part("app", app, about),
        Part("waba", waba, about),
        Part("phone_number", number, about),
    ]


def opened(breakers: Breakers, now_ms: int) -> set[tuple[BreakerScope, Reason]]:
    scopes: tuple[BreakerScope, ...] = ("phone_number", "waba", "app", "platform")
    reasons: tuple[Reason, ...] = ("no_answer", "unreachable", "auth", "quality", "platform")
    return {(s, r) for s in scopes for r in reasons if breakers.count(s, r, now_ms)}


# --- refusals


def test_a_refusal_holds_its_scope_and_no_other() -> None:
    breakers = Breakers()
    breakers.open(way()[2], "auth", 0, 60_000)
    assert breakers.hold(way(), 59_999)
    assert breakers.hold(way("2"), 59_999)
    assert not breakers.hold(way("3", "11"), 59_999)
    assert opened(breakers, 0) == {("waba", "auth")}


def test_when_the_time_is_over_one_call_tries_and_its_answer_frees_the_others() -> None:
    breakers = Breakers()
    breakers.open(way()[3], "platform", 0, 60_000)
    assert breakers.admit(way(), 60_000, "a")
    assert breakers.hold(way(), 60_000)
    assert not breakers.admit(way(), 60_000, "b")
    breakers.answered(way(), 0, "z")  # a call of before
    assert breakers.hold(way(), 60_000)
    breakers.answered(way(), 0, "a")
    assert not breakers.hold(way(), 60_000)
    assert not breakers.any


def test_a_try_that_is_refused_again_holds_as_long_as_meta_says() -> None:
    breakers = Breakers()
    breakers.open(way()[3], "quality", 0, 4 * HOUR_MS)
    assert breakers.admit(way(), 4 * HOUR_MS, "a")
    breakers.open(way()[3], "quality", 4 * HOUR_MS, 4 * HOUR_MS)
    breakers.answered(way(), 0, "a")
    assert breakers.hold(way(), 8 * HOUR_MS - 1)
    assert not breakers.hold(way(), 8 * HOUR_MS)


def test_what_only_an_operator_ends_is_tried_less_and_less_often() -> None:
    breakers, now_ms, pauses = Breakers(), 0, []
    for nth in range(5):
        breakers.open(way()[2], "account", now_ms, None)
        breakers.answered(way(), 0, str(nth))
        pause_ms = next(ms for ms in range(0, 2 * HOUR_MS, 60_000) if not breakers.hold(way(), now_ms + ms))
        pauses.append(pause_ms // 60_000)
        now_ms += pause_ms
        assert breakers.admit(way(), now_ms, str(nth + 1))
    assert pauses == [10, 20, 40, 60, 60]


def test_refusals_of_calls_that_flew_together_are_one_opening() -> None:
    breakers = Breakers()
    for at_ms in range(10):
        breakers.open(way()[2], "account", at_ms, None)
    assert not breakers.hold(way(), 10 * 60_000)


def test_a_change_of_what_it_is_about_lets_one_call_try_at_once() -> None:
    breakers = Breakers()
    breakers.open(way()[2], "auth", 0, None)
    assert breakers.hold(way(), 1)
    assert not breakers.hold(way(about="new"), 1)
    assert breakers.admit(way(about="new"), 1, "a")
    assert not breakers.admit(way(about="new"), 1, "b")
    breakers.open(way(about="new")[2], "auth", 2, None)
    breakers.answered(way(about="new"), 0, "a")
    assert breakers.hold(way(about="new"), 3)


def test_a_change_ends_no_hold_that_has_its_own_time() -> None:
    breakers = Breakers()
    breakers.open(way()[2], "rate_waba", 0, 60_000)
    assert breakers.hold(way(about="new"), 59_999)


def test_what_is_over_with_a_change_is_so_too_when_something_came_along_that_time_ends() -> None:
    breakers = Breakers()
    breakers.open(way()[2], "auth", 0, None)
    breakers.open(way()[2], "rate_waba", 1, HOUR_MS)
    assert opened(breakers, 1) == {("waba", "auth")}
    assert breakers.hold(way(), HOUR_MS)
    assert not breakers.hold(way(about="new"), 2)


def test_what_a_status_told_is_tried_less_and_less_often_while_the_trials_statuses_say_it_again() -> None:
    breakers, now_ms, pauses = Breakers(), 0, []
    for nth in range(5):
        breakers.open(way()[2], "account", now_ms, None, told=True)
        breakers.open(way()[2], "account", now_ms + 1, None, told=True)  # of another message that flew
        pause_ms = next(ms for ms in range(0, 2 * HOUR_MS, 60_000) if not breakers.hold(way(), now_ms + ms))
        pauses.append(pause_ms // 60_000)
        now_ms += pause_ms
        assert breakers.admit(way(), now_ms, str(nth))
        breakers.answered(way(), now_ms, str(nth))
        assert breakers.hold(way(), now_ms + STATUS_MS - 1)
        now_ms += STATUS_MS - 1
    assert pauses == [10, 20, 40, 60, 60]


def test_a_template_is_over_when_its_time_is() -> None:
    breakers = Breakers()
    template = Part("template", "10/promo/de", "paused")
    breakers.open(template, "template", 0, 1000)
    assert breakers.ends_ms(template, 999) == 1000
    assert breakers.ends_ms(template, 1000) is None
    assert not breakers.any


def test_a_template_is_over_when_its_facts_change() -> None:
    breakers = Breakers()
    breakers.open(Part("template", "10/promo/de", "approved"), "template", 0, 1000)
    assert breakers.ends_ms(Part("template", "10/promo/de", "paused"), 1) is None
    assert not breakers.any


# --- silence


def test_three_calls_in_a_row_without_an_answer_open_the_number_only() -> None:
    breakers = Breakers()
    for nth in range(IN_A_ROW - 1):
        assert breakers.silent(way(), 0, str(nth)) == []
    assert not breakers.hold(way(), 0)
    assert breakers.silent(way(), 0, "last") == [way()[3]]
    assert opened(breakers, 0) == {("phone_number", "no_answer")}
    assert not breakers.hold(way("2"), 0)


def test_an_answer_in_between_is_no_row() -> None:
    breakers = Breakers()
    for nth in range(20):
        breakers.silent(way(), 0, str(nth))
        if nth % 2:
            breakers.answered(way(), 0, f"a{nth}")
    assert not breakers.any


@pytest.mark.parametrize(
    ("ways", "scopes"),
    [
        ([way("1"), way("2"), way("3")], {"waba"}),
        ([way("1", "10"), way("2", "11"), way("3", "12")], {"app"}),
        ([way("1", "10", "a"), way("2", "11", "b"), way("3", "12", "c")], {"platform"}),
        ([way("1"), way("1"), way("1")], {"phone_number"}),
    ],
)
def test_silence_opens_the_narrowest_scope_that_explains_it(ways: list[list[Part]], scopes: set[str]) -> None:
    breakers = Breakers()
    for nth, one in enumerate(ways):
        breakers.silent(one, 0, str(nth))
    assert {scope for scope, _ in opened(breakers, 0)} == scopes


def test_tries_of_what_stays_silent_come_less_and_less_often() -> None:
    breakers, now_ms, pauses = Breakers(), 0, []
    for nth in range(IN_A_ROW):
        breakers.silent(way(), 0, str(nth))
    for nth in range(7):
        pause_ms = next(ms for ms in range(0, 60_000, 500) if not breakers.hold(way(), now_ms + ms))
        pauses.append(pause_ms)
        now_ms += pause_ms
        assert breakers.admit(way(), now_ms, f"try{nth}")
        breakers.silent(way(), now_ms, f"try{nth}")
    assert pauses == [500, 1000, 2000, 4000, 8000, 15_000, 15_000]


def test_any_answer_ends_a_silence_even_one_to_an_earlier_call() -> None:
    breakers = Breakers()
    for nth in range(IN_A_ROW):
        breakers.silent(way(), 0, str(nth))
    breakers.answered(way(), 0, "of before")
    assert not breakers.hold(way(), 0)


def test_no_connection_holds_everything_and_is_tried_soon() -> None:
    breakers, now_ms, pauses = Breakers(), 0, []
    breakers.unreachable(way(), 0, "first")
    breakers.unreachable(way("2"), 0, "with it")
    for nth in range(6):
        pause_ms = next(ms for ms in range(0, 10_000, 50) if not breakers.hold(way("9", "99"), now_ms + ms))
        pauses.append(pause_ms)
        now_ms += pause_ms
        assert breakers.admit(way(), now_ms, str(nth))
        breakers.unreachable(way(), now_ms, str(nth))
    assert pauses == [250, 500, 1000, 2000, 2000, 2000]


def test_an_outage_makes_a_silent_number_wait_no_longer() -> None:
    breakers = Breakers()
    for nth in range(IN_A_ROW):
        breakers.silent(way(), 0, str(nth))
    for now_ms in range(1000, 60_000, 2500):
        assert breakers.admit(way(), now_ms, f"try{now_ms}")
        breakers.unreachable(way(), now_ms, f"try{now_ms}")
    assert breakers.admit(way(), 62_500, "at last")
    breakers.answered(way(), 0, "at last")
    assert not breakers.any


def test_a_try_that_could_not_leave_does_not_end_another_trouble() -> None:
    breakers = Breakers()
    breakers.open(way()[2], "auth", 0, 1000)
    assert breakers.admit(way(), 1000, "a")
    breakers.unreachable(way(), 1000, "a")
    assert opened(breakers, 1001) == {("platform", "unreachable")}
    assert breakers.admit(way(), 10_000, "b")
    assert not breakers.admit(way(), 10_000, "c")
    assert opened(breakers, 10_000) == {("waba", "auth"), ("platform", "unreachable")}
    breakers.answered(way(), 0, "b")
    assert not breakers.any


@given(st.lists(st.sampled_from(["answered", "silent", "refused", "unreachable", "wait"]), max_size=60))
def test_whatever_comes_a_number_is_tried_again_and_by_one_call_at_a_time(events: list[str]) -> None:
    breakers, now_ms = Breakers(), 0
    for nth, event in enumerate(events):
        now_ms += 1 if event != "wait" else SILENT_LONGEST_MS
        if breakers._circuits and breakers.admit(way(), now_ms, str(nth)):
            assert not breakers.admit(way(), now_ms, "another")
        if event == "refused":
            breakers.open(way()[3], "quality", now_ms, 5000)
        if event in ("answered", "refused", "wait"):
            breakers.answered(way(), 0, str(nth))
        else:
            (breakers.silent if event == "silent" else breakers.unreachable)(way(), now_ms, str(nth))
    assert breakers.admit(way(), now_ms + SILENT_LONGEST_MS, "end")


# --- windows


def rounds(congestion: Congestion, count: int, most: int, number: str = "1") -> list[int]:
    """Calls that start together in each round of answers, when so many would like to."""
    sizes = []
    for _ in range(count):
        started = 0
        while started < most and congestion.room(number) > 0:
            congestion.begin(number)
            started += 1
        sizes.append(started)
        for _ in range(started):
            congestion.answered(number)
    return sizes


def test_a_number_begins_with_one_call_and_soon_has_as_many_as_it_needs() -> None:
    sizes = rounds(Congestion(), 12, 1000)
    assert sizes[:3] == [1, 2, 4]
    assert all(later >= 1.4 * earlier for earlier, later in itertools.pairwise(sizes))
    assert sizes[-1] > 100


def test_a_hang_leaves_about_twice_as_many_calls_as_were_usual() -> None:
    congestion = Congestion()
    rounds(congestion, 50, 10)
    assert 10 <= congestion.room("1") <= 21
    rounds(congestion, 300, 2)
    assert congestion.room("1") <= 2 * FEW


def test_after_a_silence_a_number_starts_over_with_one_call() -> None:
    congestion = Congestion()
    rounds(congestion, 20, 16)
    for _ in range(16):
        congestion.begin("1")
    for left in range(15, -1, -1):
        congestion.silent("1")
        assert congestion.room("1") == (0 if left else 1)


def test_many_quiet_numbers_share_one_window() -> None:
    congestion, started = Congestion(), 0
    for number in map(str, range(1000)):
        if congestion.room(number) > 0:
            congestion.begin(number)
            started += 1
    assert started == PLATFORM_FEW


def test_one_silent_number_keeps_others_from_nothing() -> None:
    congestion = Congestion()
    rounds(congestion, 20, 8, "good")
    congestion.begin("bad")
    congestion.silent("bad")
    assert congestion.room("bad") == 1
    assert congestion.room("good") >= PLATFORM_FEW


@given(st.lists(st.sampled_from(["begin", "answered", "silent", "returned"]), max_size=200))
def test_windows_never_count_a_call_twice_nor_close_for_good(events: list[str]) -> None:
    congestion, out = Congestion(), 0
    for event in events:
        if event == "begin" and congestion.room("1") > 0:
            congestion.begin("1")
            out += 1
        elif event != "begin" and out:
            getattr(congestion, event)("1")
            out -= 1
    for _ in range(out):
        congestion.silent("1")
    assert congestion.room("1") >= 1


# --- usage


def test_above_ninety_percent_only_passwords_and_service_go() -> None:
    book = UsageBook()
    book.note("waba", "10", 91, 0)
    assert [book.may_go("10", "default", priority, 1) for priority in range(4)] == [True, True, False, False]
    assert book.may_go("11", "default", 3, 1)
    book.note("waba", "10", 90, 2)
    assert book.may_go("10", "default", 3, 3)


def test_an_app_s_usage_holds_all_its_accounts() -> None:
    book = UsageBook()
    book.note("app", "shop", 99, 0)
    assert not book.may_go("10", "shop", 2, 1)
    assert not book.may_go("11", "shop", 2, 1)
    assert book.may_go("11", "default", 2, 1)


def test_a_reading_is_forgotten_so_that_somebody_takes_a_new_one() -> None:
    book = UsageBook()
    book.note("waba", "10", 100, 0)
    assert not book.may_go("10", "default", 3, READING_MS - 1)
    assert book.may_go("10", "default", 3, READING_MS)


def test_the_worst_reading_is_told_to_people() -> None:
    book = UsageBook()
    book.note("waba", "10", 40, 0)
    book.note("waba", "11", 70, 0)
    assert (book.worst("waba", 1), book.worst("app", 1), book.worst("waba", READING_MS)) == (70, 0, 0)
