"""One entry of an Instagram or Messenger webhook in, its updates out. Pure.

What a user says or taps (message, postback, reaction, a link to the chat) becomes a `MessageReceived` keyed `{page or account id}:{user}`; receipts, echoes, unsent and
edited messages, handovers and what goes to another app that owns the thread (`standby`) are noted in the same conversation. Times are milliseconds here.
Source: Meta, Messenger Platform and Instagram Platform, webhook events.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw

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
    loose,
    millis,
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
    """Where an item stands: its entry, and the field and list it came in (None: its own fields tell)."""

    channel: Channel
    page_id: str
    at_ms: int
    received_ms: int
    list: str | None
    field: str | None = None


_entry = msgspec.json.Decoder(_Entry).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode

_LISTS = ("messaging", "standby", "changes")
_FIELDS: Mapping[str, str] = {
    "message": "messages",
    "message_edit": "message_edits",
    "reaction": "message_reactions",
    "postback": "messaging_postbacks",
    "referral": "messaging_referrals",
    "optin": "messaging_optins",
    "delivery": "message_deliveries",
    "read": "message_reads",
    "pass_thread_control": "messaging_handovers",
    "take_thread_control": "messaging_handovers",
    "request_thread_control": "messaging_handovers",
    "app_roles": "messaging_handovers",
}
"""What an item holds → the field that brings it (Meta, Messenger Platform, webhook events)."""
_ON_INSTAGRAM: Mapping[str, str] = {
    "message_edits": "message_edit",
    "messaging_referrals": "messaging_referral",
    "message_reads": "messaging_seen",
    "messaging_handovers": "messaging_handover",
}
"""Fields that have another name on Instagram (Meta, Instagram Platform, webhooks)."""
_OF_CONVERSATIONS = frozenset(_FIELDS.values()) | frozenset(_ON_INSTAGRAM.values()) | {"message_echoes"}
"""Fields whose items may come as the value of a change too."""
_ABOUT = frozenset({"sender", "recipient", "timestamp"})


def entry(raw: Raw, place: str, received_ms: int, found: list[Part], *, channel: Channel) -> None:
    """Append the updates of one entry (a page or account); raises what `updates.DAMAGE` names when the entry itself can't be read."""
    read = _entry(raw)
    page_id = text(read.id)
    if page_id is None:
        raise Unreadable("entry without an id")
    present = [name for name in _LISTS if getattr(read, name) is not ABSENT]
    if not present:
        raise Unreadable("entry without messaging, standby or changes")
    for name in present:
        source = _Source(channel, page_id, millis(read.time, received_ms), received_ms, name)
        reader = _changed if name == "changes" else _messaging
        each(getattr(read, name), f"{place}/{name}", found, partial(reader, source))


def _messaging(source: _Source, raw: Raw) -> Update:
    item = _object(raw)
    holds = next((name for name in _FIELDS if name in item), None)
    said = item.get(holds) if holds is not None else None
    if source.list == "standby" or source.field == "standby":
        return _noted(source, "standby", raw, item)
    if holds is None or not isinstance(said, dict):
        unknown = next((name for name in item if name not in _ABOUT), "messaging")
        return _noted(source, _FIELDS.get(unknown, unknown), raw, item)
    match holds:
        case "message" if said.get("is_echo") is True:
            return _noted(source, "message_echoes", raw, item)
        case "message" if said.get("is_deleted") is not True:
            attachment = text(field(first(said.get("attachments")), "type"))
            return _said(source, raw, item, said, text(said.get("mid")), attachment or "text")
        case "postback":
            return _said(source, raw, item, said, text(said.get("mid")) or digest(raw), "postback")
        case "referral":
            # A link to an existing thread opens the window (Meta, Messenger Platform, m.me links).
            return _said(source, raw, item, {"referral": said}, digest(raw), "referral")
        case "reaction":
            # `mid` is the message reacted to, so the reaction itself goes by its bytes.
            kind = "unreact" if said.get("action") == "unreact" else "reaction"
            return _said(source, raw, item, {"reply_to": said}, digest(raw), kind)
        case _:
            return _noted(source, _FIELDS[holds], raw, item)


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
            referral=text(field(said, "referral", "source")),
            reply_to=text(field(said, "reply_to", "mid")),
        )
    )


def _noted(source: _Source, name: str, raw: Raw, item: dict[str, Any]) -> Update:
    if source.field is not None:
        name = source.field
    elif source.channel == "instagram":
        name = _ON_INSTAGRAM.get(name, name)
    return of_conversation(
        ConversationWebhook(
            event_id=f"{source.page_id}:{name}:{digest(raw)}",
            at_ms=millis(item.get("timestamp", item.get("created_time")), source.at_ms),
            received_ms=source.received_ms,
            phone_number_id=source.page_id,
            user=_person(source, item),
            field=name,
            item=raw,
            channel=source.channel,
            waba_id=source.page_id,
            list=None if source.list == "changes" else source.list,
        )
    )


def _person(source: _Source, item: dict[str, Any]) -> str:
    """Who is not the page: an echo's and a handover's recipient, the sender of all else, who wrote a comment; empty where nobody is named."""
    named = [text(field(item, role, "id")) for role in ("sender", "recipient", "from")]
    if field(item, "message", "is_echo") is True:
        named[0] = None
    return next((id for id in named if id is not None and id != source.page_id), "")


def _changed(source: _Source, raw: Raw) -> Update:
    """A change of a person's doing (a comment, a mention) belongs to that person, any other to the page; what also comes as messaging is read as that."""
    name, written = change(raw)
    value = loose(written)
    source = source._replace(field=name)
    if isinstance(value, dict) and "sender" in value and name in _OF_CONVERSATIONS | {"standby"}:
        return _messaging(source, written)
    return _noted(source, name, written, value if isinstance(value, dict) else {})
