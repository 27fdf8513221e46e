"""Which messages fit their template, and what is said of those that do not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.template_shape import MAX_PROBLEMS, message_problems, template_problems
from shared.template_definition import Shape, read, read_update
from tests.unit.templates import Definition, Json, definitions, fitting, mutations


def body(*parameters: Any, **more: Any) -> Json:
    return {"type": "body", "parameters": [text(p) if isinstance(p, str) else p for p in parameters], **more}


def text(value: str, **more: Any) -> Json:
    return {"type": "text", "text": value, **more}


def button(index: Any, sub_type: str, *parameters: Json) -> Json:
    return {"type": "button", "sub_type": sub_type, "index": index, "parameters": list(parameters)}


def header(kind: str, value: Any) -> Json:
    return {"type": "header", "parameters": [{"type": kind, kind: value}]}


def said(shape: Shape, *components: Any) -> list[str]:
    return list(template_problems(shape, json.dumps({"name": "n", "components": list(components)}).encode()))


HELLO = read([{"type": "BODY", "text": "Hello {{1}}, {{2}}"}])
NAMED = read([{"type": "BODY", "text": "Hello {{first_name}}, {{city}}"}], "NAMED")
IMAGE = read([{"type": "HEADER", "format": "IMAGE"}, {"type": "BODY", "text": "Look"}])
PLACE = read([{"type": "HEADER", "format": "LOCATION"}, {"type": "BODY", "text": "Here"}])
TITLE = read([{"type": "HEADER", "format": "TEXT", "text": "{{1}}"}, {"type": "BODY", "text": "Hello {{1}}"}])
BUTTONS = read(
    [
        {"type": "BODY", "text": "Choose"},
        {
            "type": "BUTTONS",
            "buttons": [
                {"type": "QUICK_REPLY", "text": "Yes"},
                {"type": "URL", "text": "Go", "url": "https://example.com/{{1}}"},
                {"type": "URL", "text": "Home", "url": "https://example.com/"},
                {"type": "COPY_CODE", "text": "Copy"},
                {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+49"},
            ],
        },
    ]
)
GO = button("1", "url", text("x"))
COPY = button(3, "copy_code", {"type": "coupon_code", "coupon_code": "SAVE20"})
OTP = read(
    [{"type": "body", "add_security_recommendation": True}, {"type": "buttons", "buttons": [{"type": "otp"}]}]
)
ORDER = read(
    [{"type": "BODY", "text": "x"}, {"type": "BUTTONS", "buttons": [{"type": "MPM"}, {"type": "FLOW"}]}]
)
OFFER = read(
    [
        {"type": "BODY", "text": "x"},
        {"type": "limited_time_offer", "limited_time_offer": {"has_expiration": True}},
    ]
)
CARD = {"components": [{"type": "HEADER", "format": "IMAGE"}, {"type": "BODY", "text": "For {{1}}"}]}
CAROUSEL = read([{"type": "BODY", "text": "x"}, {"type": "CAROUSEL", "cards": [CARD, CARD]}])


def card(index: Any, *components: Json) -> Json:
    return {"card_index": index, "components": list(components)}


PROBLEMS: list[tuple[Shape, list[Any], list[str]]] = [
    (HELLO, [body("A")], ["body: 2 parameters needed, 1 given"]),
    (HELLO, [], ["body: 2 parameters needed, 0 given"]),
    (HELLO, [body("A", {"type": "payload", "payload": "B"})], ["body: parameter 2 must be of type text, currency or date_time"]),
    (HELLO, [body("A", "B"), header("image", {"id": "1"})], ["header: 0 parameters needed, 1 given", "header: parameter 1 must be of type text, currency or date_time"]),
    (HELLO, [body("A", "B"), button(0, "url", text("x"))], ["button 0: the template has 0 buttons"]),
    (NAMED, [body(text("A", parameter_name="city"))], ["body: parameter `first_name` missing"]),
    (NAMED, [body(text("A", parameter_name="city"), text("B", parameter_name="frist_name"))], ["body: parameter `first_name` missing", "body: parameter `frist_name` unknown"]),
    (NAMED, [body("A", "B")], ["body: each parameter needs its parameter_name", "body: parameter `first_name` missing", "body: parameter `city` missing"]),
    (IMAGE, [], ["header: image needed"]),
    (PLACE, [header("image", {"id": "1"})], ["header: location needed"]),
    (BUTTONS, [GO, COPY, button(0, "quick_reply", text("x"))], ["button 0 (quick_reply): one parameter of type payload needed"]),
    (BUTTONS, [GO, button(3, "copy_code", text("x"))], ["button 3 (copy_code): coupon_code parameter missing"]),
    (ORDER, [button(0, "mpm", text("x")), button(1, "flow")], ["button 0 (mpm): one parameter of type action needed"]),
    (IMAGE, [header("video", {"id": "1"})], ["header: image needed"]),
    (BUTTONS, [COPY], ["button 1 (url): text parameter missing"]),
    (BUTTONS, [GO, COPY, button(2, "url", text("x"))], ["button 2 (url): takes no parameters"]),
    (BUTTONS, [GO, COPY, button(4, "phone_number")], ["button 4 (phone_number): takes no parameters"]),
    (BUTTONS, [GO, COPY, button(0, "url", text("x"))], ["button 0 (quick_reply): `sub_type` must be quick_reply"]),
    (BUTTONS, [GO], ["button 3 (copy_code): coupon_code parameter missing"]),
    (BUTTONS, [GO, COPY, button(5, "quick_reply")], ["button 5: the template has 5 buttons"]),
    (OTP, [body("123456")], ["button 0 (otp): text parameter missing"]),
    (OTP, [body("123456"), button(0, "url", text("654321"))], ["button 0 (otp): the code is not the one of the body"]),
    (OTP, [body("x" * 16), button(0, "url", text("x" * 16))], ["body: parameter 1 is longer than 15 characters", "button 0 (otp): the code is longer than 15 characters"]),
    (ORDER, [], ["button 0 (mpm): action parameter missing", "button 1 (flow): component missing"]),
    (ORDER, [button(0, "mpm", {"type": "action", "action": {}}), button(1, "flow")], ["button 0 (mpm): action has no sections"]),
    (OFFER, [], ["limited_time_offer: expiration_time_ms needed"]),
    (HELLO, [body("A", "B"), {"type": "limited_time_offer", "parameters": [{}]}], ["limited_time_offer: the template has none"]),
    (CAROUSEL, [], ["carousel: 2 cards needed, 0 given"]),
    (HELLO, [body("A", "B"), {"type": "carousel", "cards": [card(0)]}], ["carousel: 0 cards needed, 1 given"]),
    (CAROUSEL, [{"type": "carousel", "cards": [card(0, header("image", {"id": "1"}), body("A")), card(1)]}], ["card 1, header: image needed", "card 1, body: 1 parameter needed, 0 given"]),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "components", "problems"), PROBLEMS)
def test_what_does_not_fit_is_named(shape: Shape, components: list[Any], problems: list[str]) -> None:
    assert said(shape, *components) == problems


FITS: list[tuple[Shape, list[Any]]] = [
    (HELLO, [body("A", "x" * 32_768)]),
    (HELLO, [body("A", "x    y")]),
    (TITLE, [{"type": "header", "parameters": [text("x" * 60)]}, body("x" * 1024)]),
    (OTP, [body("x" * 15), button(0, "url", text("x" * 15))]),
    (HELLO, [{"type": "BODY", "parameters": [{"type": "TEXT", "text": 4711}, text("B", parameter_name="any")]}]),
    (HELLO, [body("A", "B"), {"type": "tap_target_configuration", "parameters": [{}]}]),
    (HELLO, [body("A", "B"), {"type": "header"}, {"type": "footer", "parameters": None}]),
    (NAMED, [body(text("A", parameter_name="city"), text("B", parameter_name="first_name"))]),
    (IMAGE, [header("image", {"link": "https://example.com/a.png"})]),
    (BUTTONS, [COPY, GO]),
    (BUTTONS, [COPY, GO, button("0", "Quick_Reply")]),
    (ORDER, [button(0, "mpm", {"type": "action", "action": {"sections": [{}]}}), {"type": "button", "sub_type": "flow", "index": "1"}]),
    (OTP, [body("123456"), button(0, "url", text("123456"))]),
    (read([{"type": "HEADER", "format": "HOLOGRAM"}, {"type": "BUTTONS", "buttons": [{"type": "TELEPORT"}]}]), [header("x", 1), button(0, "y", {})]),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "components"), FITS)
def test_what_meta_takes_is_let_through(shape: Shape, components: list[Any]) -> None:
    assert said(shape, *components) == []


def test_a_product_carousel_is_defined_by_two_cards_and_sent_with_more() -> None:
    product = {"components": [{"type": "HEADER", "format": "PRODUCT"}]}
    shape = read([{"type": "BODY", "text": "x"}, {"type": "CAROUSEL", "cards": [product, product]}])
    cards = [card(index, header("product", {"product_retailer_id": "1"})) for index in range(5)]
    assert said(shape, {"type": "carousel", "cards": cards}) == []


def test_what_a_webhook_did_not_tell_is_not_asked_for() -> None:
    shape = read_update({"message_template_element": "Hello {{1}}"})
    assert said(shape, body("A"), header("image", {"id": "1"}), button(7, "url", text("x"))) == []
    assert said(shape) == ["body: 1 parameter needed, 0 given"]


def test_the_message_object_is_read_as_well_as_the_template_object() -> None:
    message = {"to": "+49", "type": "template", "template": {"name": "n", "components": [body("A", "B")]}}
    assert message_problems(HELLO, json.dumps(message).encode()) == ()


def test_many_problems_are_cut_short() -> None:
    assert len(said(HELLO, *[button(9, "url")] * 50)) == MAX_PROBLEMS


ODD = [
    b"{",
    b"[]",
    b'{"components": 5}',
    b'{"components": [5]}',
    b'{"components": [{"type": "body", "parameters": "x"}]}',
    b'{"components": [{"type": ["body"], "parameters": [{"type": {}}]}]}',
    b'{"components": [{"type": "body", "parameters": [{"type": "text", "text": %s}]}]}' % (b"9" * 5000),
    b'{"components": [{"type": "body", "parameters": [{"type": "text", "text": %s%s}]}]}' % (b"[" * 99_999, b"]" * 99_999),
    b'{"components": [{"type": "button", "index": %s%s}]}' % (b"[" * 300, b"]" * 300),
    b'{"x": %s%s}' % (b"[" * 99_999, b"]" * 99_999),
    b"\xff",
]  # fmt: skip


@pytest.mark.parametrize("raw", ODD)
def test_odd_input_is_a_problem_and_no_failure(raw: bytes) -> None:
    assert template_problems(HELLO, raw)
    assert message_problems(HELLO, raw)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "index", "parameters", "cards", "components", "text", "sub_type", "image"]), inner, max_size=5), max_leaves=20), st.sampled_from([HELLO, NAMED, IMAGE, BUTTONS, CAROUSEL, OFFER, OTP]))  # fmt: skip
def test_no_input_makes_the_check_fail(components: Any, shape: Shape) -> None:
    template_problems(shape, json.dumps({"components": components}).encode())


@given(st.data())
def test_a_fitting_message_has_no_problems_and_each_single_fault_is_named(data: st.DataObject) -> None:
    definition: Definition = data.draw(definitions())
    template = data.draw(fitting(definition))
    shape = read(*definition)
    assert said(shape, *template["components"]) == []
    for wrong in mutations(template, shape.named):
        problems = said(shape, *wrong.template["components"])
        assert any(problem.startswith(wrong.component) for problem in problems), (wrong, problems)
