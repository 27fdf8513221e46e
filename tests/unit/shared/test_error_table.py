"""What follows from each of Meta's error codes."""

import csv
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.error_table import Action, ErrorTable, ErrorTableError, Label, Scope
from shared.graph_answers import Refused

FILE = Path(__file__).parents[3] / "config" / "errors.yaml"
TABLE = ErrorTable.load(FILE)

CODES = Path(__file__).parents[2] / "fixtures" / "meta-error-codes.csv"
"""Meta, Cloud API, error codes, and the limits' own codes: HTTP status where one is known; retry Y soon, D after a delay, N not before something changes, A unclear."""

DOCUMENTED = list(csv.DictReader(CODES.read_text("utf-8").splitlines()))
RETRIES = {"Y": "yes", "D": "delay", "N": "no", "A": "ambiguous"}
SCOPES = {
    "": {"request"},
    "token/waba": {"waba"},
    "token": {"waba"},
    "app": {"app"},
    "app/waba": {"app", "waba"},
    "business": {"waba"},
    "waba": {"waba"},
    "waba x country": {"recipient"},
    "phone number": {"phone_number"},
    "number": {"phone_number"},
    "number/waba": {"phone_number", "waba"},
    "number/pair": {"phone_number", "pair"},
    "pair": {"pair"},
    "recipient": {"recipient"},
    "test number": {"recipient"},
    "request": {"request"},
    "media": {"request"},
    "platform": {"platform"},
    "template": {"template"},
    "flow": {"template", "phone_number"},
    "group": {"recipient"},
}
"""Meta's words for what a code concerns, and ours."""
OURS = {
    3: "an account may lack what the app has: each finds out by one call, and no other waits for it",
    200: "as 3",
    131053: "an upload that fails is tried once more: as often as not it was the network",
    131063: "of marketing templates only, which the account may send elsewhere",
}
"""Codes that we treat otherwise than Meta's text does, and why."""


@pytest.mark.parametrize("row", DOCUMENTED, ids=lambda row: row["code"])
def test_every_documented_code_has_a_row_that_agrees_with_meta(row: dict[str, str]) -> None:
    ours = TABLE.by_code.get(int(row["code"]))
    assert ours is not None
    if int(row["code"]) not in OURS:
        assert ours.retry == RETRIES[row["retry"]]
        assert ours.scope in SCOPES[row["scope"]]


def test_no_row_is_of_a_code_that_meta_does_not_document() -> None:
    assert set(TABLE.by_code) == {int(row["code"]) for row in DOCUMENTED}


@pytest.mark.parametrize(
    ("code", "action", "delay_s", "scope", "reason"),
    [
        (190, "park", None, "waba", "token_invalid"),
        (368, "stop", None, "waba", "account_restricted"),
        (131031, "stop", None, "waba", "account_restricted"),
        (131064, "stop", 86_400, "waba", "account_limited"),
        (3, "park", None, "waba", "permission_missing"),
        (131042, "park", None, "waba", "payment_method_missing"),
        (133010, "park", None, "phone_number", "number_not_registered"),
        (131048, "stop", 14_400, "phone_number", "number_quality_limited"),
        (131057, "park", 60, "phone_number", "number_in_maintenance"),
        (132015, "park", 10_800, "template", "template_paused"),
        (4, "park", 300, "app", "rate_limited_app"),
        (80007, "park", 300, "waba", "rate_limited_account"),
        (130429, "retry", 1, "phone_number", "rate_limited_number"),
        (131056, "retry", 4, "pair", "rate_limited_pair"),
        (131016, "retry", 2, "platform", "platform_unavailable"),
        (131049, "defer", 86_400, "recipient", "marketing_capped"),
        (134101, "defer", 600, "template", "template_syncing"),
        (131047, "final", None, "pair", "window_closed"),
        (131026, "final", None, "recipient", "recipient_undeliverable"),
        (131050, "final", None, "recipient", "opted_out"),
        (132001, "final", None, "template", "template_unknown"),
        (100, "final", None, "request", "message_invalid"),
    ],
)
def test_a_code_decides_what_becomes_of_the_request(
    code: int, action: Action, delay_s: float | None, scope: Scope, reason: str
) -> None:
    verdict = TABLE.verdict(code, 400, 1)
    assert (verdict.action, verdict.delay_s, verdict.scope, verdict.reason) == (
        action,
        delay_s,
        scope,
        reason,
    )
    assert verdict.hint


@pytest.mark.parametrize("code", [131056, 131042, 131047, 131016, 131000])
def test_a_known_code_decides_whatever_the_http_status(code: int) -> None:
    verdicts = {TABLE.verdict(code, status, 1) for status in (None, 200, 400, 401, 408, 429, 500, 503)}
    assert len(verdicts) == 1


@pytest.mark.parametrize("code", [None, 999_999])
@pytest.mark.parametrize(
    ("http_status", "action", "reason", "retryable"),
    [
        (500, "uncertain", "outcome_unknown", False),
        (502, "uncertain", "outcome_unknown", False),
        (504, "uncertain", "outcome_unknown", False),
        (408, "uncertain", "outcome_unknown", False),
        (200, "uncertain", "outcome_unknown", False),
        (302, "uncertain", "outcome_unknown", False),
        (None, "uncertain", "outcome_unknown", False),
        (429, "park", "rate_limited_app", True),
    ],
)
def test_without_a_known_code_only_a_sure_refusal_is_read_as_one(
    code: int | None, http_status: int | None, action: Action, reason: str, retryable: bool
) -> None:
    verdict = TABLE.verdict(code, http_status, 1)
    assert (verdict.action, verdict.reason, verdict.retryable) == (action, reason, retryable)


@pytest.mark.parametrize("http_status", [400, 403, 404, 407])
def test_a_4xx_that_bears_no_error_of_metas_says_nothing_about_the_message(http_status: int) -> None:
    assert TABLE.verdict(999_999, http_status, 1).reason == "meta_error_unknown"
    assert TABLE.verdict(999_999, http_status, 1).action == "final"
    verdicts = [TABLE.verdict(None, http_status, attempt) for attempt in (1, 2, 6, 1_000_000)]
    assert {(v.action, v.scope, v.reason, v.retryable) for v in verdicts} == {
        ("retry", "platform", "platform_unavailable", True)
    }
    assert [v.delay_s for v in verdicts] == [2, 4, 60, 60]


PROOFS = (
    "Invalid appsecret_proof provided in the API argument",
    "API calls from the server require an appsecret_proof argument",
)
LOST = (
    "Unsupported post request. Object with ID '106540' does not exist, cannot be loaded due to missing permissions, "
    "or does not support this operation. Please read the Graph API documentation"
)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        *((Refused(400, 100, text), ("park", "waba", "token_invalid", "auth")) for text in PROOFS),
        (
            Refused(400, 100, "Invalid AppSecret_Proof", message="(#100)"),
            ("park", "waba", "token_invalid", "auth"),
        ),
        (
            Refused(400, 100, "details", message=PROOFS[0]),
            ("park", "waba", "token_invalid", "auth"),
        ),
        (Refused(400, 100, LOST, subcode=33), ("park", "phone_number", "permission_missing", "permission")),
        (Refused(400, 100, LOST), ("park", "phone_number", "permission_missing", "permission")),
        (Refused(400, 100, None, subcode=33), ("park", "phone_number", "permission_missing", "permission")),
        (Refused(400, 100, "Param text is too long"), ("final", "request", "message_invalid", "parameter")),
        (
            Refused(400, 100, "no template", subcode=2593002),
            ("final", "request", "message_invalid", "parameter"),
        ),
        (
            Refused(400, 100, "Unexpected key appsecret_proof on param"),
            ("final", "request", "message_invalid", "parameter"),
        ),
        (Refused(400, 131009, PROOFS[0], subcode=33), ("final", "request", "message_invalid", "parameter")),
    ],
)
def test_what_meta_says_beside_the_code_refines_the_verdict(
    answer: Refused, expected: tuple[Action, Scope, str, Label]
) -> None:
    for attempt in (1, 50):
        verdict = TABLE.verdict_on(answer, attempt)
        assert (verdict.action, verdict.scope, verdict.reason, verdict.label) == expected
    assert TABLE.verdict_on(answer).delay_s is None


@pytest.mark.parametrize("code", [1, 135000])
def test_an_ambiguous_code_is_tried_again_only_after_a_sure_refusal(code: int) -> None:
    assert TABLE.verdict(code, 400, 1).action == "retry"
    assert TABLE.verdict(code, 400, 3).action == "final"
    for unsure in (None, 200, 302, 408, 500, 503):
        assert TABLE.verdict(code, unsure, 1).action == "uncertain"


def test_the_pair_rate_backs_off_by_powers_of_four_and_outlasts_the_longest_debt() -> None:
    verdicts = [TABLE.verdict(131056, 400, attempt) for attempt in range(1, 6)]
    waits = [verdict.delay_s for verdict in verdicts[:4]]
    assert waits == [4, 16, 64, 256]
    assert sum(wait or 0 for wait in waits) > 45 * 6
    assert [verdict.action for verdict in verdicts] == ["retry"] * 4 + ["defer"]


def test_a_throttled_send_waits_longer_each_time_and_then_goes_back() -> None:
    verdicts = [TABLE.verdict(130429, 400, attempt) for attempt in range(1, 9)]
    assert [v.delay_s for v in verdicts] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [v.action for v in verdicts] == ["retry"] * 7 + ["defer"]


def test_a_capped_marketing_message_is_tried_once_more_a_day_later() -> None:
    assert TABLE.verdict(131049, 400, 1).action == "defer"
    last = TABLE.verdict(131049, 400, 2)
    assert (last.action, last.delay_s) == ("final", None)


def test_a_park_without_an_end_stays_one_at_every_attempt() -> None:
    assert TABLE.verdict(131042, 400, 50) == TABLE.verdict(131042, 400, 1)


@given(
    st.one_of(st.none(), st.sampled_from(sorted(TABLE.by_code)), st.integers(0, 3_000_000)),
    st.one_of(st.none(), st.integers(100, 599)),
    st.integers(1, 10_000),
)
def test_every_failure_has_a_verdict_that_agrees_with_itself(
    code: int | None, http_status: int | None, attempt: int
) -> None:
    verdict = TABLE.verdict(code, http_status, attempt)
    assert verdict.action in get_args(Action)
    assert verdict.label in get_args(Label)
    assert verdict.reason in TABLE.reasons()
    if verdict.action in ("retry", "defer"):
        assert verdict.delay_s is not None
        assert verdict.delay_s > 0
    if verdict.action in ("final", "uncertain"):
        assert verdict.delay_s is None
    if verdict.action == "uncertain":
        assert not verdict.retryable


def test_nothing_is_retried_for_ever() -> None:
    for code in TABLE.by_code:
        assert TABLE.verdict(code, 400, 1_000).action != "retry"
    unlimited = [row.name for row in TABLE.rows if row.max_attempts == "unlimited"]
    assert unlimited == [TABLE.by_case["foreign_refused"].name]  # Meta has not seen it


def test_every_label_is_used() -> None:
    used = {row.label for row in TABLE.rows}
    assert used == set(get_args(Label))


def test_attempts_count_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        TABLE.verdict(1, 400, 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("code: 131056", "code: 131049"),
        ("code: 131056", 'code: "290-300"'),
        ("code: 131056", 'code: "20-10"'),
        ("code: 131056", 'code: "1-2000000"'),
        ("code: 131056", 'code: "131056-131057x"'),
        ("scope: pair", "scope: planet"),
        ("action: retry", "action: hope"),
        ('retry: "no"', "retry: no"),
        ("label: auth,", "label: other,"),
        ("reason: token_invalid", "reason: Token invalid"),
        ("delay_s: 600, max_attempts: 3", "delay_s: 600"),
        ("delay_s: 600, max_attempts: 3,", ""),
        ("delay_s: 14400,", "delay_s: 14400, max_attempts: 3,"),
        ("delay_s: 600", "delay_s: -1"),
        ("case: unknown_failed", "case: unknown_refused"),
        ("action: uncertain", "action: uncertain, surprise: 1"),
        ("code: 100, subcode: 33", "code: 101, subcode: 33"),
        ('says: ["invalid appsecret_proof", "require an appsecret_proof"], ', ""),
        ('says: ["invalid appsecret_proof"', 'subcode: 33, says: ["invalid appsecret_proof"'),
        ('says: ["invalid appsecret_proof"', 'says: ["Permissions"'),
        ('says: ["invalid appsecret_proof"', 'says: [""'),
        ('code: 100, says: ["invalid', 'code: "100-102", says: ["invalid'),
        ("max_attempts: unlimited", "max_attempts: endless"),
        ("max_attempts: 2", "max_attempts: 1"),
        ("scope: phone_number, action: stop", "scope: phone_number, max_attempts: unlimited, action: stop"),
    ],
)
def test_a_table_at_odds_with_itself_is_refused(old: str, new: str, tmp_path: Path) -> None:
    text = FILE.read_text("utf-8")
    assert old in text
    broken = tmp_path / "errors.yaml"
    broken.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(ErrorTableError):
        ErrorTable.load(broken)
