"""The Cloud API's bodies: read, resolved, and answered in Meta's shape."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingress.edge import cloud
from services.ingress.edge.book import Known
from services.ingress.edge.errors import Refusal
from services.ingress.requests import take
from shared.events import RequestMalformed, SendRequested

TEXT = {"messaging_product": "whatsapp", "to": "+4915112345678", "type": "text", "text": {"body": "hi"}}
MARK = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.in"}


MEMBERS = st.sampled_from(
    [
        "to",
        "recipient",
        "type",
        "text",
        "body",
        "context",
        "message_id",
        "reaction",
        "status",
        "emoji",
        "template",
        "messaging_product",
        "biz_opaque_callback_data",
        "typing_indicator",
    ]
)


def body(message: Any) -> bytes:
    return json.dumps(message).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(MEMBERS, JSON, max_size=6))
def test_whatever_object_comes_is_a_request_or_told_what_is_wrong(message: dict[str, Any]) -> None:
    try:
        found, correlation = cloud.message_of(body(message), "messages")
    except Refusal:
        return
    if cloud.named(found) is not None:
        found = cloud.with_wamid(found, "wamid.1")
    event = take(cloud.request_of(found, "r1", "106", correlation), 1_790_000_000_000, None)
    assert isinstance(event, SendRequested) or (isinstance(event, RequestMalformed) and event.problems)


def test_the_callers_own_label_becomes_the_correlation_id() -> None:
    assert cloud.message_of(body({**TEXT, "biz_opaque_callback_data": "o-1"}), "messages") == (TEXT, "o-1")


@pytest.mark.parametrize("label", [5, "x" * 513, {}])
def test_a_label_that_meta_would_not_take_is_refused(label: object) -> None:
    with pytest.raises(Refusal) as refused:
        cloud.message_of(body({**TEXT, "biz_opaque_callback_data": label}), "messages")
    assert refused.value.problems[0].startswith("biz_opaque_callback_data: ")


@pytest.mark.parametrize("written", [b"", b"[]", b"5", b"{", b'{"a": "\xff"}', b"[" * 100_000])
def test_what_is_no_json_object_is_refused(written: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        cloud.message_of(written, "messages")
    assert (refused.value.code, refused.value.status) == (100, 400)


def test_marketing_messages_ask_for_that_endpoint_as_meta_would_by_default() -> None:
    template = {**TEXT, "type": "template"}
    assert cloud.message_of(body(template), "marketing_messages")[0]["product_policy"] == "CLOUD_API_FALLBACK"
    strict = {**template, "product_policy": "STRICT"}
    assert cloud.message_of(body(strict), "marketing_messages")[0]["product_policy"] == "STRICT"
    assert "product_policy" not in cloud.message_of(body(MARK), "marketing_messages")[0]


@pytest.mark.parametrize(
    ("message", "id"),
    [
        (MARK, "wamid.in"),
        ({**TEXT, "context": {"message_id": "r1"}}, "r1"),
        ({**TEXT, "type": "reaction", "reaction": {"message_id": "r1", "emoji": ""}}, "r1"),
    ],
)
def test_every_place_that_names_a_message_is_found_and_filled(message: dict[str, Any], id: str) -> None:
    assert cloud.named(message) == id
    assert cloud.named(cloud.with_wamid(message, "wamid.out")) == "wamid.out"


@pytest.mark.parametrize("message", [TEXT, {**TEXT, "context": None}, {**TEXT, "context": {"message_id": 5}}])
def test_a_message_that_names_none_is_left_alone(message: dict[str, Any]) -> None:
    assert cloud.named(message) is None


def answered(message: dict[str, Any], **known: Any) -> Any:
    found = Known(**{"standing": "accepted", "user": "4915112345678", "wamid": "wamid.1", **known})
    return json.loads(msgspec.json.encode(cloud.answer(message, "r1", found)))


def test_an_accepted_message_is_answered_as_meta_does() -> None:
    assert answered(TEXT) == {
        "messaging_product": "whatsapp",
        "contacts": [{"input": "+4915112345678", "wa_id": "4915112345678"}],
        "messages": [{"id": "wamid.1"}],
    }


def test_a_message_under_way_has_our_id() -> None:
    assert answered(TEXT, standing="pending", wamid="")["messages"] == [{"id": "r1"}]


@pytest.mark.parametrize(
    ("held", "status"),
    [
        ("", "accepted"),
        ("held_for_quality_assessment", "held_for_quality_assessment"),
        ("held_paused", "paused"),
    ],
)
def test_a_template_says_whether_meta_holds_it(held: str, status: str) -> None:
    template = {**TEXT, "type": "template"}
    assert answered(template, held=held)["messages"] == [{"id": "wamid.1", "message_status": status}]


def test_a_user_without_a_number_is_named_by_the_business_scoped_id() -> None:
    message = {"messaging_product": "whatsapp", "recipient": "US.1", "type": "text"}
    assert answered(message, user="", bsuid="US.1")["contacts"] == [{"input": "US.1", "user_id": "US.1"}]


def test_a_read_mark_is_answered_with_success() -> None:
    assert answered(MARK, wamid="") == {"success": True}
