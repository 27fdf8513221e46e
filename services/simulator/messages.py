"""The body of `POST /{phone_number_id}/messages`: from JSON to a message, or to the error Meta answers. Pure.

Source: Meta, Cloud API, messages: required fields and limits per type.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

from services.simulator.content import TYPES, Check, flag, text, within
from services.simulator.errors import GraphError
from services.simulator.interactive import interactive
from services.simulator.template_form import template

Endpoint = Literal["messages", "marketing_messages"]
MAX_OPAQUE = 512
_CHECKS: dict[str, Check] = {**TYPES, "interactive": interactive, "template": template}
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
    endpoint: Endpoint = "messages"


@dataclass(frozen=True, slots=True)
class ReadMark:
    """A read receipt, with or without a typing indicator."""

    message_id: str
    typing: bool = False


def parse(body: object, endpoint: Endpoint = "messages") -> Send | ReadMark | GraphError:
    """Validate a request body as Meta does, the first fault wins."""
    if not isinstance(body, dict):
        return GraphError(100, "The request body must be a JSON object.")
    if body.get("messaging_product") != "whatsapp":
        return GraphError(100, "The parameter messaging_product is required and must be whatsapp.")
    marketing = endpoint == "marketing_messages"
    if marketing and body.get("type") != "template":
        return GraphError(134100, "Only marketing messages are supported by this endpoint.")
    if not marketing and "product_policy" in body:
        return GraphError(100, "Unexpected key product_policy on param.")
    if "status" in body:
        return _read_mark(body)
    recipient = _recipient(body)
    if isinstance(recipient, GraphError):
        return recipient
    written, user, bsuid = recipient
    kind = body.get("type", "text")
    if not isinstance(kind, str) or kind not in _CHECKS:
        return GraphError(100, f"Param type must be one of {{{', '.join(_CHECKS).upper()}}}.")
    fault = _content_fault(kind, body.get(kind)) or _option_fault(body)
    if fault is not None:
        return fault
    opaque = body.get("biz_opaque_callback_data")
    if kind != "template":
        return Send(written, user, bsuid, kind, opaque=opaque)
    content = body["template"]
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
        endpoint,
    )


def _content_fault(kind: str, content: Any) -> GraphError | None:
    if content is None:
        return GraphError(131008, f"The parameter {kind} is required.")
    if not isinstance(content, list if kind == "contacts" else dict):
        return GraphError(131009, f"Param {kind} is of the wrong type.")
    return next(_CHECKS[kind](content, kind), None)


def _option_fault(body: dict[str, Any]) -> GraphError | None:
    """What is wrong around the content."""
    opaque = body.get("biz_opaque_callback_data")
    if opaque is not None and (not isinstance(opaque, str) or len(opaque) > MAX_OPAQUE):
        return GraphError(
            100, f"Param biz_opaque_callback_data must be a string of at most {MAX_OPAQUE} characters."
        )
    faults = [
        *within(body, "context", "message", lambda part, at: text(part, "message_id", at, 128), needed=False),
        *flag(body, "message_activity_sharing", "message"),
    ]
    return next(iter(faults), None)


def _read_mark(body: dict[str, Any]) -> ReadMark | GraphError:
    message_id, typing = body.get("message_id"), body.get("typing_indicator")
    if body["status"] != "read" or not isinstance(message_id, str) or not message_id:
        return GraphError(131009, "status must be read, with the message_id of a received message.")
    if not {"to", "recipient", "recipient_type"}.isdisjoint(body):
        return GraphError(100, "A read receipt names no recipient.")
    if typing is not None and (not isinstance(typing, dict) or not typing.get("type")):
        return GraphError(131008, "The parameter typing_indicator['type'] is required.")
    return ReadMark(message_id, typing is not None)


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


def _body_parameters(template: dict[str, Any]) -> int:
    components = template.get("components") or []
    bodies = [c.get("parameters") for c in components if str(c["type"]).lower() == "body"]
    return sum(len(parameters) for parameters in bodies if isinstance(parameters, list))
