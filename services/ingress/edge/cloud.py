"""The Cloud API's body of `POST …/messages` in; the send request that it asks for, and Meta's shape of the answer, out. Pure.

Source: Meta, Cloud API, messages (body and answer; read marks and typing name no recipient); Meta, Marketing Messages API (`product_policy`).
"""

from typing import Any, Final, Literal

import msgspec

from services.ingress.edge.book import Known
from services.ingress.edge.errors import UNKNOWN_MESSAGE, Refusal, invalid
from services.ingress.requests import MAX_CORRELATION
from shared.message_content import is_read_mark

Endpoint = Literal["messages", "marketing_messages"]
_DEFAULT_POLICY: Final = "CLOUD_API_FALLBACK"
_WAMID: Final = "wamid."
"""How all of Meta's message ids begin; a request id of ours is one that does not."""

Message = dict[str, Any]
_object = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Contact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who it went to: as it was written, and as Meta has it; a user without a number by the business-scoped id."""

    input: str
    wa_id: str | None = None
    user_id: str | None = None


class Sent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The message's id: Meta's, or with 202 the request's own."""

    id: str
    message_status: str | None = None


class MessageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the Cloud API answers to a message."""

    messaging_product: str
    contacts: list[Contact]
    messages: list[Sent]


class Success(msgspec.Struct, frozen=True, kw_only=True):
    """What the Cloud API answers to a read mark."""

    success: bool = True


def message_of(body: bytes, endpoint: Endpoint) -> tuple[Message, str | None]:
    """The message without what is not for the middleware, and the correlation id it brings (`biz_opaque_callback_data`); raises Refusal."""
    try:
        message = _object(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        why = str(error) if isinstance(error, msgspec.MsgspecError) else "nested too deep, or not UTF-8"
        raise invalid(f"the body is no JSON object: {why}") from None
    correlation = message.pop("biz_opaque_callback_data", None)
    if correlation is not None and (not isinstance(correlation, str) or len(correlation) > MAX_CORRELATION):
        rule = f"biz_opaque_callback_data: a string of at most {MAX_CORRELATION} characters"
        raise invalid(rule, rule)
    if endpoint == "marketing_messages" and not is_read_mark(message):
        message.setdefault("product_policy", _DEFAULT_POLICY)
    return message, correlation


def named(message: Message) -> str | None:
    """The id of the message that this one answers, reacts to or marks; None when it names none."""
    if is_read_mark(message):
        part: Any = message
    elif message.get("type") == "reaction":
        part = message.get("reaction")
    else:
        part = message.get("context")
    id = part.get("message_id") if isinstance(part, dict) else None
    return id if isinstance(id, str) and id else None


def is_wamid(id: str) -> bool:
    """Whether it is an id of Meta's and none of a request."""
    return id.startswith(_WAMID)


def with_wamid(message: Message, wamid: str) -> Message:
    """The message, naming the other one as Meta knows it."""
    if is_read_mark(message):
        return {**message, "message_id": wamid}
    part = "reaction" if message.get("type") == "reaction" else "context"
    return {**message, part: {**message[part], "message_id": wamid}}


def unknown_message(id: str) -> Refusal:
    """The id that a message names is nobody's."""
    text = f"message_id: no message and no request is known by {id[:200]!r}"
    return Refusal(UNKNOWN_MESSAGE, "message_unknown", text, problems=[text])


def not_out_yet(id: str) -> Refusal:
    """The request that a message names has not become a message."""
    text = f"message_id: request {id[:200]!r} has not been sent, so it can't be answered or reacted to yet"
    return Refusal(UNKNOWN_MESSAGE, "message_not_sent", text, problems=[text])


def request_of(message: Message, request_id: str, number: str, correlation: str | None) -> bytes:
    """The send request, as the topic takes it."""
    request: dict[str, Any] = {"request_id": request_id, "from": number, "message": message}
    if correlation is not None:
        request["correlation_id"] = correlation
    return _encode(request)


def answer(message: Message, request_id: str, known: Known) -> MessageAnswer | Success:
    """Meta's answer to an accepted message, or to one that is still under way (by the request's id)."""
    if is_read_mark(message):
        return Success()
    accepted = known.standing == "accepted"
    status = None
    if accepted and message.get("type") == "template":
        # Meta tells it of templates only (Meta, Cloud API, messages, message_status).
        status = _HELD.get(known.held, "accepted")
    contact = Contact(
        input=str(message.get("to") or message.get("recipient") or ""),
        wa_id=known.user if known.user.isdecimal() else None,
        user_id=known.bsuid or None,
    )
    sent = Sent(id=known.wamid if accepted and known.wamid else request_id, message_status=status)
    return MessageAnswer(messaging_product="whatsapp", contacts=[contact], messages=[sent])


_HELD = {"held_for_quality_assessment": "held_for_quality_assessment", "held_paused": "paused"}
"""Our reason of a `held` event → Meta's word."""
