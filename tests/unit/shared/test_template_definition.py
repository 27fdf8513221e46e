"""How a template's definition is read into the shape that its messages must have."""

from typing import Any

import pytest

from shared.template_definition import Button, InvalidDefinition, Shape, read, read_update


def test_a_definition_is_read_as_metas_management_api_gives_it() -> None:
    components = [
        {
            "type": "HEADER",
            "format": "TEXT",
            "text": "Sale in {{city}}",
            "example": {"header_text_named_params": []},
        },
        {"type": "BODY", "text": "Hello {{ first_name }}, {{city}} and again {{first_name}}"},
        {"type": "FOOTER", "text": "Bye {{nobody}}"},
        {
            "type": "BUTTONS",
            "buttons": [
                {"type": "URL", "text": "Go", "url": "https://example.com/{{1}}", "example": ["x"]},
                {"type": "URL", "text": "Home", "url": "https://example.com"},
                {"type": "copy_code", "example": "SAVE"},
            ],
        },
    ]
    assert read(components, "named") == Shape(
        named=True,
        header="TEXT",
        header_variables=["city"],
        body=["first_name", "city"],
        buttons=[Button("URL", variable=True), Button("URL"), Button("COPY_CODE")],
    )


def test_positional_variables_are_counted_whatever_order_they_stand_in() -> None:
    assert read([{"type": "BODY", "text": "{{2}} {{1}} {{2}} { {3} }"}]) == Shape(body=["1", "2"])


@pytest.mark.parametrize(
    "components",
    [
        [
            {"type": "body", "add_security_recommendation": True},
            {"type": "buttons", "buttons": [{"type": "otp"}]},
        ],
        [{"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE"}]}],
        [
            {"type": "BODY", "text": "*{{1}}* is your code."},
            {
                "type": "BUTTONS",
                "buttons": [{"type": "URL", "url": "https://www.whatsapp.com/otp/code/?code=otp{{1}}"}],
            },
        ],
    ],
)
def test_a_one_time_password_template_needs_the_code_in_body_and_button(components: list[Any]) -> None:
    assert read(components) == Shape(body=["1"], buttons=[Button("OTP", variable=True)])


def test_cards_and_offers_are_read() -> None:
    card = {"components": [{"type": "HEADER", "format": "video"}, {"type": "BODY", "text": "{{1}}"}]}
    offer = {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "x", "has_expiration": True}}
    assert read([offer, {"type": "CAROUSEL", "cards": [card]}]) == Shape(
        offer="EXPIRING_OFFER", cards=[Shape(header="VIDEO", body=["1"])]
    )


@pytest.mark.parametrize(
    ("components", "parameter_format", "said"),
    [
        ([5], None, "component 0: must be an object"),
        ([{}], None, "component 0: `type` is missing"),
        ([{"type": "HEADER"}], None, "header: `format` is missing"),
        ([{"type": "HEADER", "format": "TEXT", "text": "{{1}} {{2}}"}], None, "header: at most one variable"),
        ([{"type": "BODY"}], None, "body: `text` is missing"),
        ([{"type": "BODY", "text": "x"}, {"type": "body", "text": "y"}], None, "body: more than one"),
        (
            [{"type": "BODY", "text": "{{2}}"}],
            None,
            "body: positional variables must be {{1}}, {{2}} and so on",
        ),
        ([{"type": "BODY", "text": "{{1}} {{name}}"}], None, "named and positional variables are mixed"),
        ([{"type": "BODY", "text": "{{1}}"}], "NAMED", "named and positional variables are mixed"),
        ([{"type": "BODY", "text": "x"}], "NUMBERED", "parameter_format is neither named nor positional"),
        ([{"type": "BUTTONS"}], None, "buttons: must hold a list"),
        ([{"type": "BUTTONS", "buttons": [{"text": "Go"}]}], None, "button 0: `type` is missing"),
        ([{"type": "BUTTONS", "buttons": [{"type": "URL", "url": 5}]}], None, "button 0: `url` must be text"),
        ([{"type": "CAROUSEL", "cards": [{}]}], None, "card 0: must hold a list"),
        (
            [{"type": "CAROUSEL", "cards": [{"components": [{"type": "BODY"}]}]}],
            None,
            "card 0, body: `text` is missing",
        ),
    ],
)
def test_a_definition_that_cannot_be_read_says_where(
    components: list[Any], parameter_format: str | None, said: str
) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        read(components, parameter_format)
    assert str(refused.value) == said


def test_an_edited_template_tells_its_texts_and_buttons_and_nothing_of_media_offers_and_cards() -> None:
    value = {
        "message_template_title": "Your order {{1}}",
        "message_template_element": "Hello {{1}}, {{2}}",
        "message_template_footer": "Bye",
        "message_template_buttons": [
            {"message_template_button_type": "URL", "message_template_button_text": "Go", "message_template_button_url": "https://a/{{1}}"},
            {"message_template_button_type": "QUICK_REPLY", "message_template_button_text": "Yes"},
        ],
    }  # fmt: skip
    assert read_update(value) == Shape(
        header="TEXT",
        header_variables=["1"],
        body=["1", "2"],
        buttons=[Button("URL", variable=True), Button("QUICK_REPLY")],
        offer=None,
        cards=None,
    )
    assert read_update({"message_template_element": "x"}) == Shape(
        header=None, buttons=None, offer=None, cards=None
    )
