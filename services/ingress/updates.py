"""What a verified webhook body breaks up into, and how its loosely typed leaves are read. Pure.

Meta's fields appear, disappear and drift between string and number, so leaves are read one by one and only identity is required.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw

from shared.events import (
    AccountEvent,
    AccountWebhook,
    ConversationEvent,
    ConversationWebhook,
    MessageReceived,
    PreferenceChanged,
    StatusReceived,
)
from shared.ids import conversation_key
from shared.times import DAY_MS
from shared.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS, Topic

Kind = Literal["message", "status", "account", "other"]
ABSENT = Raw(b"")
"""Default of a raw field that is not there."""
_MILLISECONDS_FROM = 1_000_000_000_000
"""Timestamps at or above are milliseconds: as seconds they would lie past the year 33000 (Meta's Instagram and Messenger webhooks)."""
_LATEST_MS = 2_900_000 * DAY_MS
"""Year 9900: what lies beyond is no time."""
_MAX_DIGITS = 16


class Update(NamedTuple):
    """One event to publish and where: `key` decides its place in the topic."""

    kind: Kind
    topic: Topic
    key: str
    event: ConversationEvent | AccountEvent


class Undecodable(NamedTuple):
    """One update that can't be read: `place` is its path in the body (`entry/0/changes/1/messages/2`), `raw` its bytes."""

    place: str
    reason: str
    raw: bytes


Part = Update | Undecodable


class Unreadable(ValueError):
    """An update lacks what identifies it; the text says what."""


DAMAGE = (Unreadable, msgspec.MsgspecError, RecursionError)
"""What reading one update may raise; it costs that update only."""


class _Change(msgspec.Struct):
    field: Any = None
    value: Raw = ABSENT


_change = msgspec.json.Decoder(_Change).decode
_list_of_raw = msgspec.json.Decoder(list[Raw] | None).decode
_any = msgspec.json.Decoder().decode


def each(items: Raw, place: str, found: list[Part], read: Callable[[Raw], Update | list[Update]]) -> None:
    """Append what `read` makes of every element of a JSON list; what can't be read becomes `Undecodable`, the rest goes on."""
    try:
        elements = _list_of_raw(items) or ()
    except DAMAGE as error:
        found.append(Undecodable(place, str(error), bytes(items)))
        return
    for index, element in enumerate(elements):
        try:
            update = read(element)
        except DAMAGE as error:
            found.append(Undecodable(f"{place}/{index}", str(error), bytes(element)))
            continue
        if isinstance(update, Update):
            found.append(update)
        else:
            found.extend(update)


def change(raw: Raw) -> tuple[str, Raw]:
    """The field's name and the value of one of an entry's `changes`.

    Raises:
        Unreadable, MsgspecError: it is none, or has no value.
    """
    read = _change(raw)
    if read.value is ABSENT:
        raise Unreadable("change without a value")
    return text(read.field) or "", read.value


def loose(raw: Raw) -> Any:
    """A part that nothing depends on: None where it is missing or can't be read."""
    if raw is ABSENT:
        return None
    try:
        return _any(raw)
    except DAMAGE:
        return None


def text(value: Any) -> str | None:
    """A non-empty string, or an integer as its digits; None for anything else."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def field(value: Any, *path: str) -> Any:
    """What stands at `path` in nested objects; None where anything is missing or no object."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def first(value: Any) -> Any:
    """The first element of a list; None for anything else."""
    return value[0] if isinstance(value, list) and value else None


def millis(value: Any, default_ms: int) -> int:
    """Epoch milliseconds of Meta's timestamp (string or number, seconds or milliseconds); the default when it is none."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS):
            return default_ms
        value = int(value)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return default_ms
    if not 0 < value < _LATEST_MS:
        return default_ms
    return int(value) if value >= _MILLISECONDS_FROM else int(value * 1000)


def digest(raw: Raw) -> str:
    """Identity of an update that Meta gives no id: the same bytes are the same update."""
    return hashlib.sha256(raw).hexdigest()[:24]


def of_message(event: MessageReceived) -> Update:
    """Place a customer's message in its conversation."""
    return Update("message", CONVERSATION_EVENTS, conversation_key(event.phone_number_id, event.user), event)


def of_status(key: str, event: StatusReceived) -> Update:
    """Place a status in the conversation `key`."""
    return Update("status", CONVERSATION_EVENTS, key, event)


def of_conversation(event: ConversationWebhook | PreferenceChanged) -> Update:
    """Place what else concerns a conversation, such as what a customer wants to get; without a user it is the number's or page's own."""
    return Update("other", CONVERSATION_EVENTS, conversation_key(event.phone_number_id, event.user), event)


def of_account(waba_id: str, name: str, value: Raw, told_ms: int | None, received_ms: int) -> Update:
    """Place a webhook about an account.

    Where Meta gives no time (`told_ms`) it counts from its receipt, and its id goes without one, for it must be the same when Meta sends again.
    """
    time = "" if told_ms is None else f"{told_ms}:"
    event = AccountWebhook(
        event_id=f"{waba_id}:{name}:{time}{digest(value)}",
        at_ms=received_ms if told_ms is None else told_ms,
        waba_id=waba_id,
        field=name,
        value=value,
        received_ms=received_ms,
    )
    return Update("account", ACCOUNT_EVENTS, waba_id, event)
