"""The sender's pure rules: pace, judgements, answers, the request's body."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sender import request
from services.sender.answers import Accepted, Answer, Marked, NoAnswer, NotSent, Refused, read
from services.sender.judge import Again, End, Opens, expired, judge
from services.sender.pace import RECOVERY_S, Pace
from shared.events import SendAccepted, SendFailed, SendUncertain, decode_conversation_event
from shared.graph_answers import Usage
from tests.unit.sender.fakes import NOW_MS, TABLE, command

# --- pace


def test_a_number_starts_at_its_throughput() -> None:
    assert Pace().rate(80, 5) == 80


def test_a_throttle_halves_the_rate_at_once_and_it_recovers_by_itself() -> None:
    cut = Pace().throttled(80, 100)
    assert cut.rate(80, 100) == 40
    assert cut.rate(80, 100 + RECOVERY_S / 4) == 60
    assert cut.rate(80, 100 + RECOVERY_S) == 80


def test_refusals_of_calls_that_flew_together_are_one_signal() -> None:
    cut = Pace().throttled(80, 100)
    assert cut.throttled(80, 100.9) is cut
    assert cut.throttled(80, 101.1).rate(80, 101.1) < cut.rate(80, 101.1)


@given(st.lists(st.floats(0, 60), max_size=50), st.integers(1, 1000))
def test_no_series_of_throttles_stops_a_number_or_speeds_it_up(gaps: list[float], throughput: int) -> None:
    pace, now = Pace(), 1000.0
    for gap in gaps:
        now += gap
        pace = pace.throttled(throughput, now)
        assert 1 <= pace.rate(throughput, now) <= max(1, throughput)


# --- answers


def test_an_acceptance_is_read_with_meta_s_own_id_of_the_user() -> None:
    body = b'{"messages":[{"id":"wamid.1","message_status":"accepted"}],"contacts":[{"input":"+55119","wa_id":"5511"}]}'
    assert read(200, body, {}) == Accepted("wamid.1", "5511", "accepted")


def test_an_error_is_read_by_code_with_its_details() -> None:
    body = b'{"error":{"code":130429,"message":"(#130429)","error_data":{"details":"slow down"}}}'
    assert read(400, body, {}) == Refused(400, 130429, "slow down", message="(#130429)")


def test_an_error_is_read_with_its_subcode_and_all_that_it_says() -> None:
    body = b'{"error":{"code":100,"error_subcode":33,"message":"Unsupported post request"}}'
    answer = read(400, body, {})
    assert answer == Refused(400, 100, "Unsupported post request", subcode=33)
    assert isinstance(answer, Refused)
    assert answer.said == "Unsupported post request"
    details = read(
        400, b'{"error":{"code":100,"message":"(#100) Invalid","error_data":{"details":"why"}}}', {}
    )
    assert isinstance(details, Refused)
    assert details.said == "(#100) Invalid: why"


@pytest.mark.parametrize(
    "more", ['"error_subcode":"33"', '"error_data":"text"', '"message":7', '"error_data":{"details":[]}']
)
def test_an_error_of_metas_stays_one_whatever_stands_beside_its_code(more: str) -> None:
    answer = read(400, f'{{"error":{{"code":100,{more}}}}}'.encode(), {})
    assert answer == Refused(400, 100, None)


NESTED = '{"more":' + "[" * 20_000


@pytest.mark.parametrize("status", [200, 302, 403, 429, 500, 502])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"messages":[]}', b'{"error":"text"}', NESTED.encode()]
)
def test_a_body_that_is_not_meta_s_has_no_code(status: int, body: bytes) -> None:
    assert read(status, body, {}) == Refused(status, None, None)


USED_UP = '{"10":[{"type":"messages","call_count":100,"estimated_time_to_regain_access":7}]}'


def test_the_usage_headers_say_how_much_is_used_and_when_access_is_regained() -> None:
    headers = {
        "x-business-use-case-usage": USED_UP,
        "x-app-usage": '{"call_count":28,"total_time":25,"total_cputime":31}',
    }
    answer = read(400, b'{"error":{"code":80007}}', headers)
    assert answer == Refused(400, 80007, None, Usage(31, 100, 420))
    taken = read(200, b'{"messages":[{"id":"wamid.1"}]}', headers)
    assert taken == Accepted("wamid.1", None, None, Usage(31, 100, 420))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{", '{"10":{}}', '{"10":[{"call_count":"many"}]}', "\udcff"),
        '{"10":[{"estimated_time_to_regain_access":1e308}]}',
        NESTED,
    ],
)
def test_a_usage_header_that_makes_no_sense_says_nothing(text: str) -> None:
    headers = {"x-business-use-case-usage": text, "x-app-usage": text if text == NESTED else "none"}
    assert read(400, b'{"error":{"code":4}}', headers) == Refused(400, 4, None, None)


@pytest.mark.parametrize("code", [4, 80007, 80008])
def test_what_meta_says_of_the_wait_wins_over_the_table(code: int) -> None:
    for regain_s, expected_ms in ((60, 60_000), (7200, 7_200_000), (None, 300_000)):
        refusal = Refused(400, code, None, Usage(None, 100, regain_s))
        again = judge(refusal, command("r1"), 1, TABLE, NOW_MS)
        assert isinstance(again, Again)
        scope, reason = ("app", "rate_app") if code == 4 else ("waba", "rate_waba")
        assert again.opens == (scope, reason, expected_ms)


def test_the_wait_for_an_allowance_is_not_one_for_a_throughput() -> None:
    again = judge(Refused(400, 130429, None, Usage(None, 100, 420)), command("r1"), 1, TABLE, NOW_MS)
    assert isinstance(again, Again)
    assert again.delay_ms == 1000


# --- judgements


def test_an_acceptance_ends_with_the_wamid() -> None:
    end = judge(Accepted("wamid.1", None, None), command("r1", user="491"), 1, TABLE, NOW_MS)
    assert isinstance(end, End)
    assert isinstance(end.event, SendAccepted)
    assert (end.event.event_id, end.event.wamid, end.event.user) == ("r1#1:accepted", "wamid.1", "491")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (NoAnswer("TimeoutError"), "uncertain"),
        (Refused(500, None, None), "uncertain"),
        (Refused(200, None, None), "uncertain"),
        (Refused(302, None, None), "uncertain"),
        (Refused(408, None, None), "uncertain"),
        (Refused(400, 131026, "x"), "failed"),
        (Refused(500, 131026, "x"), "failed"),
    ],
)
def test_an_end_is_certain_only_when_meta_surely_refused(answer: NoAnswer | Refused, expected: str) -> None:
    end = judge(answer, command("r1"), 1, TABLE, NOW_MS)
    assert isinstance(end, End)
    assert end.status == expected
    assert isinstance(end.event, SendUncertain if expected == "uncertain" else SendFailed)


def test_no_connection_is_tried_again_and_counts_for_nothing() -> None:
    again = judge(NotSent("ClientConnectorError"), command("r1"), 1, TABLE, NOW_MS)
    assert again == Again(0, called=False, label="transport")


def test_a_throttled_number_slows_down_and_a_throttled_pair_waits() -> None:
    number = judge(Refused(400, 130429, None), command("r1"), 1, TABLE, NOW_MS)
    assert number == Again(1000, throttled=True, label="rate_number")
    pair = judge(Refused(400, 131056, None), command("r1"), 2, TABLE, NOW_MS)
    assert pair == Again(16_000, pair=True, label="rate_pair")


def test_a_4xx_that_is_no_answer_of_metas_never_ends_a_message() -> None:
    for attempt, delay_ms in ((1, 2_000), (2, 4_000), (1_000, 60_000)):
        again = judge(Refused(403, None, None), command("r1"), attempt, TABLE, NOW_MS)
        assert again == Again(delay_ms, silent=True, label="unreachable")


@pytest.mark.parametrize(
    ("answer", "opens"),
    [
        (Refused(400, 100, "Invalid appsecret_proof provided"), ("waba", "auth", None)),
        (Refused(400, 100, "Unsupported post request", subcode=33), ("phone_number", "permission", None)),
    ],
)
def test_a_secret_or_an_access_that_is_wrong_holds_back_and_fails_nothing(
    answer: Refused, opens: tuple[str, str, None]
) -> None:
    assert judge(answer, command("r1"), 1, TABLE, NOW_MS) == Again(0, opens=Opens(*opens), label=opens[1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "scope", "wait_ms"),
    [
        (131048, "phone_number", 14_400_000),
        (368, "waba", None),
        (131031, "waba", None),
        (131064, "waba", 86_400_000),
    ],
)
def test_policy_and_spam_fail_the_message_and_hold_the_others_back(
    code: int, scope: str, wait_ms: int | None
) -> None:
    for attempt in (1, 9):
        end = judge(Refused(400, code, None), command("r1"), attempt, TABLE, NOW_MS)
        assert isinstance(end, End)
        assert end.opens is not None
        assert (end.status, end.opens.scope, end.opens.wait_ms) == ("failed", scope, wait_ms)


@pytest.mark.parametrize(
    ("answer", "silent"),
    [
        (NoAnswer("TimeoutError"), True),
        (Refused(502, None, None), True),
        (Refused(500, 1, None), True),
        (Refused(500, 131000, None), True),
        (Refused(503, 2, None), True),
        (Refused(400, 1, None), False),
        (Refused(400, 135000, None), False),
        (Refused(500, 131045, None), False),
        (Refused(400, 131026, None), False),
        (Refused(403, None, None), True),
        (NotSent("ClientConnectorError"), False),
        (Accepted("wamid.1", None, None), False),
    ],
)
def test_only_no_answer_and_a_failing_meta_count_as_silence(answer: Answer, silent: bool) -> None:
    for attempt in (1, 20):
        assert judge(answer, command("r1"), attempt, TABLE, NOW_MS).silent is silent


@pytest.mark.parametrize("code", [1, 135000])
@pytest.mark.parametrize("status", [200, 302, 408, 500, 503])
def test_an_ambiguous_code_that_was_not_surely_a_refusal_is_uncertain(code: int, status: int) -> None:
    end = judge(Refused(status, code, None), command("r1"), 1, TABLE, NOW_MS)
    assert isinstance(end, End)
    assert end.status == "uncertain"


@pytest.mark.parametrize(
    ("code", "attempt", "after_ms"),
    [
        (131049, 1, 86_400_000),
        (134101, 1, 600_000),
        (132069, 1, 3_600_000),
        (130429, 8, 60_000),
        (131056, 5, 256_000),
        (131057, 5, 60_000),
        (2, 6, 64_000),
    ],
)
def test_what_the_table_defers_fails_and_says_when_it_is_worth_another_decision(
    code: int, attempt: int, after_ms: int
) -> None:
    end = judge(Refused(400, code, None), command("r1"), attempt, TABLE, NOW_MS)
    assert isinstance(end, End)
    assert isinstance(end.event, SendFailed)
    assert (end.event.retryable, end.event.retry_ms) == (True, NOW_MS + after_ms)


def test_an_allowance_that_is_used_up_is_worth_another_decision_when_metas_header_says() -> None:
    end = judge(Refused(429, None, None, Usage(100, None, 1800)), command("r1"), 5, TABLE, NOW_MS)
    assert isinstance(end, End)
    assert isinstance(end.event, SendFailed)
    assert end.event.retry_ms == NOW_MS + 1_800_000


@pytest.mark.parametrize(("code", "attempt"), [(131026, 1), (131048, 1), (131000, 9), (999_999, 1)])
def test_what_fails_for_good_names_no_time(code: int, attempt: int) -> None:
    end = judge(Refused(404, code, None), command("r1"), attempt, TABLE, NOW_MS)
    assert isinstance(end, End)
    assert isinstance(end.event, SendFailed)
    assert end.event.retry_ms is None


def test_what_an_older_sender_says_of_a_failure_names_no_time() -> None:
    event = decode_conversation_event(
        b'{"event":"SendFailed","event_id":"r1#1:failed","at_ms":1,"command_id":"r1#1","origin":"meta","reason":"x","retryable":true}'
    )
    assert isinstance(event, SendFailed)
    assert event.retry_ms is None


@given(
    st.integers(0, 3_000_000), st.sampled_from([200, 302, 400, 401, 408, 429, 500, 503]), st.integers(1, 12)
)
def test_every_refusal_has_a_judgement(code: int, status: int, attempt: int) -> None:
    judgement = judge(Refused(status, code, None), command("r1"), attempt, TABLE, NOW_MS)
    assert isinstance(judgement, (Again, End))
    if isinstance(judgement, Again):
        assert judgement.delay_ms > 0 or judgement.opens is not None


def test_an_expiry_is_final() -> None:
    event = expired("r1#1", NOW_MS).event
    assert isinstance(event, SendFailed)
    assert (event.reason, event.retryable, event.event_id) == ("expired", False, "r1#1:expired")


# --- the request's body


def test_the_body_is_the_message_with_plus_and_command_id() -> None:
    one = command("r1", user="4915112345678", message={"to": "01511", "type": "text", "text": {"body": "hi"}})
    assert msgspec.json.decode(request.body(one)) == {
        "messaging_product": "whatsapp",
        "to": "+4915112345678",
        "type": "text",
        "text": {"body": "hi"},
        "biz_opaque_callback_data": "1001:4915112345678|r1#1",
    }


def test_a_phone_number_beside_a_scoped_id_is_written_as_meta_wants_it_too() -> None:
    one = command("r1", user="4915112345678", message={"to": "49 1511 2345678", "recipient": "DE.1a2b3c"})
    sent = msgspec.json.decode(request.body(one))
    assert (sent["to"], sent["recipient"]) == ("+4915112345678", "DE.1a2b3c")


@pytest.mark.parametrize(
    "message",
    [{"recipient": "DE.1a2b3c", "type": "text"}, {"recipient_type": "group", "to": "g1", "type": "text"}],
)
def test_recipients_that_are_no_phone_numbers_stay_as_they_are(message: dict[str, str]) -> None:
    body = msgspec.json.decode(request.body(command("r1", user="4915112345678", message=dict(message))))
    assert {name: body.get(name) for name in message} == message


def test_a_message_that_is_no_object_is_an_error() -> None:
    one = msgspec.structs.replace(command("r1"), message=msgspec.Raw(b"[]"))
    with pytest.raises(msgspec.MsgspecError):
        request.body(one)


def test_the_template_is_found_by_account_name_and_language() -> None:
    message = {"type": "template", "template": {"name": "shipped", "language": {"code": "de"}}}
    assert request.template_of(command("r1", message=message)) == "10/shipped/de"
    assert request.template_of(command("r1")) is None


# --- read marks


MARK = msgspec.structs.replace(
    command("m1", message={"to": "+4915112345678", "status": "read", "message_id": "wamid.in"}),
    marks="wamid.in",
)


def test_the_body_of_a_read_mark_names_nobody_and_no_command() -> None:
    assert msgspec.json.decode(request.body(MARK)) == {
        "messaging_product": "whatsapp",
        "status": "read",
        "message_id": "wamid.in",
    }


def test_success_is_the_acceptance_of_a_read_mark_and_no_answer_to_a_message() -> None:
    answer = read(200, b'{"success": true}', {})
    assert answer == Marked()
    end = judge(answer, MARK, 1, TABLE, NOW_MS)
    assert isinstance(end, End)
    assert isinstance(end.event, SendAccepted)
    assert (end.event.event_id, end.event.wamid) == ("m1#1:accepted", "")
    message = judge(answer, command("r1"), 1, TABLE, NOW_MS)
    assert isinstance(message, End)
    assert message.status == "uncertain"


def test_no_success_is_no_answer_of_metas() -> None:
    assert read(200, b'{"success": false}', {}) == Refused(200, None, None)
