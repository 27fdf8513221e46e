"""A template is checked before it goes to Meta, and goes as it was written."""

from typing import Any

import pytest
import yaml

from deploy.local.paths import REPOSITORY
from services.console.document import InvalidDocument
from services.console.template_file import parse

GOOD: dict[str, Any] = {
    "name": "order_update",
    "language": "de",
    "category": "utility",
    "components": [
        {"type": "HEADER", "format": "TEXT", "text": "Order {{1}}", "example": {"header_text": ["4711"]}},
        {"type": "BODY", "text": "Hello {{1}}, {{2}}", "example": {"body_text": [["Ada", "soon"]]}},
        {"type": "FOOTER", "text": "Nordlicht"},
        {
            "type": "BUTTONS",
            "buttons": [
                {"type": "QUICK_REPLY", "text": "Thanks"},
                {"type": "QUICK_REPLY", "text": "Stop"},
                {
                    "type": "URL",
                    "text": "Track",
                    "url": "https://a.example/{{1}}",
                    "example": ["https://a.example/1"],
                },
                {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+15550100101"},
            ],
        },
    ],
}


def problems(template: Any) -> list[str]:
    try:
        parse(yaml.safe_dump(template, sort_keys=False))
    except InvalidDocument as error:
        return [f"{problem.path}: {problem.text}" for problem in error.problems]
    return []


def changed(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in (GOOD | fields).items() if value is not None}


def with_component(index: int, **fields: Any) -> dict[str, Any]:
    components = list(GOOD["components"])
    components[index] = components[index] | fields
    return changed(components=components)


def buttons(*kinds: str) -> dict[str, Any]:
    made: dict[str, dict[str, Any]] = {
        "QUICK_REPLY": {"text": "Yes"},
        "URL": {"text": "Go", "url": "https://a.example"},
        "PHONE_NUMBER": {"text": "Call", "phone_number": "+15550100101"},
        "COPY_CODE": {"example": "SAVE10"},
    }
    return with_component(3, buttons=[{"type": kind, **made[kind]} for kind in kinds])


def test_a_good_template_goes_to_meta_as_it_is_written() -> None:
    assert parse(yaml.safe_dump(GOOD)) == GOOD | {"category": "UTILITY"}
    named = with_component(
        1,
        text="Hello {{first_name}}",
        example={"body_text_named_params": [{"param_name": "first_name", "example": "Ada"}]},
    )
    named["components"] = named["components"][1:]
    assert problems(named | {"parameter_format": "named"}) == []


def test_the_example_file_can_be_submitted() -> None:
    template = parse((REPOSITORY / "config" / "template.example.yaml").read_text("utf-8"))
    assert (template["name"], template["category"]) == ("order_shipped", "UTILITY")


def test_a_one_time_password_has_no_text_of_its_own() -> None:
    otp = [{"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE"}]}]
    body = [
        {"type": "BODY", "add_security_recommendation": True},
        {"type": "FOOTER", "code_expiration_minutes": 5},
    ]
    assert problems(changed(category="authentication", components=body + otp)) == []


@pytest.mark.parametrize(
    ("template", "place"),
    [
        (changed(name="Order-Update"), "name"),
        (changed(name="a" * 513), "name"),
        (changed(name=None), "name"),
        (changed(language="german"), "language"),
        (changed(category="service"), "category"),
        (changed(componets=[]), "componets"),
        (changed(allow_category_change="yes"), "allow_category_change"),
        (changed(parameter_format="numbered"), "parameter_format"),
        (changed(message_send_ttl_seconds=10), "message_send_ttl_seconds"),
        (changed(category="marketing", message_send_ttl_seconds=-1), "message_send_ttl_seconds"),
        (changed(components=[]), "components"),
        (changed(components=GOOD["components"][:1]), "components"),
        (changed(components=[*GOOD["components"], dict(GOOD["components"][2])]), "components[4]"),
        (with_component(0, text="x" * 61, example=None), "components[0].text"),
        (with_component(0, text="{{1}} {{2}}", example={"header_text": ["a", "b"]}), "components[0].text"),
        (with_component(0, format="AUDIO"), "components[0].format"),
        (with_component(0, format="IMAGE"), "components[0].example"),
        (with_component(1, text="x" * 1025), "components[1].text"),
        (with_component(1, text=""), "components[1].text"),
        (with_component(1, text="{{1}} {{3}}"), "components[1].text"),
        (with_component(1, text="{{name}}", example={"body_text": [["Ada"]]}), "components[1].text"),
        (with_component(1, example=None), "components[1].example"),
        (with_component(1, example={"body_text": [["Ada"]]}), "components[1].example"),
        (with_component(2, text="x" * 61), "components[2].text"),
        (with_component(2, text="by {{1}}"), "components[2].text"),
        (buttons(*["QUICK_REPLY"] * 11), "components[3].buttons"),
        (buttons("URL", "URL", "URL"), "components[3].buttons"),
        (buttons("PHONE_NUMBER", "PHONE_NUMBER"), "components[3].buttons"),
        (buttons("COPY_CODE", "COPY_CODE"), "components[3].buttons"),
        (buttons("QUICK_REPLY", "URL", "QUICK_REPLY"), "components[3].buttons"),
        (
            with_component(3, buttons=[{"type": "QUICK_REPLY", "text": "x" * 26}]),
            "components[3].buttons[0].text",
        ),
        (
            with_component(
                3,
                buttons=[{"type": "URL", "text": "Go", "url": "https://a.example/{{1}}/x", "example": ["u"]}],
            ),
            "components[3].buttons[0].url",
        ),
        (
            with_component(3, buttons=[{"type": "URL", "text": "Go", "url": "https://a.example/{{1}}"}]),
            "components[3].buttons[0].example",
        ),
        (
            with_component(3, buttons=[{"type": "URL", "text": "Go", "url": "https://" + "a" * 2000}]),
            "components[3].buttons[0].url",
        ),
        (
            with_component(3, buttons=[{"type": "COPY_CODE", "example": "SIXTEEN-LETTERS-"}]),
            "components[3].buttons[0].example",
        ),
        (
            with_component(3, buttons=[{"type": "PHONE_NUMBER", "text": "Call", "phone_number": "1" * 21}]),
            "components[3].buttons[0].phone_number",
        ),
    ],
)
def test_each_fault_is_told_with_its_place_and_nothing_else(template: dict[str, Any], place: str) -> None:
    found = problems(template)
    assert [problem.split(":")[0] for problem in found] == [place], found


def test_a_problem_names_the_line_it_stands_on() -> None:
    text = "name: Bad\nlanguage: de\ncategory: utility\ncomponents:\n- type: BODY\n  text: ''\n"
    with pytest.raises(InvalidDocument) as raised:
        parse(text)
    assert [(problem.line, problem.path) for problem in raised.value.problems] == [
        (1, "name"),
        (6, "components[0].text"),
    ]


@pytest.mark.parametrize("text", ["", "[]", "a: [", "x"])
def test_what_is_no_template_at_all_is_told(text: str) -> None:
    with pytest.raises(InvalidDocument):
        parse(text)
