"""The body of `POST /{phone_number_id}/messages`: from JSON to a message, or to the error Meta answers. Pure.

Source: Meta, Cloud API, messages: required fields and limits per type.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.simulator.errors import GraphError

MAX_OPAQUE = 512
_TYPES = (
    "audio", "contacts", "document", "image", "interactive", "location", "reaction", "sticker", "template", "text", "video",
)  # fmt: skip
_BSUID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{4,}")
_PHONE_PUNCTUATION = str.maketrans("", "", "+ -()")


@dataclass(frozen=True, slots=True)
class Send:
    """A valid message."""

    input: str
    """The recipient as the caller wrote it."""
    user: str
    """E.164 digits, or the business-scoped user id."""
    bsuid: bool
    type: str
    template: str | None = None
    language: str | None = None
    body_parameters: int = 0
    opaque: str | None = None
    components: Any = None
    """`template.components` as they came."""


@dataclass(frozen=True, slots=True)
class ReadMark:
    """A read receipt, with or without a typing indicator."""

    message_id: str


def parse(body: object) -> Send | ReadMark | GraphError:
    """Validate a request body as Meta does, the first fault wins."""
    if not isinstance(body, dict):
        return GraphError(100, "The request body must be a JSON object.")
    if body.get("messaging_product") != "whatsapp":
        return GraphError(100, "The parameter messaging_product is required and must be whatsapp.")
    if "status" in body:
        return _read_mark(body)
    recipient = _recipient(body)
    if isinstance(recipient, GraphError):
        return recipient
    written, user, bsuid = recipient
    kind = body.get("type", "text")
    if not isinstance(kind, str) or kind not in _TYPES:
        return GraphError(100, f"Param type must be one of {{{', '.join(_TYPES).upper()}}}.")
    content = body.get(kind)
    if content is None:
        return GraphError(131008, f"The parameter {kind} is required.")
    fault = _CHECKS[kind](content)
    if fault is not None:
        return fault
    opaque = body.get("biz_opaque_callback_data")
    if opaque is not None and (not isinstance(opaque, str) or len(opaque) > MAX_OPAQUE):
        return GraphError(
            100, f"Param biz_opaque_callback_data must be a string of at most {MAX_OPAQUE} characters."
        )
    if kind != "template":
        return Send(written, user, bsuid, kind, opaque=opaque)
    return Send(
        written,
        user,
        bsuid,
        kind,
        content["name"],
        content["language"]["code"],
        _body_parameters(content),
        opaque,
        content.get("components"),
    )


def _read_mark(body: dict[str, Any]) -> ReadMark | GraphError:
    message_id = body.get("message_id")
    if body["status"] != "read" or not isinstance(message_id, str) or not message_id:
        return GraphError(131009, "status must be read, with the message_id of a received message.")
    return ReadMark(message_id)


def _recipient(body: dict[str, Any]) -> tuple[str, str, bool] | GraphError:
    if body.get("recipient_type", "individual") != "individual":
        return GraphError(131009, "recipient_type must be individual.")
    to = body.get("to")
    if isinstance(to, str) and to:
        digits = to.translate(_PHONE_PUNCTUATION)
        if digits.isascii() and digits.isdigit() and 7 <= len(digits) <= 15:
            return to, digits, False
        if _BSUID.fullmatch(to):
            return to, to, True
        return GraphError(131009, "The parameter to is not a valid phone number.")
    recipient = body.get("recipient")
    if isinstance(recipient, str) and _BSUID.fullmatch(recipient):
        return recipient, recipient, True
    return GraphError(100, "The parameter to is required.")


def _text(content: Any) -> GraphError | None:
    return _string(content, "text", "body", 4096)


def _media(kind: str) -> Callable[[Any], GraphError | None]:
    def check(content: Any) -> GraphError | None:
        if not isinstance(content, dict) or not (content.get("id") or content.get("link")):
            return GraphError(131008, f"One of the parameters {kind}['id'], {kind}['link'] is required.")
        if len(str(content.get("caption", ""))) > 1024:
            return GraphError(131009, f"Param {kind}['caption'] must be at most 1024 characters long.")
        return None

    return check


def _location(content: Any) -> GraphError | None:
    if not isinstance(content, dict) or "latitude" not in content or "longitude" not in content:
        return GraphError(131008, "The parameters location['latitude'], location['longitude'] are required.")
    return None


def _contacts(content: Any) -> GraphError | None:
    if not isinstance(content, list) or not 1 <= len(content) <= 257:
        return GraphError(131009, "contacts must be a list of 1 to 257 contacts.")
    if not all(
        isinstance(c, dict) and isinstance(c.get("name"), dict) and c["name"].get("formatted_name")
        for c in content
    ):
        return GraphError(131008, "The parameter contacts[]['name']['formatted_name'] is required.")
    return None


def _reaction(content: Any) -> GraphError | None:
    if (
        not isinstance(content, dict)
        or not content.get("message_id")
        or not isinstance(content.get("emoji"), str)
    ):
        return GraphError(131008, "The parameters reaction['message_id'], reaction['emoji'] are required.")
    return None


def _interactive(content: Any) -> GraphError | None:
    if (
        not isinstance(content, dict)
        or not content.get("type")
        or not isinstance(content.get("action"), dict)
    ):
        return GraphError(131008, "The parameters interactive['type'], interactive['action'] are required.")
    body = content.get("body")
    text = body.get("text", "") if isinstance(body, dict) else ""
    if len(str(text)) > (4096 if content["type"] == "list" else 1024):
        return GraphError(131009, "Param interactive['body']['text'] is too long.")
    action = content["action"]
    if content["type"] == "button":
        buttons = action.get("buttons")
        if not isinstance(buttons, list) or not 1 <= len(buttons) <= 3:
            return GraphError(131009, "interactive['action']['buttons'] must hold 1 to 3 buttons.")
    if content["type"] == "list":
        sections = action.get("sections")
        if not isinstance(sections, list) or not 1 <= len(sections) <= 10:
            return GraphError(131009, "interactive['action']['sections'] must hold 1 to 10 sections.")
        rows = sum(
            len(s["rows"]) for s in sections if isinstance(s, dict) and isinstance(s.get("rows"), list)
        )
        if not 1 <= rows <= 10:
            return GraphError(131009, "interactive['action']['sections'] must hold 1 to 10 rows in all.")
    return None


def _template(content: Any) -> GraphError | None:
    fault = _string(content, "template", "name", 512)
    if fault is not None:
        return fault
    language = content.get("language")
    if not isinstance(language, dict) or not isinstance(language.get("code"), str) or not language["code"]:
        return GraphError(131008, "The parameter template['language']['code'] is required.")
    components = content.get("components")
    if components is None:
        return None
    if not isinstance(components, list) or not all(isinstance(c, dict) and c.get("type") for c in components):
        return GraphError(131009, "template['components'] must be a list of components with a type.")
    return None


def _string(content: Any, kind: str, key: str, most: int) -> GraphError | None:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, str) or not value:
        return GraphError(131008, f"The parameter {kind}['{key}'] is required.")
    if len(value) > most:
        return GraphError(131009, f"Param {kind}['{key}'] must be at most {most} characters long.")
    return None


def _body_parameters(template: dict[str, Any]) -> int:
    components = template.get("components") or []
    bodies = [c.get("parameters") for c in components if str(c["type"]).lower() == "body"]
    return sum(len(parameters) for parameters in bodies if isinstance(parameters, list))


_CHECKS: dict[str, Callable[[Any], GraphError | None]] = {
    "text": _text,
    "location": _location,
    "contacts": _contacts,
    "reaction": _reaction,
    "interactive": _interactive,
    "template": _template,
    **{kind: _media(kind) for kind in ("audio", "document", "image", "sticker", "video")},
}
