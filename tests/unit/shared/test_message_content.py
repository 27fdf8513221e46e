"""What the Cloud API takes is let through, what it refuses is named by place, rule and limit."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.message_content import content_problems, template_problems
from shared.message_content.interactive import KINDS
from tests.unit.messages import FILE, GOOD, LIMITS, Json, Limit, having, whole


def said(message: Json) -> list[str]:
    return [str(problem) for problem in content_problems(message)]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_message_is_let_through(name: str) -> None:
    assert said(whole(GOOD[name])) == []


def test_every_kind_of_interactive_message_has_an_example() -> None:
    kinds = {content["interactive"]["type"] for content in GOOD.values() if "interactive" in content}
    assert kinds >= set(KINDS)


NAMES = [f"{limit.of}: {limit.told}"[:120] for limit in LIMITS]


@pytest.mark.parametrize("limit", LIMITS, ids=NAMES)
def test_what_just_keeps_a_limit_is_let_through(limit: Limit) -> None:
    assert said(having(limit.of, limit.way, limit.keeps)) == []


@pytest.mark.parametrize("limit", LIMITS, ids=NAMES)
def test_what_just_breaks_a_limit_is_named(limit: Limit) -> None:
    assert said(having(limit.of, limit.way, limit.breaks)) == [limit.told]


def test_a_problem_has_a_place_a_rule_and_a_limit() -> None:
    [problem] = content_problems(having("text", ("text", "body"), "x" * 4097))
    assert problem == ("text.body", "at most 4096 characters", 4096)


def test_characters_are_counted_as_code_points() -> None:
    assert said(having("text", ("text", "body"), "🙂" * 4096)) == []
    assert said(having("text", ("text", "body"), "🙂" * 4097)) == ["text.body: at most 4096 characters"]


@pytest.mark.parametrize(
    "content",
    [
        {"type": "hologram", "hologram": {"beam": 1}},
        {"type": "hologram", "hologram": [1]},
        {"type": "interactive", "interactive": {"type": "hologram"}},
        {"type": "interactive", "interactive": {**GOOD["link"]["interactive"], "header": {"type": "hologram"}}},
        {"type": "template", "template": {"name": "n", "language": {"code": "de"}, "components": [{"type": "x"}]}},
        {"type": "image", "image": {**FILE, "new": {"x": [1]}}, "new": 1},
        {**GOOD["text"], "recipient_type": "circle"},
    ],
)  # fmt: skip
def test_what_nobody_here_knows_is_carried_through(content: Json) -> None:
    assert said(whole(content)) == []


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({}, "messaging_product: is required"),
        ({"to": None}, "either `to` or `recipient` is required"),
        ({"to": ""}, "to: must not be empty"),
        ({"to": 49151}, "to: must be text"),
        ({"type": "image"}, "image: is required, since `type` names it"),
        ({"type": "Text"}, "type: must be of the form [a-z_]{1,32}"),
        ({"type": "hologram", "hologram": "x"}, "hologram: must be an object or a list"),
        ({"text": []}, "text: must be an object"),
        ({"context": {}}, "context.message_id: is required"),
        ({"biz_opaque_callback_data": "x"}, "biz_opaque_callback_data: is set here; label the request by `correlation_id` or `tags`"),
        ({"product_policy": "STRICT"}, "product_policy: only of templates"),
    ],
)  # fmt: skip
def test_what_is_wrong_around_the_content_is_named(message: Json, problem: str) -> None:
    base = whole(GOOD["text"]) if message else {}
    assert problem in said({**base, **message})


def test_a_business_scoped_user_id_is_a_recipient() -> None:
    message = {k: v for k, v in whole(GOOD["text"]).items() if k != "to"} | {"recipient": "DE.1a2b3c"}
    assert said(message) == []


@pytest.mark.parametrize("name", ["text", "image", "audio", "sticker", "template with a body"])
def test_groups_take_text_media_and_templates(name: str) -> None:
    assert said(whole(GOOD[name]) | {"recipient_type": "group", "to": "group-1"}) == []


@pytest.mark.parametrize("name", ["list", "location", "contacts", "reaction"])
def test_groups_take_nothing_else(name: str) -> None:
    told = said(whole(GOOD[name]) | {"recipient_type": "group", "to": "group-1"})
    assert told == ["type: groups take text, media and templates of them"]


def test_groups_take_no_carousel() -> None:
    message = whole(GOOD["template with everything"]) | {"recipient_type": "group", "to": "group-1"}
    assert said(message) == [
        f"template.components[{place}]: groups take templates of text and media" for place in (6, 7)
    ]


ADDRESS = {"messaging_product": "whatsapp", "to": "+4915112345678"}
MARK = {**ADDRESS, "status": "read", "message_id": "wamid.1"}


def test_a_read_mark_needs_no_content_and_no_typing_indicator() -> None:
    assert said(MARK) == []
    assert said({**MARK, "typing_indicator": {"type": "text"}}) == []


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"status": "delivered"}, "status: must be 'read'"),
        ({"message_id": "x" * 129}, "message_id: at most 128 characters"),
        ({"typing_indicator": {}}, "typing_indicator.type: is required"),
        ({"typing_indicator": True}, "typing_indicator: must be an object"),
    ],
)
def test_a_read_mark_that_meta_refuses_is_named(part: Json, problem: str) -> None:
    assert said({**MARK, **part}) == [problem]


def test_several_problems_are_told_at_once() -> None:
    message = having("reply buttons", ("interactive", "footer"), {"text": ""})
    message["interactive"]["action"]["buttons"][1]["reply"]["title"] = "x" * 21
    assert said(message) == [
        "interactive.footer.text: must not be empty",
        "interactive.action.buttons[1].reply.title: at most 20 characters",
    ]


def test_problems_do_not_repeat_what_was_written() -> None:
    secret = having("image by link", ("image", "link"), "my-secret") | {"context": {"message_id": 5}}
    assert "secret" not in " ".join(said(secret))


def test_a_template_by_itself_is_checked_as_in_a_message() -> None:
    [problem] = template_problems({"name": "n", "language": {}})
    assert str(problem) == "language.code: is required"
    assert str(problem.under("fallback_template")) == "fallback_template.language.code: is required"


@pytest.mark.parametrize(
    "components",
    [
        [{}] * 80_000,
        [{"type": "x", "parameters": [{}] * 1000}] * 80,
        [{"type": "button", "index": 0}] * 8000,
    ],
)
def test_a_list_without_end_is_not_told_to_its_end(components: list[Json]) -> None:
    message = {
        **ADDRESS,
        "type": "template",
        "template": {"name": "n", "language": {"code": "de"}, "components": components},
    }
    assert said(message) == ["template.components[64]: at most 64 components"]


def test_carousels_within_carousels_have_an_end() -> None:
    inner: Any = None
    for _ in range(400):
        inner = [{"type": "carousel", "cards": [{"card_index": 0, "components": inner}]}]
    template = {"name": "n", "language": {"code": "de"}, "components": inner}
    assert content_problems({**ADDRESS, "type": "template", "template": template})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any) -> Any:
    """Every (holder, key) within a message."""
    for key, inner in list(value.items()) if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


@given(st.sampled_from(sorted(GOOD)), st.data(), JSON)
def test_whatever_stands_anywhere_is_a_problem_or_none_and_never_a_failure(
    name: str, data: st.DataObject, anything: Any
) -> None:
    message = whole(GOOD[name])
    holder, key = data.draw(st.sampled_from(list(places(message))))
    holder[key] = anything
    for problem in content_problems(message):
        assert problem.rule
        assert json.dumps(problem)
