"""A verified webhook body in, the updates it holds out: every entry, change, message and status on its own. Pure.

Source: Meta, webhooks, notification payload: up to 1,000 updates of many accounts in one POST, in any mix.
"""

import re
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw

from services.ingress import messenger, whatsapp
from services.ingress.depth import Deep, change_of, shallow
from services.ingress.updates import ABSENT, DAMAGE, Part, Undecodable, Update
from shared.events import (
    AccountWebhook,
    ConversationWebhook,
    MessageReceived,
    StatusReceived,
)
from shared.ids import BUSINESS_ACCOUNT_OBJECT


class NotJson(ValueError):
    """The body is no JSON text."""


class UnknownObject(ValueError):
    """The body's `object` is none that this service takes."""


class _Envelope(msgspec.Struct):
    object: Any = None
    entry: Raw = ABSENT


_EntryReader = Callable[[Raw, str, int, list[Part]], None]
_READERS: dict[str, _EntryReader] = {
    BUSINESS_ACCOUNT_OBJECT: whatsapp.entry,
    "instagram": partial(messenger.entry, channel="instagram"),
    "page": partial(messenger.entry, channel="messenger"),
}
_envelope = msgspec.json.Decoder(_Envelope).decode
_any_json = msgspec.json.Decoder(Raw).decode
_SURROGATES = re.compile(
    rb"\\(?:[^u]|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)
"""Escapes; group 1 is half a character, as cutting a text in the middle of an emoji leaves it. Strict readers refuse the whole body for it."""
_PRINTABLE = bytes(byte if byte >= 32 or byte in b"\t\n\r" else 32 for byte in range(256))
"""Control characters, which JSON knows in no place, as spaces."""
_entries = msgspec.json.Decoder(list[Raw]).decode


def updates(body: bytes, received_ms: int) -> list[Part]:
    """The updates of one POST in Meta's order; those that can't be read come as `Undecodable` among the others.

    Args:
        body: the bytes as they came; what Meta wrote of a message or status is kept verbatim.
        received_ms: when the body came, epoch milliseconds; it stands in for times that Meta leaves out.

    Raises:
        NotJson: nothing of it can be read.
        UnknownObject: JSON, but not of WhatsApp, Instagram or Messenger.
    """
    found: list[Part] = []
    for _ in in_steps(body, received_ms, found):
        pass
    return found


def in_steps(body: bytes, received_ms: int, parts: list[Part]) -> Iterator[None]:
    """The same in steps, appended to `parts` in the last one, between which somebody else may have a turn: one that is deep on purpose takes 0.2 s. Entry by entry, or some brackets at a time."""
    try:
        parts += yield from _updates(_opened(body), body, received_ms)
        return
    except RecursionError:
        readable, deep = yield from shallow(body)
    try:
        found = yield from _updates(_opened(readable), readable, received_ms)
    except RecursionError as error:
        raise NotJson(str(error)) from error
    parts += _parked(found, deep)


def _updates(envelope: _Envelope, body: bytes, received_ms: int) -> Generator[None, None, list[Part]]:
    reader = _READERS.get(envelope.object) if isinstance(envelope.object, str) else None
    if reader is None:
        raise UnknownObject("unknown object")
    if envelope.entry is ABSENT:
        return [Undecodable("entry", "missing", body)]
    try:
        entries = _entries(envelope.entry)
    except DAMAGE as error:
        return [Undecodable("entry", str(error), body)]
    found: list[Part] = []
    for index, raw in enumerate(entries):
        place = f"entry/{index}"
        try:
            reader(raw, place, received_ms, found)
        except DAMAGE as error:
            found.append(Undecodable(place, str(error), bytes(raw)))
        yield
    return found


def _opened(body: bytes) -> _Envelope:
    """The envelope, of a body that half a character, control characters or bytes of another encoding are mended in; RecursionError: it is nested too deep."""
    try:
        if not body.isascii():
            body.decode()
        try:
            return _envelope(body)
        except msgspec.ValidationError:
            _any_json(body)
            raise UnknownObject("not an object") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        mended = _mended(body)
        if mended == body:
            raise NotJson(str(error)) from error
        return _opened(mended)


def _mended(body: bytes) -> bytes:
    text = body if body.isascii() else body.decode(errors="replace").encode()
    return _SURROGATES.sub(lambda match: rb"\ufffd" if match[1] else match[0], text.translate(_PRINTABLE))


def _parked(found: list[Part], deep: list[Deep]) -> list[Part]:
    """The parts, with one `Undecodable` of all that an item came to in which something is nested too deep."""
    parts: list[Part] = []
    parked: set[bytes | str] = set()
    for part in found:
        raw = part.raw if isinstance(part, Undecodable) else _as_it_came(part)
        marked = [one for one in deep if one.mark in raw]
        for one in marked:
            raw = raw.replace(one.mark, one.raw)
        if not marked:
            parts.append(part)
        elif isinstance(part, Undecodable):
            parts.append(part._replace(raw=raw))
        else:
            if raw not in parked:
                place = marked[0].place
                parts.append(Undecodable(change_of(place) if _whole(part) else place, "nested too deep", raw))
            parked |= {raw, part.event.event_id}
    return [part for part in parts if isinstance(part, Undecodable) or part.event.event_id not in parked]


def _whole(update: Update) -> bool:
    """Whether it is a change as a whole, and not one item of a list in it."""
    event = update.event
    return isinstance(event, AccountWebhook) or (
        isinstance(event, ConversationWebhook) and event.list is None
    )


def _as_it_came(update: Update) -> bytes:
    match update.event:
        case MessageReceived(message=raw) | StatusReceived(meta=raw) | ConversationWebhook(item=raw):
            return bytes(raw)
        case AccountWebhook(value=raw):
            return bytes(raw)
        case _:
            return b""
