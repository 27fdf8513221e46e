"""The `template` object of a message, decoded, and the forms its values come in. Pure.

Source: Meta, Cloud API, messages, template object.
"""

from collections.abc import Sequence
from typing import Any

import msgspec


class Parameter(msgspec.Struct, frozen=True, gc=False):
    """A parameter as it was sent, as far as a template's definition says anything of it."""

    type: Any = None
    parameter_name: Any = None
    text: Any = None
    action: Any = None


class Card(msgspec.Struct, frozen=True, gc=False):
    """A card of a carousel as it was sent."""

    card_index: Any = None
    components: "list[Component] | None" = None


class Component(msgspec.Struct, frozen=True, gc=False):
    """A component as it was sent."""

    type: Any = None
    sub_type: Any = None
    index: Any = None
    parameters: list[Parameter] | None = None
    cards: list[Card] | None = None


class Template(msgspec.Struct, frozen=True, gc=False):
    """The template object as it was sent."""

    components: list[Component] | None = None


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message of type template as it was sent."""

    template: Template


Parameters = Sequence[Parameter]
decode_message = msgspec.json.Decoder(Message).decode
decode_template = msgspec.json.Decoder(Template).decode


def word(value: object) -> str:
    """One of Meta's words, in lower case; "" for what is none."""
    return value.lower() if isinstance(value, str) else ""


def string(value: object) -> str:
    """A text, for which Meta takes a number too; "" for what is none."""
    return value if isinstance(value, str) else str(value) if type(value) in (int, float) else ""


def position(value: object) -> int | None:
    """A position from 0 to 9, as a number or in digits."""
    digits = string(value)
    return int(digits) if len(digits) == 1 and digits.isascii() and digits.isdecimal() else None


def count(number: int, noun: str = "parameter") -> str:
    """`2 parameters`, `1 parameter`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
