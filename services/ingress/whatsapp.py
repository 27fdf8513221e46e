"""One entry of a WhatsApp webhook in, its updates out. Pure.

Messages and statuses become events of their conversation; what else a number's webhooks tell goes along there, item by item and as it came, known or not;
what the account facts are read from goes to the account events, and so does what names no number.
Source: Meta, webhooks: field catalogue, messages, statuses, calls, history, business-scoped user ids.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, get_args

import msgspec
from msgspec import Raw

from services.ingress.contacts import Contacts
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
    loose,
    millis,
    of_account,
    of_conversation,
    of_message,
    of_status,
    text,
)
from shared.accounts import ACCOUNT_WEBHOOKS
from shared.events import (
    ConversationWebhook,
    MessageReceived,
    MetaConversation,
    MetaPricing,
    PreferenceChanged,
    Status,
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


class _Message(msgspec.Struct, rename={"from_": "from"}):
    id: Any = None
    from_: Any = None
    from_user_id: Any = None
    timestamp: Any = None
    type: Any = None
    context: Any = None
    referral: Any = None
    system: Any = None
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
    recipient_type: Any = None
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
_value = msgspec.json.Decoder(dict[str, Raw]).decode
_message = msgspec.json.Decoder(_Message).decode
_status = msgspec.json.Decoder(_Status).decode
_history = msgspec.json.Decoder(_HistoryChunk).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode
_list = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.encode

_QUALITY = "message_template_quality_update"
_STATUS = "message_template_status_update"
_STATUSES = frozenset(get_args(Status))
"""What a message's life consists of; any other status is passed on."""
_OF_OTHERS = frozenset({"payment", "call"})
"""Types of status that are none of a message's (Meta, payments and calling, webhooks)."""
_LIST = ord("[")
_ABOUT = frozenset({"messaging_product", "metadata", "contacts"})
"""What a value says of all its items."""

Paths = tuple[tuple[str, ...], ...]
_PARTIES: Mapping[str, Paths] = {
    "messages": (("from",), ("from_user_id",)),
    "statuses": (("recipient_id",), ("recipient_user_id",), ("from",)),
    "message_echoes": (("to",), ("to_user_id",)),
    "state_sync": (("contact", "phone_number"), ("contact", "user_id")),
    "automatic_events": (),
    "groups": (("group_id",),),
    "user_id_update": (("wa_id",), ("user_id", "previous"), ("user_id",)),
}
"""Where the items of each list name their user; where none does, the value's only contact is meant."""
_WHOLE_PARTY: Paths = (("sender", "phone_number"), ("sender", "user_id"))
"""Where a value without a list names its user (Meta, messaging_handovers)."""
_SOMEBODY: Paths = (("wa_id",), ("user_id",), ("from",), ("from_user_id",))
"""Where an item of a list that is not known may name its user, by Meta's habit."""
_IDENTITY: Mapping[str, tuple[str, ...]] = {
    "messages": ("id",),
    "message_echoes": ("id",),
    "calls": ("id", "event"),
}
"""What tells the items of a list apart, where Meta gives them an id."""
_WITH_FILES = frozenset((*KINDS, *NESTED))


class _Source(NamedTuple):
    """Where an item stands: what all items of one value share. `at_ms` is Meta's time of the entry, else `received_ms`."""

    waba_id: str
    field: str
    phone_number_id: str
    contacts: Contacts
    at_ms: int
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
    told_ms = millis(read.time, 0) or None
    for index, element in enumerate(_list(read.changes)):
        _one_change(element, f"{place}/changes/{index}", waba_id, told_ms, received_ms, found)


def _one_change(
    raw: Raw, place: str, waba_id: str, told_ms: int | None, received_ms: int, found: list[Part]
) -> None:
    try:
        name, written = change(raw)
    except DAMAGE as error:
        found.append(Undecodable(place, str(error), bytes(raw)))
        return
    try:
        value = _value(written)
    except DAMAGE:  # no object: not a number's webhook
        value = {}
    number = _number(value)
    if name in ACCOUNT_WEBHOOKS or (number is None and name != "messages"):
        about, of = _concerned(name, value, waba_id), _corrected(name, value)
        found.append(of_account(about, of, written, told_ms, received_ms))
        return
    if number is None:
        found.append(Undecodable(place, "no metadata.phone_number_id", bytes(raw)))
        return
    contacts = Contacts(value.get("contacts", ABSENT))
    source = _Source(waba_id, name, number, contacts, told_ms or received_ms, received_ms)
    _one_value(source, value, written, place, found)


def _one_value(source: _Source, value: dict[str, Raw], written: Raw, place: str, found: list[Part]) -> None:
    """Every item of every list; what stands in no list, or in none that is known, goes along as it came."""
    before, rest = len(found), {}
    readers = _READERS if source.field == "messages" else _OTHER_READERS
    for name, present in value.items():
        if name in _ABOUT:
            continue
        read = readers.get(name)
        if read is None:
            if memoryview(present)[0] != _LIST:
                rest[name] = present
                continue
            read = partial(_unknown, name)
        each(present, f"{place}/{name}", found, partial(read, source))
    if len(found) == before:
        rest, item = value, written
    elif rest:
        item = Raw(_encode({"metadata": value.get("metadata"), **rest}))
    if rest:
        told: dict[str, Any] = {name: loose(rest.get(name, ABSENT)) for name in ("sender", "timestamp")}
        found.append(_noted(source, None, item, told, *_party(source, told, _WHOLE_PARTY)))


def _number(value: dict[str, Raw]) -> str | None:
    """The number a value is about; handovers name it as the recipient (Meta, messaging_handovers)."""
    number = text(field(loose(value.get("metadata", ABSENT)), "phone_number_id"))
    if number is None and "recipient" in value:
        number = text(field(loose(value["recipient"]), "phone_number_id"))
    return number


def _concerned(name: str, value: dict[str, Raw], waba_id: str) -> str:
    """The account a webhook is about: what partners are told of their clients' accounts comes under the partner's own id (Meta, account_update)."""
    if name == "account_update" and "waba_info" in value:
        return text(field(loose(value["waba_info"]), "waba_id")) or waba_id
    return waba_id


def _corrected(name: str, value: dict[str, Raw]) -> str:
    """The field a value belongs to: Meta has sent quality updates under the name of status updates (Meta, webhooks, example payloads)."""
    return _QUALITY if name == _STATUS and "new_quality_score" in value and "event" not in value else name


def _received(source: _Source, raw: Raw) -> Update:
    item = _message(raw)
    wamid = text(item.id)
    if wamid is None:
        raise Unreadable("message without an id")
    contact = source.contacts.of(text(item.from_), text(item.from_user_id))
    user, bsuid = _sender(item, contact)
    renamed = _renamed(item.system) if item.system is not None else None
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
            renamed=renamed if renamed != user else None,
            referral=text(field(item.referral, "source_type")),
            reply_to=text(field(item.context, "id")),
            profile_name=text(field(contact, "profile", "name")),
            media=whatsapp_files(source.phone_number_id, type, content),
        )
    )


def _sender(item: _Message, contact: Any) -> tuple[str, str | None]:
    """The user's canonical form and business-scoped id.

    When a user hides the number, `from` and `wa_id` may be absent, empty or hold that id (Meta, business-scoped user ids). A contact of another number says nothing
    of the id: two users must not become one.
    """
    written, wa_id = _users(text(item.from_)), _users(text(field(contact, "wa_id")))
    theirs = [] if written and wa_id and written != wa_id else _users(text(field(contact, "user_id")))
    users = written + wa_id + _users(text(item.from_user_id)) + theirs
    if not users:  # who has a new id or number writes no message about it
        named = text(field(item.system, "previous_user_id")), text(field(item.system, "wa_id"))
        users = _users(*named)
    if not users:
        raise Unreadable("message without a sender")
    return _preferably_by_number(users), next(filter(is_bsuid, users), None)


def _renamed(system: Any) -> str | None:
    """The name a user bears from now on (Meta, webhooks, system messages)."""
    names = {"user_changed_number": ("wa_id", "new_wa_id"), "user_changed_user_id": ("user_id",)}
    written = (text(field(system, name)) for name in names.get(text(field(system, "type")) or "", ()))
    return next((canonical_user(name) for name in written if name is not None), None)


def _users(*written: str | None) -> list[str]:
    """The users that can be read of what is written."""
    return [user for user in map(_user, filter(None, written)) if user is not None]


def _user(written: str) -> str | None:
    return canonical_user(written) or (written if _ODD_USER.fullmatch(written) else None)


def _reported(source: _Source, raw: Raw) -> Update:
    item = _status(raw)
    wamid, status = text(item.id), text(item.status)
    if wamid is None or status is None:
        raise Unreadable("status without an id or a status")
    if text(item.type) in _OF_OTHERS:
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
    if status not in _STATUSES:
        return _noted(source, "statuses", raw, _object(raw), user, None)
    recipient, bsuid = _also(item, source.contacts, user, participant)
    error_code, error_text = _error(item.errors)
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
            error_code=error_code,
            error_text=error_text,
            recipient=recipient,
            bsuid=bsuid,
        ),
    )


def _also(
    item: _Status, contacts: Contacts, user: str, participant: str | None
) -> tuple[str | None, str | None]:
    """The number and the business-scoped id that a status gives its user beside the name `user`; of a group's status none."""
    written, id_ = text(item.recipient_id), text(item.recipient_user_id)
    if participant is not None or item.recipient_type == "group":
        return None, None
    if id_ is None and written is not None:
        id_ = text(field(contacts.of(written), "user_id"))
    if written == user and id_ is None:
        return None, None
    names = _users(written if written != user else None, id_ if id_ != user else None)
    number = next((name for name in names if not is_bsuid(name) and name.isdecimal()), None)
    bsuid = next((name for name in names if is_bsuid(name)), None)
    return number if number != user else None, bsuid if bsuid != user else None


def _error(errors: Any) -> tuple[int | None, str | None]:
    """Code and text of the first error."""
    error = first(errors)
    if error is None:
        return None, None
    code = text(field(error, "code"))
    return (
        int(code) if code is not None and code.isascii() and code.isdigit() and len(code) < 10 else None,
        text(field(error, "error_data", "details"))
        or text(field(error, "message"))
        or text(field(error, "title")),
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
    if value is None:
        return None
    id = text(field(value, "id"))
    if id is None:
        return None
    expires_ms = millis(value.get("expiration_timestamp"), 0)
    return MetaConversation(id=id, origin=text(field(value, "origin", "type")), expires_ms=expires_ms or None)


def _called(source: _Source, raw: Raw) -> Update | list[Update]:
    """A user's call opens the window as a message does (Meta, calling, customer service window); its end and our own calls do not."""
    item = _object(raw)
    id, outgoing = text(item.get("id")), item.get("direction") == "BUSINESS_INITIATED"
    paths = (("to",), ("to_user_id",)) if outgoing else (("from",), ("from_user_id",))
    user, bsuid = _party(source, item, paths)
    noted = _noted(source, "calls", raw, item, user, bsuid)
    if item.get("event") != "connect" or outgoing or id is None or not user:
        return noted
    call = MessageReceived(
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
    return [of_message(call), noted]


def _preferred(source: _Source, raw: Raw) -> Update | list[Update]:
    """A user stopped, resumed or signed up for marketing messages (Meta, webhooks, user_preferences); like all preferences it also goes along as it came."""
    item = _object(raw)
    user, bsuid = _party(source, item, (("wa_id",), ("user_id",)))
    value = item.get("value")
    noted = _noted(source, "user_preferences", raw, item, user, bsuid)
    if item.get("category") != "marketing_messages" or value not in ("stop", "resume", "signup") or not user:
        return noted
    preference = PreferenceChanged(
        event_id=f"{source.phone_number_id}:{source.field}:{digest(raw)}",
        at_ms=millis(item.get("timestamp"), source.received_ms),
        phone_number_id=source.phone_number_id,
        user=user,
        opted_out=value == "stop",
        evidence=text(item.get("detail")),
        reference=text(item.get("signup_id")),
        noted_ms=source.received_ms,
    )
    return [of_conversation(preference), noted]


def _remembered(source: _Source, raw: Raw) -> Update | list[Update]:
    """Old messages of a number that came over from the app: one update per thread, in the shape of Meta's chunk; without threads (it was refused) the chunk."""
    chunk = _history(raw)
    threads = [] if chunk.threads is ABSENT else _list(chunk.threads)
    if not threads:
        return _unknown("history", source, raw)
    updates = []
    for thread in threads:
        item = _object(thread)
        user, bsuid = _party(source, item, (("id",),))
        alone = Raw(_encode({"metadata": chunk.metadata, "threads": [thread]}))
        updates.append(_noted(source, "history", alone, {}, user, bsuid))
    return updates


def _other(name: str, source: _Source, raw: Raw) -> Update:
    item = _object(raw)
    return _noted(source, name, raw, item, *_party(source, item, _PARTIES[name]))


def _erred(source: _Source, raw: Raw) -> Update:
    """An error that concerns the number as a whole, whoever wrote beside it (Meta, webhooks, errors)."""
    return _noted(source, "errors", raw, _object(raw), "", None)


def _unknown(name: str, source: _Source, raw: Raw) -> Update:
    """An item of a list that nobody here knows, whatever it is."""
    item = loose(raw)
    item = item if isinstance(item, dict) else {}
    return _noted(source, name, raw, item, *_party(source, item, _SOMEBODY))


def _party(source: _Source, item: Mapping[str, Any], paths: Paths) -> tuple[str, str | None]:
    """The user an item is about and the business-scoped id; an empty user when Meta names none."""
    named = [text(field(item, *path)) for path in paths]
    contact = source.contacts.of(*named)
    named += [text(field(contact, "wa_id")), text(field(contact, "user_id"))]
    users = [user for user in map(_user, filter(None, named)) if user is not None]
    return _preferably_by_number(users), next(filter(is_bsuid, users), None)


def _preferably_by_number(users: list[str]) -> str:
    """The first that is no business-scoped id, else the first; empty without any."""
    return next((user for user in users if not is_bsuid(user)), users[0] if users else "")


def _noted(
    source: _Source, name: str | None, raw: Raw, item: Mapping[str, Any], user: str, bsuid: str | None
) -> Update:
    """What is passed on as it came: an item of the list `name`, or (None) a value."""
    # A new business-scoped id (Meta, webhooks, user_id_update).
    current = text(field(item, "user_id", "current")) if name == "user_id_update" else None
    renamed = current if user and current is not None and is_bsuid(current) and current != user else None
    ids = [text(item.get(part)) for part in _IDENTITY.get(name or "", ())]
    identity = ":".join(filter(None, ids)) if ids and all(ids) else digest(raw)
    timestamp = item.get("timestamp", field(item, "metadata", "timestamp"))
    return of_conversation(
        ConversationWebhook(
            event_id=f"{source.phone_number_id}:{source.field}:{identity}",
            at_ms=millis(timestamp, source.at_ms),
            received_ms=source.received_ms,
            phone_number_id=source.phone_number_id,
            user=user,
            field=source.field,
            item=raw,
            waba_id=source.waba_id,
            bsuid=bsuid,
            renamed=renamed,
            list=name,
        )
    )


_Reader = Callable[[_Source, Raw], Update | list[Update]]
_READERS: Mapping[str, _Reader] = {
    "messages": _received,
    "statuses": _reported,
    "calls": _called,
    "user_preferences": _preferred,
    "history": _remembered,
    "errors": _erred,
    **{name: partial(_other, name) for name in _PARTIES if name not in ("messages", "statuses")},
}
"""How the items of each list are read under the field `messages`."""
_OTHER_READERS: Mapping[str, _Reader] = {
    **_READERS,
    **{name: partial(_other, name) for name in ("messages", "statuses")},
}
"""Under any other field (history, standby, calls) messages and statuses are not those of an ongoing conversation."""
