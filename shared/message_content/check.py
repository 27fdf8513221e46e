"""Is a message what the Cloud API takes? The message object in, the rules it breaks out, none if it may be called out. Pure.

Meta's own limits and nothing else: a type, a word or a member that nobody here knows is carried through, for Meta adds some with every version.
What depends on anything but the message (the template's definition, the window, the user) is decided elsewhere.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from shared.message_content.contacts import Contacts
from shared.message_content.envelope import Envelope, ReadMark
from shared.message_content.interactive import Interactive
from shared.message_content.location import Location
from shared.message_content.media import Audio, Captioned, Document, Sticker
from shared.message_content.parts import word
from shared.message_content.problems import Problem, problems_of
from shared.message_content.template import Template
from shared.message_content.text import Reaction, Text

GROUP: Final = "group"
TYPES: Mapping[str, TypeAdapter[Any]] = {
    "text": TypeAdapter(Text),
    "image": TypeAdapter(Captioned),
    "video": TypeAdapter(Captioned),
    "audio": TypeAdapter(Audio),
    "document": TypeAdapter(Document),
    "sticker": TypeAdapter(Sticker),
    "location": TypeAdapter(Location),
    "contacts": TypeAdapter(Contacts),
    "reaction": TypeAdapter(Reaction),
    "interactive": TypeAdapter(Interactive),
    "template": TypeAdapter(Template),
}
"""By `type`; the content stands in the member of that name."""
_IN_GROUPS = frozenset({"text", "image", "video", "audio", "document", "sticker", "template"})
"""What goes to a group (Meta, Cloud API, groups: text, media, and templates of them)."""
_NOT_IN_GROUPS = frozenset({"carousel", "limited_time_offer"})
"""Components of templates that are neither text nor media."""


def content_problems(message: Mapping[str, Any]) -> list[Problem]:
    """The rules that a message object breaks, or a read mark; paths begin in the message."""
    if is_read_mark(message):
        return _checked(ReadMark, message)
    problems = _checked(Envelope, message)
    kind = message.get("type", "text")
    if not isinstance(kind, str):
        return problems
    content = message.get(kind)
    if content is None:
        return [*problems, Problem(kind, "is required, since `type` names it")]
    adapter = TYPES.get(kind)
    if adapter is None:
        if not isinstance(content, dict | list):
            problems.append(Problem(kind, "must be an object or a list"))
        return problems
    try:
        adapter.validate_python(content)
    except ValidationError as error:
        return problems + problems_of(error, (kind,))
    if message.get("recipient_type") == GROUP:
        problems += _group_problems(kind, content)
    return problems


def template_problems(template: Any) -> list[Problem]:
    """The rules that a template object by itself breaks; paths begin in it."""
    return _checked(Template, template)


def is_read_mark(message: Mapping[str, Any]) -> bool:
    """Whether it marks a message as read; a message has no `status`."""
    return "status" in message


def _checked(model: type[BaseModel], value: Any) -> list[Problem]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        return problems_of(error)
    return []


def _group_problems(kind: str, content: Any) -> list[Problem]:
    if kind not in _IN_GROUPS:
        return [Problem("type", "groups take text, media and templates of them")]
    if kind != "template":
        return []
    return [
        Problem(f"template.components[{place}]", "groups take templates of text and media")
        for place, component in enumerate(content.get("components") or [])
        if word(component["type"]) in _NOT_IN_GROUPS
    ]
