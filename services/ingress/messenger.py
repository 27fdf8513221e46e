"""One entry of an Instagram or Messenger webhook in, its updates out. Pure.

What a user says or taps (message, postback, reaction) becomes a `MessageReceived` keyed `{page or account id}:{user}`; receipts, echoes, unsent messages and
what goes to another app that owns the thread (`standby`) are noted in the same conversation. Times are milliseconds here.
Source: Meta, Messenger Platform and Instagram Platform, webhook events.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw

from services.ingress.media.described import messenger_files
from services.ingress.updates import (
    ABSENT,
    Part,
    Unreadable,
    Update,
    change,
    digest,
    each,
    field,
    first,
    millis,
    of_account,
    of_conversation,
    of_message,
    text,
)
from shared.events import ConversationWebhook, MessageReceived

Channel = Literal["instagram", "messenger"]


class _Entry(msgspec.Struct):
    id: Any = None
    time: Any = None
    messaging: Raw = ABSENT
    standby: Raw = ABSENT
    changes: Raw = ABSENT


class _Source(NamedTuple):
    channel: Channel
    page_id: str
    at_ms: int
    received_ms: int


_entry = msgspec.json.Decoder(_Entry).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode
_any = msgspec.json.Decoder().decode

_NOTED = (
    "delivery",
    "read",
    "optin",
    "referral",
    "pass_thread_control",
    "take_thread_control",
    "request_thread_control",
)


def entry(raw: Raw, place: str, received_ms: int, found: list[Part], *, channel: Channel) -> None:
    """Append the updates of one entry (a page or account); raises what `updates.DAMAGE` names when the entry itself can't be read."""
    read = _entry(raw)
    page_id = text(read.id)
    if page_id is None:
        raise Unreadable("entry without an id")
    source = _Source(channel, page_id, millis(read.time, received_ms), received_ms)
    lists = {"messaging": _messaging, "standby": _stood_by, "changes": _changed}
    present = [name for name in lists if getattr(read, name) is not ABSENT]
    if not present:
        raise Unreadable("entry without messaging, standby or changes")
    for name in present:
        each(getattr(read, name), f"{place}/{name}", found, partial(lists[name], source))


def _stood_by(source: _Source, raw: Raw) -> Update:
    return _noted(source, "standby", raw, _object(raw))


def _messaging(source: _Source, raw: Raw) -> Update:
    item = _object(raw)
    message, postback, reaction = (item.get(name) for name in ("message", "postback", "reaction"))
    if isinstance(message, dict):
        if message.get("is_echo") is True:
            return _noted(source, "message_echoes", raw, item, user=text(field(item, "recipient", "id")))
        if message.get("is_deleted") is True:
            return _noted(source, "message_deleted", raw, item)
        attachment = text(field(first(message.get("attachments")), "type"))
        return _said(source, raw, item, message, text(message.get("mid")), attachment or "text")
    if isinstance(postback, dict):
        return _said(source, raw, item, postback, text(postback.get("mid")) or digest(raw), "postback")
    if isinstance(reaction, dict):
        # `mid` is the message reacted to, so the reaction itself goes by its bytes.
        return _said(source, raw, item, reaction, digest(raw), "reaction")
    return _noted(source, next((name for name in _NOTED if name in item), "messaging"), raw, item)


def _said(
    source: _Source, raw: Raw, item: dict[str, Any], said: dict[str, Any], mid: str | None, type: str
) -> Update:
    user = text(field(item, "sender", "id"))
    if mid is None or user is None:
        raise Unreadable("message without an id or a sender")
    return of_message(
        MessageReceived(
            event_id=mid,
            at_ms=millis(item.get("timestamp"), source.at_ms),
            received_ms=source.received_ms,
            phone_number_id=source.page_id,
            user=user,
            wamid=mid,
            type=type,
            message=raw,
            channel=source.channel,
            waba_id=source.page_id,
            media=messenger_files(said.get("attachments")),
            referral=text(field(said, "referral", "source")),
            reply_to=text(field(said, "reply_to", "mid"))
            or (text(said.get("mid")) if type == "reaction" else None),
        )
    )


def _noted(source: _Source, name: str, raw: Raw, item: dict[str, Any], user: str | None = None) -> Update:
    return of_conversation(
        ConversationWebhook(
            event_id=f"{source.page_id}:{name}:{digest(raw)}",
            at_ms=millis(item.get("timestamp"), source.at_ms),
            received_ms=source.received_ms,
            phone_number_id=source.page_id,
            user=user or text(field(item, "sender", "id")) or text(field(item, "from", "id")) or "",
            field=name,
            item=raw,
            channel=source.channel,
            waba_id=source.page_id,
        )
    )


def _changed(source: _Source, raw: Raw) -> Update:
    """A change of a person's doing (a comment, a mention) belongs to that person; any other to the page."""
    name, written = change(raw)
    value = _any(written)
    if isinstance(value, dict) and (field(value, "from", "id") or field(value, "sender", "id")):
        return _noted(source, name, written, value)
    return of_account(source.page_id, name, written, source.at_ms, source.received_ms)
