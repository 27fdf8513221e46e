"""Text messages and reactions. Pure. Source: Meta, Cloud API, text messages, reaction messages."""

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from shared.message_content.limits import MAX_TEXT, MAX_WAMID
from shared.message_content.parts import Part
from shared.message_content.problems import broken

_KEYCAP = re.compile("[0-9#*]\ufe0f?\u20e3")
_INFORMATION = "\u2139"
"""The only emoji that Unicode counts among the letters."""
_LONGEST_EMOJI = 32
"""Code points, far above any sequence in use: a family with skin tones has eleven, the flag of Scotland seven."""

Wamid = Annotated[str, StringConstraints(min_length=1, max_length=MAX_WAMID)]


class Text(Part):
    """A text message."""

    body: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]
    preview_url: bool | None = None


def _emoji(text: str) -> str:
    if text and not may_be_emoji(text):
        raise broken("must be an emoji, or empty to take the reaction back")
    return text


class Reaction(Part):
    """An emoji on an earlier message; an empty one takes it back."""

    message_id: Wamid
    emoji: Annotated[str, AfterValidator(_emoji)]


def may_be_emoji(text: str) -> bool:
    """Whether it can be an emoji: no letters, blanks or plain ASCII. New ones come every year, so there is no list of them."""
    if _KEYCAP.fullmatch(text):
        return True
    return len(text) <= _LONGEST_EMOJI and all(
        character == _INFORMATION
        or not (character.isascii() or character.isalpha() or character.isspace() or character.isdecimal())
        for character in text
    )
