"""Cases that do not come out as they say are told so; the selection; the command."""

import io
from pathlib import Path
from typing import Literal

import pytest
import yaml
from rich.console import Console

from shared.events import Decision, SendEvent, encode
from tests.cases.__main__ import main
from tests.cases.expectations import compare_later
from tests.cases.form import Case, load, read
from tests.cases.names import Names
from tests.cases.pure import play
from tests.cases.screen import Screen
from tests.cases.selection import answers_of, one_per_answer, reasons_of
from tests.fixtures import CASES

OPEN: list[dict[str, object]] = [
    {"at": "0s", "receive": {"from": "A"}},
    {"at": "1m", "send": {"to": "A", "text": "hi"}, "expect": {"outcome": "allow", "charge": "free"}},
]


def a_case(steps: list[dict[str, object]], **ends: object) -> Case:
    return read(yaml.safe_dump({"cases": [{"name": "one", "steps": steps, **ends}]}))[0]


def wrong(case: Case) -> list[str]:
    return [checked.what for checked in play(Names(case, 1)).checked if not checked.ok]


def test_a_case_that_says_what_happens_is_right() -> None:
    assert wrong(a_case(OPEN, tally={"service": {"free": 1}}, calls=1, received=1)) == []


def test_each_wrong_expectation_is_found() -> None:
    expect: dict[str, object] = {
        "outcome": ["reject", "defer"],
        "reason": "opted_out",
        "category": "utility",
        "conversation": "reuse",
        "in": "marketing",
        "charge": "paid",
        "used_fallback": True,
        "from": "N2",
    }
    case = a_case([OPEN[0], {**OPEN[1], "expect": expect}])
    assert wrong(case) == list(expect)


def test_an_allowed_message_where_a_refusal_is_expected_is_wrong_by_its_reason_too() -> None:
    late: dict[str, object] = {"at": "24h", "send": {"to": "A", "text": "hi"}, "expect": {"outcome": "allow"}}
    assert wrong(a_case([OPEN[0], late])) == ["outcome", "reason"]


def test_wrong_totals_are_found() -> None:
    ends: dict[str, object] = {"tally": {"service": {"paid": 1}}, "calls": 2, "received": 0}
    assert wrong(a_case(OPEN, **ends)) == ["tally", "calls", "received"]
    assert wrong(a_case(OPEN, tally={"service": {"free": 1}, "utility": {"paid": 1}})) == ["tally"]


def test_another_answer_to_the_same_request_is_found() -> None:
    first: dict[str, object] = {"at": "0s", "send": {"to": "A", "template": "promo", "request_id": "r"}}
    other: dict[str, object] = {
        "at": "1m",
        "send": {"to": "A", "template": "order_update", "request_id": "r"},
    }
    assert wrong(a_case([first, {**first, "at": "1m", "expect": {"same_as": "r"}}])) == []
    assert wrong(a_case([first, {**other, "expect": {"same_as": "r"}}])) == ["same_as"]


WAITS: list[dict[str, object]] = [
    {"at": "0s", "pause": {"template": "promo"}},
    {"at": "0s", "send": {"to": "A", "template": "promo", "expires": "3h"}, "expect": {"outcome": "defer", "reason": "paused_by_operator"}},
    {"at": "25m", "resume": {"template": "promo"}},
]  # fmt: skip


def waiting(later: dict[str, object], **ends: object) -> Case:
    return a_case([WAITS[0], {**WAITS[1], "later": later}, WAITS[2]], **ends)


def test_a_request_that_waits_is_decided_at_its_time() -> None:
    later: dict[str, object] = {"at": "30m", "outcome": "allow", "charge": "paid"}
    assert wrong(waiting(later, tally={"marketing": {"paid": 1}}, calls=1)) == []


def test_a_later_decision_that_comes_otherwise_or_at_another_time_is_found() -> None:
    assert wrong(waiting({"at": "30m", "outcome": "allow", "category": "utility"})) == ["category"]
    assert wrong(waiting({"at": "40m", "outcome": "allow"})) == ["at"]
    assert wrong(waiting({"at": "20m", "outcome": "allow"})) == ["final decisions"]


def test_two_final_decisions_on_one_request_are_found() -> None:
    case = waiting({"at": "30m", "outcome": "allow"})
    step = case.steps[1]
    assert step.later is not None
    first = send_event("r1#1:decided", "allow")
    second = send_event("r1#1:decided", "reject")
    of_another = send_event("r1!conflict:decided", "reject")
    assert compare_later(step.later, [first, first, of_another], "N1")[0].ok
    assert not compare_later(step.later, [first, second], "N1")[0].ok


def send_event(id_: str, outcome: Literal["allow", "reject"]) -> tuple[SendEvent, bytes]:
    event = SendEvent(
        event_id=id_,
        event="decided",
        seq=1,
        at="2026-11-02T12:30:00.000Z",
        request_id="r1",
        correlation_id=None,
        tags={},
        waba_id=None,
        phone_number_id=None,
        user=None,
        decision=Decision(outcome=outcome, final=True, reason="ok", category=None, facts_version=""),
    )
    return event, encode(event)


def test_wrong_numbers_and_texts_of_an_answer_are_found() -> None:
    hello = {"templates": {"hello": {"category": "utility", "body": "Hello {{1}}"}}}
    send: dict[str, object] = {"at": "0s", "send": {"to": "A", "template": "hello"}}
    expect: dict[str, object] = {"outcome": "reject", "reason": "template_parameters"}
    unlike = {"message": "header", "retry_at": "1h", "price_micros": 1, "free_left": 0, "volume_tier": "1:2"}
    assert wrong(a_case([{**send, "expect": expect | {"message": "body: 1 parameter"}}], account=hello)) == []
    assert sorted(wrong(a_case([{**send, "expect": expect | unlike}], account=hello))) == sorted(unlike)
    promo: dict[str, object] = {"at": "0s", "send": {"to": "A", "template": "promo"}}
    tier: dict[str, object] = {"outcome": "allow", "tier": {"used": 2}}
    assert wrong(a_case([{**promo, "expect": tier}])) == ["tier"]


def test_words_that_are_told_otherwise_are_found() -> None:
    stop: list[dict[str, object]] = [{"at": "0s", "receive": {"from": "A", "text": "STOP"}}]
    told: dict[str, object] = {"marketing": "out", "source": "stop_word", "evidence": "STOP", "at": "0s"}
    assert wrong(a_case(stop, preferences={"A": [told], "B": []})) == []
    assert wrong(a_case(stop, preferences={"A": [told | {"at": "1s"}]})) == ["preferences of A"]
    assert wrong(a_case(stop, preferences={"A": [told, told]})) == ["preferences of A"]
    assert wrong(a_case(stop, preferences={"A": []})) == ["preferences of A"]


def test_the_selection_meets_every_reason_with_every_outcome_by_few_cases() -> None:
    cases = [case for file in CASES for case in load(file)]
    chosen = one_per_answer(cases)
    assert answers_of(chosen) == answers_of(cases)
    assert reasons_of(chosen) == reasons_of(cases)
    assert len(chosen) <= len(answers_of(cases))
    assert [case for case in cases if case in chosen] == chosen


@pytest.fixture
def shown() -> Screen:
    return Screen(Console(file=io.StringIO()))


def text_of(screen: Screen) -> str:
    assert isinstance(screen.console.file, io.StringIO)
    return screen.console.file.getvalue()


def test_the_command_shows_each_step_and_agrees(shown: Screen) -> None:
    assert main(["--only", "a customer's message opens", str(CASES[0])], shown) == 0
    text = text_of(shown)
    assert "A writes to N1" in text
    assert "reason window_closed" in text
    assert "1 of 1 cases came as expected (14 of 14 expectations)" in text


def test_the_command_disagrees_with_a_wrong_case(tmp_path: Path, shown: Screen) -> None:
    file = tmp_path / "cases.yaml"
    steps = [OPEN[0], {**OPEN[1], "expect": {"outcome": "reject", "reason": "window_closed"}}]
    file.write_text(yaml.safe_dump({"cases": [{"name": "wrong", "steps": steps}]}))
    assert main([str(file)], shown) == 1
    assert "0 of 1 cases came as expected (0 of 2 expectations)" in text_of(shown)
    assert "✗ wrong" in text_of(shown)


def test_the_command_refuses_what_is_not_of_the_form(
    tmp_path: Path, shown: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text("cases: [{name: odd, steps: [{at: 0s, dance: {}}]}]")
    assert main([str(file)], shown) == 2
    assert "case 'odd', step 1 (at 0s)" in capsys.readouterr().err
    assert main([str(tmp_path / "nothing.yaml")], shown) == 2
    assert main(["--only", "no such case", str(CASES[0])], shown) == 2
