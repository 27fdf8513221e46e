"""One entry of a WhatsApp webhook in, its updates out. Pure.

Messages and statuses become events of their conversation; what else a number's webhooks tell goes along there; what concerns an account or
a template, and any field that is not known here, goes to the account events as it came.
Source: Meta, webhooks: field catalogue, messages, statuses, calls, history, business-scoped user ids.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from services.ingress.media.described import KINDS, NESTED, whatsapp_files
from services.ingress.updates import (
    ABSENT,
    DAMAGE,
    Part,
    Undecodable,
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
    of_status,
    text,
)
from shared.events import (
    ConversationWebhook,
    MessageReceived,
    MetaConversation,
    MetaPricing,
    PreferenceChanged,
    StatusReceived,
)
from shared.ids import conversation_key, from_opaque
from shared.phone import canonical_user, is_bsuid

_ODD_USER = re.compile(r"[A-Za-z0-9._@=-]{1,128}")
"""A user whom Meta names in a form that no numbering plan knows (a group, a test number): kept as it is rather than lost."""


class _Entry(msgspec.Struct):
    id: Any = None
    time: Any = None
    changes: Raw = ABSENT


class _Value(msgspec.Struct):
    """The lists that a number's webhooks hold; one value may hold several."""

    metadata: Raw = ABSENT
    contacts: Raw = ABSENT
    messages: Raw = ABSENT
    statuses: Raw = ABSENT
    errors: Raw = ABSENT
    calls: Raw = ABSENT
    message_echoes: Raw = ABSENT
    history: Raw = ABSENT
    user_preferences: Raw = ABSENT
    state_sync: Raw = ABSENT
    automatic_events: Raw = ABSENT
    groups: Raw = ABSENT
    user_id_update: Raw = ABSENT


class _Message(msgspec.Struct, rename={"from_": "from"}):
    id: Any = None
    from_: Any = None
    from_user_id: Any = None
    timestamp: Any = None
    type: Any = None
    context: Any = None
    referral: Any = None
    image: Any = None
    video: Any = None
    audio: Any = None
    voice: Any = None
    document: Any = None
    sticker: Any = None
    edit: Any = None
    interactive: Any = None


class _Status(msgspec.Struct):
    id: Any = None
    status: Any = None
    type: Any = None
    timestamp: Any = None
    recipient_id: Any = None
    recipient_user_id: Any = None
    recipient_participant_id: Any = None
    participant_recipient_id: Any = None
    biz_opaque_callback_data: Any = None
    conversation: Any = None
    pricing: Any = None
    errors: Any = None


class _HistoryChunk(msgspec.Struct):
    metadata: Raw = Raw(b"null")
    threads: Raw = ABSENT


_entry = msgspec.json.Decoder(_Entry).decode
_value = msgspec.json.Decoder(_Value).decode
_message = msgspec.json.Decoder(_Message).decode
_status = msgspec.json.Decoder(_Status).decode
_history = msgspec.json.Decoder(_HistoryChunk).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode
_any = msgspec.json.Decoder().decode
_changes = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.encode

_QUALITY = "message_template_quality_update"
_STATUS = "message_template_status_update"

_PARTIES: dict[str, tuple[tuple[str, ...], ...]] = {
    "messages": (("from",), ("from_user_id",)),
    "statuses": (("recipient_id",), ("recipient_user_id",)),
    "message_echoes": (("to",), ("to_user_id",)),
    "state_sync": (("contact", "phone_number"), ("contact", "user_id")),
    "automatic_events": (),
    "groups": (("group_id",),),
    "user_id_update": (("wa_id",), ("user_id", "previous"), ("user_id",)),
}
"""Where the items of each list name their user; where none does, the value's first contact is meant."""
_NO_VALUE = _Value()
_WITH_FILES = frozenset((*KINDS, *NESTED))


class _Source(NamedTuple):
    """Where an item stands: what all items of one value share."""

    waba_id: str
    field: str
    phone_number_id: str
    contacts: Any
    received_ms: int


def entry(raw: Raw, place: str, received_ms: int, found: list[Part]) -> None:
    """Append the updates of one entry (an account); raises what `updates.DAMAGE` names when the entry itself can't be read."""
    read = _entry(raw)
    waba_id = text(read.id)
    if waba_id is None:
        raise Unreadable("entry without an id")
    if read.changes is ABSENT:
        raise Unreadable("entry without changes")
    # `time` comes with account and template fields only (Meta, webhooks, envelope).
    at_ms = millis(read.time, received_ms)
    for index, element in enumerate(_changes(read.changes)):
        _one_change(element, f"{place}/changes/{index}", waba_id, at_ms, received_ms, found)


def _one_change(raw: Raw, place: str, waba_id: str, at_ms: int, received_ms: int, found: list[Part]) -> None:
    try:
        name, written = change(raw)
    except DAMAGE as error:
        found.append(Undecodable(place, str(error), bytes(raw)))
        return
    try:
        value = _value(written)
    except msgspec.ValidationError:  # no object: not a number's webhook
        value = _NO_VALUE
    number = text(field(_loose(value.metadata), "phone_number_id"))
    if number is None:
        if name == "messages":
            found.append(Undecodable(place, "no metadata.phone_number_id", bytes(raw)))
        else:
            of = _corrected(name, written)
            found.append(of_account(waba_id, of, written, at_ms, received_ms))
        return
    before = len(found)
    source = _Source(waba_id, name, number, _loose(value.contacts), received_ms)
    readers = _READERS if name == "messages" else _OTHER_READERS
    for items, read in readers.items():
        if (present := getattr(value, items)) is not ABSENT:
            each(present, f"{place}/{items}", found, partial(read, source))
    if value.errors is not ABSENT:
        errors = Raw(_encode({"metadata": value.metadata, "errors": value.errors}))
        found.append(of_account(waba_id, name, errors, received_ms, received_ms))
    if len(found) == before:
        found.append(of_account(waba_id, name, written, at_ms, received_ms))


def _received(source: _Source, raw: Raw) -> Update:
    item = _message(raw)
    wamid = text(item.id)
    if wamid is None:
        raise Unreadable("message without an id")
    contact = _contact(source.contacts, text(item.from_), text(item.from_user_id))
    user, bsuid = _sender(item, contact)
    type = text(item.type) or "unknown"
    content = getattr(item, type) if type in _WITH_FILES else None
    return of_message(
        MessageReceived(
            event_id=wamid,
            at_ms=millis(item.timestamp, source.received_ms),
            received_ms=source.received_ms,
            phone_number_id=source.phone_number_id,
            user=user,
            wamid=wamid,
            type=type,
            message=raw,
            waba_id=source.waba_id,
            bsuid=bsuid,
            referral=text(field(item.referral, "source_type")),
            reply_to=text(field(item.context, "id")),
            profile_name=text(field(contact, "profile", "name")),
            media=whatsapp_files(source.phone_number_id, type, content),
        )
    )


def _sender(item: _Message, contact: Any) -> tuple[str, str | None]:
    """The user's canonical form and business-scoped id.

    When a user hides the number, `from` and `wa_id` may be absent, empty or hold that id (Meta, business-scoped user ids).
    """
    named = [
        text(item.from_),
        text(field(contact, "wa_id")),
        text(item.from_user_id),
        text(field(contact, "user_id")),
    ]
    users = [user for user in map(_user, filter(None, named)) if user is not None]
    if not users:
        raise Unreadable("message without a sender")
    bsuid = next((user for user in users if is_bsuid(user)), None)
    return next((user for user in users if not is_bsuid(user)), users[0]), bsuid


def _contact(contacts: Any, phone: str | None, bsuid: str | None) -> Any:
    """The contact of a message; `wa_id` and `from` need not match, so a single contact is taken as it is (Meta, webhooks, contacts)."""
    if not isinstance(contacts, list) or not contacts:
        return None
    if len(contacts) == 1:
        return contacts[0]
    for contact in contacts:
        if phone is not None and text(field(contact, "wa_id")) == phone:
            return contact
        if bsuid is not None and text(field(contact, "user_id")) == bsuid:
            return contact
    return None


def _user(written: str) -> str | None:
    return canonical_user(written) or (written if _ODD_USER.fullmatch(written) else None)


def _reported(source: _Source, raw: Raw) -> Update:
    item = _status(raw)
    wamid, status = text(item.id), text(item.status)
    if wamid is None or status is None:
        raise Unreadable("status without an id or a status")
    if text(item.type) == "payment":
        # Comes among the statuses and is none of a message's (Meta, payments, webhook).
        return _other("statuses", source, raw)
    participant = text(item.recipient_participant_id) or text(item.participant_recipient_id)
    ours = from_opaque(text(item.biz_opaque_callback_data) or "")
    if ours is not None and ours[0].startswith(f"{source.phone_number_id}:"):
        key: str = ours[0]
        command: str | None = ours[1]
        user = key.partition(":")[2]
    else:
        named = filter(None, (text(item.recipient_id), participant, text(item.recipient_user_id)))
        user = next((user for user in map(_user, named) if user is not None), "")
        if not user:
            raise Unreadable("status without a recipient")
        key, command = conversation_key(source.phone_number_id, user), None
    error = first(item.errors)
    code = text(field(error, "code"))
    return of_status(
        key,
        StatusReceived(
            event_id=f"{wamid}:{status}" + (f":{participant}" if participant else ""),
            at_ms=millis(item.timestamp, source.received_ms),
            received_ms=source.received_ms,
            phone_number_id=source.phone_number_id,
            user=user,
            wamid=wamid,
            status=status,
            meta=raw,
            waba_id=source.waba_id,
            command_id=command,
            pricing=_pricing(item.pricing),
            conversation=_conversation(item.conversation),
            error_code=int(code)
            if code is not None and code.isascii() and code.isdigit() and len(code) < 10
            else None,
            error_text=text(field(error, "error_data", "details"))
            or text(field(error, "message"))
            or text(field(error, "title")),
        ),
    )


def _pricing(value: Any) -> MetaPricing | None:
    if not isinstance(value, dict):
        return None
    billable = value.get("billable")
    return MetaPricing(
        billable=billable if isinstance(billable, bool) else None,
        pricing_model=text(value.get("pricing_model")),
        type=text(value.get("type")),
        category=text(value.get("category")),
    )


def _conversation(value: Any) -> MetaConversation | None:
    id = text(field(value, "id"))
    if id is None:
        return None
    expires_ms = millis(value.get("expiration_timestamp"), 0)
    return MetaConversation(id=id, origin=text(field(value, "origin", "type")), expires_ms=expires_ms or None)


def _called(source: _Source, raw: Raw) -> Update:
    """A user's call opens the window as a message does (Meta, calling, customer service window); its end and our own calls do not."""
    item = _object(raw)
    id, outgoing = text(item.get("id")), item.get("direction") == "BUSINESS_INITIATED"
    paths = (("to",),) if outgoing else (("from",), ("from_user_id",))
    user, bsuid = _party(source, item, paths)
    if item.get("event") != "connect" or outgoing or id is None or not user:
        return _noted(source, "calls", raw, item, user, bsuid)
    return of_message(
        MessageReceived(
            event_id=f"{id}:connect",
            at_ms=millis(item.get("timestamp"), source.received_ms),
            received_ms=source.received_ms,
            phone_number_id=source.phone_number_id,
            user=user,
            wamid=id,
            type="call",
            message=raw,
            waba_id=source.waba_id,
            bsuid=bsuid,
        )
    )


def _preferred(source: _Source, raw: Raw) -> Update:
    """A user stopped, resumed or signed up for marketing messages (Meta, webhooks, user_preferences); other preferences go along as they came."""
    item = _object(raw)
    user, bsuid = _party(source, item, (("wa_id",), ("user_id",)))
    value = item.get("value")
    if item.get("category") != "marketing_messages" or value not in ("stop", "resume", "signup") or not user:
        return _noted(source, "user_preferences", raw, item, user, bsuid)
    return of_conversation(
        PreferenceChanged(
            event_id=f"{source.phone_number_id}:{source.field}:{digest(raw)}",
            at_ms=millis(item.get("timestamp"), source.received_ms),
            phone_number_id=source.phone_number_id,
            user=user,
            opted_out=value == "stop",
            evidence=text(item.get("detail")),
            reference=text(item.get("signup_id")),
            noted_ms=source.received_ms,
        )
    )


def _remembered(source: _Source, raw: Raw) -> list[Update]:
    """Old messages of a number that came over from the app: one update per thread, in the shape of Meta's chunk."""
    chunk = _history(raw)
    threads = [] if chunk.threads is ABSENT else _changes(chunk.threads)
    if not threads:
        return [of_account(source.waba_id, source.field, raw, source.received_ms, source.received_ms)]
    updates = []
    for thread in threads:
        item = _object(thread)
        user, bsuid = _party(source, item, (("id",),))
        alone = Raw(_encode({"metadata": chunk.metadata, "threads": [thread]}))
        updates.append(_noted(source, "history", alone, item, user, bsuid))
    return updates


def _other(name: str, source: _Source, raw: Raw) -> Update:
    item = _object(raw)
    user, bsuid = _party(source, item, _PARTIES[name])
    return _noted(source, name, raw, item, user, bsuid)


def _party(
    source: _Source, item: dict[str, Any], paths: tuple[tuple[str, ...], ...]
) -> tuple[str, str | None]:
    """The user an item is about and the business-scoped id; an empty user when Meta names none."""
    named = [text(field(item, *path)) for path in paths]
    contact = first(source.contacts)
    named += [text(field(contact, "wa_id")), text(field(contact, "user_id"))]
    users = [user for user in map(_user, filter(None, named)) if user is not None]
    bsuid = next((user for user in users if is_bsuid(user)), None)
    return next(iter(users), ""), bsuid


def _noted(
    source: _Source, name: str, raw: Raw, item: dict[str, Any], user: str, bsuid: str | None
) -> Update:
    return of_conversation(
        ConversationWebhook(
            event_id=f"{source.phone_number_id}:{source.field}:{digest(raw)}",
            at_ms=millis(item.get("timestamp"), source.received_ms),
            received_ms=source.received_ms,
            phone_number_id=source.phone_number_id,
            user=user,
            field="payment" if name == "statuses" and source.field == "messages" else source.field,
            item=raw,
            waba_id=source.waba_id,
            bsuid=bsuid,
        )
    )


def _corrected(name: str, value: Raw) -> str:
    """The field a value belongs to: Meta has sent quality updates under the name of status updates (Meta, webhooks, example payloads)."""
    if name == _STATUS:
        read = _loose(value)
        if isinstance(read, dict) and "new_quality_score" in read and "event" not in read:
            return _QUALITY
    return name


def _loose(raw: Raw) -> Any:
    """A part that nothing depends on: None when it can't be read."""
    if raw is ABSENT:
        return None
    try:
        return _any(raw)
    except DAMAGE:
        return None


_Reader = Callable[[_Source, Raw], Update | list[Update]]
_READERS: dict[str, _Reader] = {
    "messages": _received,
    "statuses": _reported,
    "calls": _called,
    "user_preferences": _preferred,
    "history": _remembered,
    **{name: partial(_other, name) for name in _PARTIES if name not in ("messages", "statuses")},
}
"""How the items of each list are read under the field `messages`."""
_OTHER_READERS = _READERS | {name: partial(_other, name) for name in ("messages", "statuses")}
"""Under any other field (history, standby, calls) messages and statuses are not those of an ongoing conversation."""
