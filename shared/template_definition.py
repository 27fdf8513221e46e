"""A template's definition, as Meta's management API gives it or a webhook tells it, in; the shape its messages must have out. Pure.

The shape is what a message is checked against, in compact form: read once, when the definition changes. Where Meta owns a list (types of components,
formats of headers, types of buttons) an unknown word is kept and nothing is asked of it.
Source: Meta, Business Management API, message templates (components); Meta, webhooks, message_template_components_update.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

OTP = "OTP"
"""A button that hands over the one-time password of the body."""
OFFER, EXPIRING_OFFER = "OFFER", "EXPIRING_OFFER"
_OTP_URL = "https://www.whatsapp.com/otp/code/"
"""What Meta makes of an OTP button once the template exists: a URL that takes the code (Meta, authentication templates)."""
_VARIABLE = re.compile(r"\{\{\s*(\w{1,256})\s*\}\}", re.ASCII)
_FORMATS = {"NAMED": True, "POSITIONAL": False}


class Button(msgspec.Struct, frozen=True, omit_defaults=True):
    """A button; `type` is Meta's word in upper case, or OTP. `variable`: it is a URL that ends with one."""

    type: str
    variable: bool = False


class Shape(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the messages of a template must have, or the card of a carousel; None is what is not known.

    `header` is its format, "" for none. Variables are names, or "1", "2", … where they are positional. `offer` is "", OFFER or EXPIRING_OFFER.
    """

    named: bool = False
    header: str | None = ""
    header_variables: list[str] = []
    body: list[str] = []
    buttons: list[Button] | None = []
    offer: str | None = ""
    cards: list["Shape"] | None = []


class InvalidDefinition(ValueError):
    """A definition that Meta would not have approved, or that can't be read; the text says which component."""


def read(components: Sequence[Any], parameter_format: str | None = None) -> Shape:
    """The shape of a definition: `components` and `parameter_format` as Meta gives them; without the latter the names of the variables tell.

    Raises:
        InvalidDefinition: what a check would rest on is missing, of another type or contradicts itself.
    """
    if parameter_format is not None and parameter_format.upper() not in _FORMATS:
        raise InvalidDefinition("parameter_format is neither named nor positional")
    shape = _part(components, "")
    variables = [list(shape.header_variables), list(shape.body)]
    for card in shape.cards or []:
        variables += [card.header_variables, card.body]
    named = _are_named(variables, parameter_format)
    return msgspec.structs.replace(shape, named=named)


def read_update(value: Mapping[str, Any]) -> Shape:
    """The shape after `message_template_components_update`, which tells of text, not of media, offers or cards: those are unknown then.

    Raises:
        InvalidDefinition: it can't be read.
    """
    title, buttons = value.get("message_template_title"), value.get("message_template_buttons")
    header = [] if not title else _variables(title, "title")
    body = _variables(value.get("message_template_element"), "element")
    return Shape(
        named=_are_named([header, body], None),
        header="TEXT" if title else None,
        header_variables=header,
        body=body,
        buttons=None
        if buttons is None
        else _buttons(
            [
                {
                    "type": _object(button, "button").get("message_template_button_type"),
                    "url": button.get("message_template_button_url", ""),
                }
                for button in _list(buttons, "buttons")
            ],
            "",
        ),
        offer=None,
        cards=None,
    )


def word(value: object, where: str) -> str:
    """One of Meta's words, in upper case; raises InvalidDefinition."""
    if not isinstance(value, str) or not value:
        raise InvalidDefinition(f"{where}: `type` is missing")
    return value.upper()


def _part(components: Sequence[Any], where: str) -> Shape:
    """The shape of a template, or of one card, without knowing yet whether its variables are named."""
    fields: dict[str, Any] = {}
    seen: set[str] = set()
    for index, given in enumerate(components):
        component = _object(given, f"{where}component {index}")
        kind = word(component.get("type"), f"{where}component {index}")
        at = f"{where}{kind.lower()}"
        if kind in seen:
            raise InvalidDefinition(f"{at}: more than one")
        seen.add(kind)
        if kind == "HEADER":
            fields |= _header(component, at)
        elif kind == "BODY":
            # The body of a one-time password template is Meta's own text, with the code as its only variable.
            own = "add_security_recommendation" in component and "text" not in component
            fields["body"] = ["1"] if own else _variables(component.get("text"), at)
        elif kind == "BUTTONS":
            fields["buttons"] = _buttons(_list(component.get("buttons"), at), where)
        elif kind == "LIMITED_TIME_OFFER":
            offer = _object(component.get("limited_time_offer", {}), at)
            fields["offer"] = EXPIRING_OFFER if offer.get("has_expiration") is True else OFFER
        elif kind == "CAROUSEL":
            fields["cards"] = _cards(_list(component.get("cards"), at))
    shape = Shape(**fields)
    if "body" not in fields and any(button.type == OTP for button in shape.buttons or []):
        return msgspec.structs.replace(shape, body=["1"])
    return shape


def _header(component: Mapping[str, Any], at: str) -> dict[str, Any]:
    format_ = component.get("format")
    if not isinstance(format_, str) or not format_:
        raise InvalidDefinition(f"{at}: `format` is missing")
    if format_.upper() != "TEXT":
        return {"header": format_.upper()}
    variables = _variables(component.get("text"), at)
    if len(variables) > 1:
        raise InvalidDefinition(f"{at}: at most one variable")
    return {"header": "TEXT", "header_variables": variables}


def _buttons(buttons: Sequence[Any], where: str) -> list[Button]:
    found = []
    for index, given in enumerate(buttons):
        at = f"{where}button {index}"
        button = _object(given, at)
        kind, url = word(button.get("type"), at), button.get("url", "")
        if not isinstance(url, str):
            raise InvalidDefinition(f"{at}: `url` must be text")
        if kind == OTP or url.startswith(_OTP_URL):
            found.append(Button(OTP, variable=True))
        else:
            found.append(Button(kind, variable=kind == "URL" and _VARIABLE.search(url) is not None))
    return found


def _cards(cards: Sequence[Any]) -> list[Shape]:
    return [
        _part(_list(_object(card, f"card {index}").get("components"), f"card {index}"), f"card {index}, ")
        for index, card in enumerate(cards)
    ]


def _variables(text: object, at: str) -> list[str]:
    """The variables of a text, each once, in the order they first come."""
    if not isinstance(text, str):
        raise InvalidDefinition(f"{at}: `text` is missing")
    found = list(dict.fromkeys(_VARIABLE.findall(text)))
    if all(name.isdecimal() for name in found):
        found.sort(key=int)
        if found != [str(number) for number in range(1, len(found) + 1)]:
            raise InvalidDefinition(f"{at}: positional variables must be {{{{1}}}}, {{{{2}}}} and so on")
    return found


def _are_named(texts: Sequence[Sequence[str]], parameter_format: str | None) -> bool:
    kinds = {not name.isdecimal() for variables in texts for name in variables}
    told = None if parameter_format is None else _FORMATS[parameter_format.upper()]
    if len(kinds) > 1 or (told is not None and kinds and kinds != {told}):
        raise InvalidDefinition("named and positional variables are mixed")
    return told if told is not None else True in kinds


def _object(value: object, at: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidDefinition(f"{at}: must be an object")
    return value


def _list(value: object, at: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise InvalidDefinition(f"{at}: must hold a list")
    return value
