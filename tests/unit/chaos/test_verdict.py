"""The verdict on a run of crashes sees each promise broken."""

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from shared.events import Category, Decision, SendError, SendEvent
from tests.chaos.sends.plan import MIX, NUMBERS, Plan, Request, lives, requests
from tests.chaos.sends.verdict import Call, Verdict, judge, served_again_s
from tests.integration.sender_process import MOMENTS, Fault

Told = Literal["decided", "accepted", "delivered", "failed", "uncertain"]


def event(name: Told, command: str = "r#1", reason: str = "", message: str = "") -> SendEvent:
    error = SendError(origin="transport", reason=reason, message=message) if reason else None
    decision = None
    if name == "decided":
        decision = Decision(
            outcome="reject" if reason else "allow", final=True, reason="", category=None, facts_version=""
        )
    return SendEvent(
        event_id=f"{command}:{name}",
        event=name,
        seq=1,
        at="2026-12-01T09:00:00Z",
        request_id="r",
        correlation_id=None,
        tags={},
        waba_id=None,
        phone_number_id=None,
        user=None,
        decision=decision,
        error=error,
    )


DECIDED = event("decided")
DELIVERED = event("delivered")
UNCERTAIN = event("uncertain", reason="outcome_unknown", message="crash")
GIVEN_UP = event("failed", reason="uncertain_unresolved")


def call(command: str = "r#1", *, accepted: bool = True, at_s: float = 1.0, **more: Any) -> Call:
    return Call(command, "n1", at_s, accepted, **more)


def verdict(told: Sequence[SendEvent], *calls: Call, category: Category = "utility") -> Verdict:
    return judge([Request("r", category, "n1", "4915", None)], {"r": told}, calls)


def test_a_request_sent_once_and_told_so_is_clean() -> None:
    found = verdict([DECIDED, DELIVERED], call(statuses=("sent", "delivered")))
    assert found.clean
    assert (found.requests, found.accepted, found.sent_twice.total()) == (1, 1, 0)


def test_nothing_asked_for_proves_nothing() -> None:
    assert not judge([], {}, []).clean


def test_a_command_that_was_called_twice_is_not_clean_though_nothing_was_sent_twice() -> None:
    found = verdict([DECIDED, DELIVERED], call(accepted=False), call())
    assert (found.repeated, found.sent_twice.total(), found.clean) == (["r#1"], 0, False)


def test_a_refused_call_may_be_repeated() -> None:
    assert verdict([DECIDED, DELIVERED], call(accepted=False, refused=True), call()).clean


RESENT = [DECIDED, UNCERTAIN, DELIVERED]


def test_a_second_attempt_after_an_uncertain_one_without_a_status_is_allowed_and_listed() -> None:
    found = verdict(RESENT, call(), call("r#2", statuses=("sent",)))
    assert found.clean
    assert found.sent_twice == {"utility": 1}
    assert found.allowed == [{"request": "r", "category": "utility", "causes": ["crash"]}]
    assert found.resolved == {"sent once more": 1}


@pytest.mark.parametrize(
    ("told", "calls", "category"),
    [
        (RESENT, [call(), call("r#2")], "authentication"),
        (RESENT, [call(statuses=("sent",)), call("r#2")], "utility"),
        ([DECIDED, DELIVERED], [call(), call("r#2")], "utility"),
        (RESENT, [call(), call("r#2"), call("r#3")], "utility"),
        (RESENT, [call(), call()], "utility"),
    ],
    ids=["a password", "a status came", "never uncertain", "a third attempt", "the same attempt"],
)
def test_any_other_duplicate_is_forbidden(
    told: list[SendEvent], calls: list[Call], category: Category
) -> None:
    found = verdict(told, *calls, category=category)
    assert [duplicate["request"] for duplicate in found.forbidden] == ["r"]
    assert not found.clean


@pytest.mark.parametrize("told", [[], [DECIDED], [DECIDED, event("accepted")], [DECIDED, GIVEN_UP]])
def test_a_request_without_an_end_or_given_up_without_being_uncertain_is_lost(told: list[SendEvent]) -> None:
    found = verdict(told)
    assert (found.lost, found.clean) == (["r"], False)


def test_a_request_that_failed_for_another_reason_is_lost() -> None:
    assert verdict([DECIDED, event("failed", reason="expired")]).lost == ["r"]
    assert verdict([event("decided", reason="window_closed")]).lost == ["r"]


def test_a_request_that_stays_uncertain_is_unresolved() -> None:
    found = verdict([DECIDED, UNCERTAIN], call())
    assert (found.unresolved, found.clean) == (["r"], False)


def test_an_uncertain_request_may_be_given_up() -> None:
    found = verdict([DECIDED, UNCERTAIN, GIVEN_UP], category="authentication")
    assert (found.clean, found.resolved) == (True, {"given up": 1})


def test_a_last_word_that_the_ledger_contradicts_is_untrue() -> None:
    assert verdict([DECIDED, DELIVERED]).untrue == ["r"]
    found = verdict([DECIDED, UNCERTAIN, GIVEN_UP], call(statuses=("sent", "delivered")))
    assert (found.untrue, found.clean) == (["r"], False)


def test_a_takeover_ends_when_the_last_number_is_served_again() -> None:
    calls = [Call(f"r{at}#1", number, at, True) for number, at in
             (("a", 1.0), ("b", 2.0), ("a", 10.1), ("a", 11.0), ("b", 14.5), ("b", 20.0))]  # fmt: skip
    assert served_again_s(calls, 10.0) == 4.5
    assert served_again_s(calls, 19.9) is None
    assert served_again_s([], 10.0) is None


def test_every_moment_kills_and_stops_as_often_as_every_other_one() -> None:
    plan = Plan(seed=5, crashes=50, zombies=5)
    faults = lives(plan)
    assert all(life[-1].stop is False and len(life) <= 2 for life in faults)
    assert {m: sum(life[-1].moment == m for life in faults) for m in MOMENTS} == dict.fromkeys(MOMENTS, 10)
    assert sorted(life[0].moment for life in faults if life[0].stop) == sorted(MOMENTS)
    assert faults == lives(plan)
    assert faults != lives(Plan(seed=6, crashes=50, zombies=5))


def test_requests_are_of_all_categories_and_numbers_and_lose_some_answers() -> None:
    some = [request for request, _ in zip(requests(7), range(2000), strict=False)]
    assert {request.category for request in some} == set(MIX)
    assert len({request.number for request in some}) == NUMBERS
    assert {request.lost for request in some} == {None, "cut", "hangs", "reset", "silent"}
    assert 40 < sum(request.lost is not None for request in some) < 120


def test_a_fault_is_read_as_it_is_written() -> None:
    for fault in (Fault("claimed"), Fault("calling", 3), Fault("reported", 2, stop=True)):
        assert Fault.parse(str(fault)) == fault
    with pytest.raises(ValueError, match="no fault"):
        Fault.parse("sometime")
