"""Send requests as businesses write them: taken, refused with what is wrong, or unreadable."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingress.requests import MAX_REQUEST_BYTES, UnreadableRequest, key_of, take
from shared.events import (
    CancelRequested,
    RequestMalformed,
    SendRequested,
    TemplateRef,
    decode_conversation_event,
    encode,
)

NOW_MS = 1_790_000_000_000
TEXT = {"messaging_product": "whatsapp", "to": "+4915112345678", "type": "text", "text": {"body": "Shipped"}}
TEMPLATE = {
    "messaging_product": "whatsapp",
    "to": "+4915112345678",
    "type": "template",
    "template": {"name": "shipped", "language": {"code": "de"}, "components": []},
}


def given_request(**members: Any) -> bytes:
    return json.dumps({"request_id": "4711-shipped", "message": TEXT} | members).encode()


def taken(value: bytes, default_number: str | None = "106") -> SendRequested:
    event = take(value, NOW_MS, default_number)
    assert isinstance(event, SendRequested), event
    return event


def problems(value: bytes, default_number: str | None = "106") -> list[str]:
    event = take(value, NOW_MS, default_number)
    assert isinstance(event, RequestMalformed), event
    return event.problems


def test_the_smallest_request_leaves_from_the_default_number() -> None:
    event = taken(given_request())
    assert (event.phone_number_id, event.user, event.type, event.at_ms) == (
        "106",
        "4915112345678",
        "text",
        NOW_MS,
    )
    assert key_of(event) == "106:4915112345678"


def test_every_member_arrives() -> None:
    event = taken(
        given_request(
            **{"from": "107"},
            message=TEMPLATE,
            correlation_id="order-4711",
            fallback_template={"name": "later", "language": {"code": "en_US"}, "components": [{"type": "x"}]},
            not_before_at="2026-10-01T10:00:00+01:00",
            expires_at="2026-12-02T09:00:00Z",
            after_request_id="4711-paid",
            after_failed="send",
            max_price={"amount_micros": 60000, "currency": "USD"},
            dry_run=True,
            tags={"cost_center": "logistics"},
        )
    )
    assert event.phone_number_id == "107"
    assert event.template == TemplateRef(name="shipped", language="de")
    assert event.fallback_ref == TemplateRef(name="later", language="en_US")
    assert event.fallback is not None
    assert msgspec.json.decode(event.fallback)["components"] == [{"type": "x"}]
    assert (event.not_before_ms, event.expires_ms) == (1_790_845_200_000, 1_796_202_000_000)
    assert (event.max_price_micros, event.max_price_currency) == (60000, "USD")
    assert (event.correlation_id, event.after_request_id, event.dry_run) == ("order-4711", "4711-paid", True)
    assert (event.after_failed, taken(given_request()).after_failed) == ("send", "refuse")
    assert event.tags == {"cost_center": "logistics"}
    assert encode(decode_conversation_event(encode(event))) == encode(event)


def test_the_message_is_kept_to_the_byte() -> None:
    message = b'{ "messaging_product":"whatsapp","to":"+49 151 1234 5678", "text":{"body":"\\u00e4", "preview_url" : true},"new":1.50}'
    event = taken(b'{"message":%s,"request_id":"a"}' % message)
    assert bytes(event.message) == message


@pytest.mark.parametrize("to", ["+4915112345678", "4915112345678", "+49 151 123-45678", "+49 (151) 12345678"])
def test_one_user_has_one_key_however_the_number_is_written(to: str) -> None:
    assert key_of(taken(given_request(message={**TEXT, "to": to}))) == "106:4915112345678"


def test_a_business_scoped_user_id_will_do_in_place_of_a_number() -> None:
    message = {name: value for name, value in TEXT.items() if name != "to"} | {
        "recipient": "US.13491208655302741918"
    }
    assert taken(given_request(message=message)).user == "US.13491208655302741918"


@pytest.mark.parametrize("type", ["poll", "hologram"])
def test_types_that_nobody_here_knows_go_along(type: str) -> None:
    assert taken(given_request(message={**TEXT, "type": type, type: {"x": 1}})).type == type


def test_a_content_that_meta_would_refuse_is_told_by_its_place_and_limit() -> None:
    buttons = [{"type": "reply", "reply": {"id": str(n), "title": "x"}} for n in range(4)]
    content = {"type": "button", "body": {"text": ""}, "action": {"buttons": buttons}}
    message = {**TEXT, "type": "interactive", "interactive": content}
    assert problems(given_request(message=message)) == [
        "message.interactive.body.text: must not be empty",
        "message.interactive.action.buttons[3]: at most 3 buttons",
    ]


def test_a_fallback_is_looked_at_as_well() -> None:
    fallback = {"name": "x" * 513, "language": {"code": "de"}}
    told = problems(given_request(message={**TEXT, "text": {"body": ""}}, fallback_template=fallback))
    assert told == [
        "message.text.body: must not be empty",
        "fallback_template.name: at most 512 characters",
    ]


def test_everything_that_is_wrong_with_a_request_is_told_at_once() -> None:
    told = problems(given_request(message={**TEXT, "text": {"body": ""}}, dry_run="yes"))
    assert [problem.partition(":")[0] for problem in told] == ["dry_run", "message.text.body"]


def test_problems_that_show_only_between_fields_are_told_together_too() -> None:
    told = take(
        given_request(
            message={**TEXT, "to": "12"},
            not_before_at="2027-01-01T00:00:00Z",
            expires_at="2026-12-01T00:00:00Z",
            after_request_id="4711-shipped",
        ),
        NOW_MS,
        None,
    )
    assert isinstance(told, RequestMalformed)
    assert [field.path for field in told.fields] == [
        "message",
        "from",
        "not_before_at",
        "expires_at",
        "after_request_id",
    ]
    assert told.problems == [f"{field.path}: {field.expected}" for field in told.fields]


@pytest.mark.parametrize("text", ["1790000000", "2026-12-02", "2026-12-02T09:00:00", "tomorrow"])
def test_a_time_is_written_with_its_zone_as_the_schema_says(text: str) -> None:
    assert problems(given_request(expires_at=text)) == [
        "expires_at: must be a time with its zone, such as 2026-12-02T09:00:00Z (RFC 3339)"
    ]


MARK = {
    "messaging_product": "whatsapp",
    "to": "+4915112345678",
    "status": "read",
    "message_id": "wamid.1",
    "typing_indicator": {"type": "text"},
}


def test_a_read_mark_goes_to_the_conversation_of_the_user_it_is_for() -> None:
    event = taken(given_request(message=MARK))
    assert (event.marks, event.type, key_of(event)) == ("wamid.1", "read_mark", "106:4915112345678")
    assert (event.template, event.product_policy) == (None, None)


def test_a_message_of_a_type_by_the_name_of_a_read_mark_is_none() -> None:
    assert taken(given_request(message={**TEXT, "type": "read_mark", "read_mark": {}})).marks is None


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"message_id": ""}, "message.message_id: must not be empty"),
        ({"status": "delivered"}, "message.status: must be 'read'"),
        ({"to": None}, "message: either `to` or `recipient` is required"),
        ({"to": "nobody"}, "message: `to` is no phone number with its country code, and `recipient` no user id"),
    ],
)  # fmt: skip
def test_a_read_mark_that_makes_no_sense_is_told_why(part: dict[str, Any], problem: str) -> None:
    assert problems(given_request(message={**MARK, **part})) == [problem]


def test_a_template_that_asks_for_the_marketing_messages_api_says_so() -> None:
    assert taken(given_request(message={**TEMPLATE, "product_policy": "STRICT"})).product_policy == "STRICT"


def test_unknown_members_are_ignored() -> None:
    assert taken(given_request(future={"x": 1})).request_id == "4711-shipped"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"request_id": "with space"}, "request_id"),
        ({"request_id": "a#1"}, "request_id"),
        ({"request_id": "a|b"}, "request_id"),
        ({"request_id": "x" * 201}, "request_id"),
        ({"from": "+4915112345678"}, "from"),
        ({"from": 106}, "from"),
        ({"message": None}, "message"),
        ({"message": []}, "message"),
        ({"message": {}}, "message.messaging_product"),
        ({"message": {**TEXT, "messaging_product": "sms"}}, "message.messaging_product"),
        ({"message": {**TEXT, "to": "12"}}, "message"),
        ({"message": {**TEXT, "to": None}}, "message"),
        ({"message": {**TEXT, "to": 4915112345678}}, "message.to"),
        ({"message": {**TEXT, "recipient_type": "group"}}, "message.recipient_type"),
        ({"message": {**TEXT, "type": "image"}}, "message.image"),
        ({"message": {**TEXT, "biz_opaque_callback_data": "x"}}, "message.biz_opaque_callback_data"),
        ({"message": {**TEXT, "context": {}}}, "message.context.message_id"),
        ({"message": {**TEXT, "product_policy": "STRICT"}}, "message.product_policy"),
        ({"message": {**TEXT, "type": "Text"}}, "message.type"),
        ({"message": {**TEXT, "text": {"body": ""}}}, "message.text.body"),
        ({"message": {**TEXT, "text": {"body": "x" * 4097}}}, "message.text.body"),
        ({"message": {**TEXT, "text": "hi"}}, "message.text"),
        ({"message": {**TEMPLATE, "template": {"name": "x"}}}, "message.template.language"),
        ({"fallback_template": {"name": "x"}}, "fallback_template.language"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2026-12-02T09:00:00"}, "expires_at"),
        ({"expires_at": 1796202000}, "expires_at"),
        ({"max_price": {"amount_micros": 0.5, "currency": "USD"}}, "max_price.amount_micros"),
        ({"max_price": {"amount_micros": -1, "currency": "USD"}}, "max_price.amount_micros"),
        ({"max_price": {"amount_micros": 1, "currency": "usd"}}, "max_price.currency"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"tags": {str(n): "" for n in range(21)}}, "tags"),
        ({"tags": {"a": 1}}, "tags.a"),
        ({"after_request_id": ""}, "after_request_id"),
        ({"correlation_id": "x" * 513}, "correlation_id"),
    ],
)
def test_each_problem_is_told_by_its_field(members: dict[str, Any], field: str) -> None:
    assert any(problem.startswith(f"{field}: ") for problem in problems(given_request(**members)))


def test_a_problem_is_told_without_the_words_of_the_library() -> None:
    message = {"messaging_product": "whatsapp", "to": "12", "type": "text", "text": {"body": "hi"}}
    assert problems(given_request(message=message)) == [
        "message: `to` is no phone number with its country code, and `recipient` no user id"
    ]


def test_problems_do_not_repeat_what_was_written() -> None:
    told = problems(
        given_request(message={**TEXT, "to": "0151-secret", "text": {"body": 5}}, expires_at="my secret")
    )
    assert "secret" not in " ".join(told)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b'{"to":"\xff"}', "message: not UTF-8"),
        (b"1e400", "message: Number out of range"),
        (b"[" * 900 + b"]" * 900, "Invalid JSON: recursion limit exceeded"),
    ],
)
def test_a_message_that_can_not_be_read_is_malformed(message: bytes, problem: str) -> None:
    assert problems(b'{"request_id":"a","message":%s}' % message)[0].startswith(problem)


def test_without_a_default_number_from_is_needed() -> None:
    assert problems(given_request(), None) == ["from: is needed, since no number is marked as the default"]
    assert taken(given_request(**{"from": "107"}), None).phone_number_id == "107"


def test_a_malformed_request_keeps_what_the_business_knows_it_by() -> None:
    event = take(given_request(message=1, correlation_id="order", tags={"a": "b", "c": 5}), NOW_MS, "106")
    assert isinstance(event, RequestMalformed)
    assert (event.request_id, event.correlation_id, event.tags) == ("4711-shipped", "order", {"a": "b"})
    assert key_of(event) == "malformed:4711-shipped"


def test_a_request_larger_than_any_message_is_malformed() -> None:
    assert problems(given_request(padding="x" * MAX_REQUEST_BYTES)) == [
        f"larger than {MAX_REQUEST_BYTES} bytes"
    ]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"request_id":null}',
        b'{"request_id":5}',
        b'{"request_id":""}',
        b'{"request_id":"a\\u0000b"}',
        b'{"request_id":"\xff"}',
        b'{"request_id":"a","message":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"request_id":"' + b"x" * 1001 + b'"}',
    ],
)
def test_without_a_readable_id_nobody_can_be_answered(value: bytes) -> None:
    with pytest.raises(UnreadableRequest):
        take(value, NOW_MS, "106")


@pytest.mark.parametrize(
    "members",
    [
        {"message": {**TEXT, "to": "4915112345678"}},
        {"message": dict(reversed(TEXT.items()))},
        {"tags": {"a": "b"}},
        {"correlation_id": "other"},
        {"dry_run": False, "expires_at": None},
    ],
)
def test_the_same_meaning_has_the_same_digest(members: dict[str, Any]) -> None:
    assert taken(given_request(**members)).digest == taken(given_request()).digest


@pytest.mark.parametrize(
    "members",
    [
        {"message": {**TEXT, "text": {"body": "Shipped!"}}},
        {"message": {**TEXT, "to": "+4915112345679"}},
        {"message": {**TEXT, "context": {"message_id": "wamid"}}},
        {"message": TEMPLATE},
        {"from": "107"},
        {"dry_run": True},
        {"expires_at": "2026-12-02T09:00:00Z"},
        {"not_before_at": "2026-10-02T09:00:00Z"},
        {"after_request_id": "x"},
        {"after_failed": "send"},
        {"max_price": {"amount_micros": 1, "currency": "USD"}},
        {"fallback_template": {"name": "x", "language": {"code": "de"}}},
    ],
)
def test_another_meaning_has_another_digest(members: dict[str, Any]) -> None:
    assert taken(given_request(**members)).digest != taken(given_request()).digest


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "request_id", "from", "correlation_id", "message", "fallback_template", "not_before_at", "expires_at",
    "after_request_id", "after_failed", "max_price", "dry_run", "tags",
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), JSON), st.dictionaries(st.sampled_from(list(TEXT)), JSON))
def test_any_request_is_taken_refused_or_unreadable(members: dict[str, Any], message: dict[str, Any]) -> None:
    value = json.dumps({"request_id": "a", "message": TEXT | message} | members).encode()
    try:
        event = take(value, NOW_MS, "106")
    except UnreadableRequest:
        return
    assert encode(event)
    assert key_of(event).encode()


def test_a_cancellation_goes_to_the_conversation_of_its_request() -> None:
    event = take(b'{"cancel_request_id": "4711", "to": "+49 151 12345678"}', NOW_MS, "106")
    assert isinstance(event, CancelRequested)
    assert (event.request_id, event.phone_number_id, event.user) == ("4711", "106", "4915112345678")
    assert key_of(event) == key_of(taken(given_request()))
    assert decode_conversation_event(encode(event)) == event


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b'{"cancel_request_id": "4711"}', "to: Field required"),
        (b'{"cancel_request_id": "4711", "to": "somebody"}', "to: no phone number"),
        (b'{"cancel_request_id": "a#b", "to": "+4915112345678"}', "cancel_request_id: String should match"),
        (b'{"cancel_request_id": "4711", "to": "+4915112345678", "from": "x"}', "from: String should match"),
    ],
)
def test_a_cancellation_that_makes_no_sense_is_told_why(value: bytes, problem: str) -> None:
    event = take(value, NOW_MS, "106")
    assert isinstance(event, RequestMalformed)
    assert event.problems[0].startswith(problem)


def test_a_request_may_wait_for_thirty_days_and_no_longer() -> None:
    def at(days: int) -> str:
        return datetime.fromtimestamp(NOW_MS / 1000 + days * 86_400, UTC).isoformat()

    assert (
        taken(given_request(not_before_at=at(30), expires_at=at(90))).not_before_ms
        == NOW_MS + 30 * 86_400_000
    )
    event = take(given_request(not_before_at=at(31)), NOW_MS, "106")
    assert isinstance(event, RequestMalformed)
    assert event.problems == ["not_before_at: more than 30 days ahead"]
