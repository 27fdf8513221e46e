"""What a file of cases may say, and how it is told where it is wrong."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.cases.accounts import facts, meta_accounts
from tests.cases.actions import ACTIONS, Receive, moment_ms, span_ms
from tests.cases.expectations import CAME, Expect, Later, TierLeft, Word
from tests.cases.form import AccountSpec, BudgetSpec, FormError, NumberSpec, TemplateSpec, read
from tests.cases.names import Names
from tests.cases.pure import play
from tests.fixtures import CASES

DOCS = Path(__file__).parents[3] / "docs" / "cases.md"
SEND: dict[str, object] = {"at": "0s", "send": {"to": "A", "text": "hi"}, "expect": {"outcome": "allow"}}


def a_file(*steps: dict[str, object], **case: object) -> str:
    return yaml.safe_dump({"cases": [{"name": "one", "steps": list(steps), **case}]})


def test_what_the_case_leaves_out_comes_from_the_defaults_of_the_file() -> None:
    text = yaml.safe_dump(
        {
            "defaults": {"regime": "2024-11-01", "limit": 7},
            "cases": [
                {"name": "a", "steps": [SEND]},
                {"name": "b", "account": {"limit": 8}, "steps": [SEND]},
            ],
        }
    )
    one, other = read(text)
    assert (one.regime, one.account.limit, other.account.limit) == ("2024-11-01", 7, 8)


def test_times_are_spans_from_the_start_or_rfc_3339() -> None:
    steps = ("0s", "1d2h3m4s5ms", "2026-11-20T00:00:00+01:00")
    [case] = read(a_file(*({**SEND, "at": at} for at in steps), start="2026-11-01T00:00:00Z"))
    assert [step.at_ms - case.start_ms for step in case.steps] == [0, 93_784_005, (19 * 24 - 1) * 3_600_000]
    [case] = read(a_file({"at": "0s", "receive": {"from": "A", "sent_at": "-1h"}}))
    action = case.steps[0].action
    assert isinstance(action, Receive)
    assert action.sent_at == case.start_ms - 3_600_000


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_a_span_is_the_sum_of_its_parts(hours: int, minutes: int, ms: int) -> None:
    assert span_ms(f"{hours}h{minutes}m{ms}ms") == hours * 3_600_000 + minutes * 60_000 + ms


@pytest.mark.parametrize("text", ["", "1", "h", "1h ", "1w", "1.5h", "24:00", None, 5, "2026-11-20T00:00:00"])
def test_a_time_of_another_form_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"time"):
        moment_ms(text, 0)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"at": "0s", "send": {"to": "Q", "text": "hi"}}, "step 1 (at 0s), send: to: "),
        ({"at": "0s", "send": {"to": "Q", "text": "hi"}}, "unknown user 'Q'; the case has A, B"),
        ({"at": "0s", "send": {"to": "A", "from": "N7", "text": "hi"}}, "unknown number 'N7'"),
        ({"at": "0s", "payment_method": {"account": "W9", "method": "valid"}}, "unknown account 'W9'"),
        ({"at": "soon", "send": {"to": "A", "text": "hi"}}, "step 1 (at soon): at: no span of time: 'soon'"),
        ({"send": {"to": "A", "text": "hi"}}, "at: no span of time: None"),
        ({"at": "0s"}, "one of receive, call, prefer"),
        ({"at": "0s", "sned": {"to": "A"}}, "not sned"),
        ({"at": "0s", "send": {"to": "A", "txt": "hi"}}, "send: txt: Extra inputs are not permitted"),
        ({"at": "0s", "send": {"to": "A"}}, "either text or template"),
        ({**SEND, "expect": {"outcom": "allow"}}, "expect: outcom"),
        ({**SEND, "expect": {"reason": "window_shut"}}, "unknown reason 'window_shut'"),
        (
            {"at": "0s", "receive": {"from": "A"}, "expect": {"outcome": "allow"}},
            "only a send or a cancel is",
        ),
        ({"at": "0s", "call": {"from": "A"}, "later": {"at": "1h", "outcome": "allow"}}, "only a send waits"),
        ({**SEND, "later": {"outcome": "allow"}}, "later: at: Field required"),
        ({**SEND, "later": {"at": "0s", "outcome": "allow"}}, "its time is not after the step's"),
        ({**SEND, "expect": {"not_before": "soon"}}, "expect: not_before.0: "),
        ({"at": "0s", "cancel": {"to": "A"}}, "cancel: request_id: Field required"),
        (
            {"at": "0s", "pause": {"number": "N1", "template": "promo"}},
            "one of number, template and category",
        ),
        ({"at": "0s", "send": {"to": "A", "text": "hi", "code": 131050}}, "code goes with delivery: failed"),
        ({"at": "-1h", "send": {"to": "A", "text": "hi"}}, "before the start"),
        ({"at": "0s", "receive": {"from": "A", "sent_at": "noon"}}, "receive: sent_at"),
    ],
)
def test_a_fault_is_told_with_the_case_and_the_step(step: dict[str, object], said: str) -> None:
    with pytest.raises(FormError) as error:
        read(a_file(step))
    assert str(error.value).startswith("case 'one', step 1")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cases: [", "not YAML"),
        ("- 1", "`cases`"),
        ("cases: []\nextra: 1", "unknown: extra"),
        (a_file(), "case 'one': steps"),
        (a_file(SEND, tally={"service": {"fre": 1}}), "case 'one': tally.service.fre"),
        (a_file(SEND, account={"opted_out": ["Q"]}), "unknown user 'Q'"),
        (a_file(SEND, preferences={"Q": []}), "preferences: unknown user 'Q'"),
        (a_file(SEND, preferences={"A": [{"marketing": "never"}]}), "preferences: A: marketing"),
        (a_file(SEND, account={"budgets": [{"amount": 1}]}), "budgets.0.amount_micros"),
        (a_file(SEND, account={"templates": {"x": {"category": "utility", "body": "{{2}}"}}}), "positional variables must be"),
        (a_file(SEND, {**SEND, "at": "1m"}, SEND), "step 3: at 0s is before the step above"),
        (a_file(SEND, start="2026-11-02T12:00:00"), "start: Value error, a time needs an offset"),
        ("cases: [{name: a, steps: [{at: 0s, call: {from: A}}]}, {name: a, steps: [{at: 0s, call: {from: A}}]}]",
         "two cases have the name 'a'"),
    ],
)  # fmt: skip
def test_a_fault_of_the_file_or_a_case_is_told(text: str, said: str) -> None:
    with pytest.raises(FormError) as error:
        read(text)
    assert said in str(error.value)


def test_the_clock_stands_at_each_look_of_a_short_wait_and_at_the_end_of_a_long_one() -> None:
    def minutes(later: str) -> list[int]:
        [case] = read(a_file({**SEND, "later": {"at": later, "outcome": "allow"}}))
        return sorted((at_ms - case.start_ms) // 60_000 for at_ms in case.instants)

    assert minutes("25m") == [0, 10, 20, 25]
    assert minutes("24h") == [0, 24 * 60]


def test_whatever_can_be_expected_can_be_compared() -> None:
    assert {field.alias or name for name, field in Expect.model_fields.items()} == set(CAME)


def test_no_two_cases_share_an_id() -> None:
    [case] = read(a_file(SEND, accounts={"W2": {"numbers": {"M1": {}}}}, account={"numbers": {"N3": {}}}))
    seen: list[str] = []
    for index in (1, 2, 10, 22):
        names = Names(case, index)
        seen += [names.account(name) for name in case.accounts]
        seen += [names.number(name) for name in case.numbers]
        seen += [names.display(name) for name in case.numbers]
        seen += [names.user(user) for user in "ABCDEFGH"]
        seen += [names.portfolio, names.request("r1"), names.wamid("1")]
    assert len(seen) == len(set(seen))


def test_meta_and_the_system_hear_of_the_same_accounts() -> None:
    [case] = read(a_file(SEND, accounts={"W2": {"numbers": {"M1": {}, "M2": {"known": False}}}}))
    names = Names(case, 1)
    told = {(event.subject, event.waba_id, event.id) for event in facts(names)}
    there = {
        (subject, waba["id"], id_)
        for waba in meta_accounts(names)["wabas"]
        for subject, ids in (
            ("account", [waba["id"]]),
            ("number", [number["id"] for number in waba["numbers"]]),
            ("template", [f"{template['name']}/en" for template in waba["templates"]]),
        )
        for id_ in ids
    }
    assert there - told == {("number", names.account("W2"), names.number("M2"))}
    assert told <= there


def test_the_page_about_the_form_names_everything_that_a_step_can_say() -> None:
    page = set(re.findall(r"[a-z_]+", DOCS.read_text()))
    models = (
        *ACTIONS.values(),
        Expect,
        Later,
        TierLeft,
        Word,
        AccountSpec,
        NumberSpec,
        TemplateSpec,
        BudgetSpec,
    )
    fields = {field.alias or name for model in models for name, field in model.model_fields.items()}
    assert {*ACTIONS, *fields} - page == set()


def test_the_examples_of_the_page_come_out_as_they_say() -> None:
    examples = [part.split("```")[0] for part in DOCS.read_text().split("```yaml\n")[1:]]
    assert len(examples) == 2
    for case in read(examples[0]) + read(examples[1]):
        assert play(Names(case, 1)).ok, case.name
    assert all(read(file.read_text()) for file in CASES)
