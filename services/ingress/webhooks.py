"""A verified webhook body in, the updates it holds out: every entry, change, message and status on its own. Pure.

Source: Meta, webhooks, notification payload: up to 1,000 updates of many accounts in one POST, in any mix.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw

from services.ingress import messenger, whatsapp
from services.ingress.updates import ABSENT, DAMAGE, Part, Undecodable
from shared.ids import BUSINESS_ACCOUNT_OBJECT


class NotJson(ValueError):
    """The body is no JSON text, or nested too deep to be one of Meta's."""


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
    envelope = _opened(body)
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
    return found


def _opened(body: bytes) -> _Envelope:
    try:
        if not body.isascii():
            body.decode()
        try:
            return _envelope(body)
        except msgspec.ValidationError:
            _any_json(body)
            raise UnknownObject("not an object") from None
        except msgspec.DecodeError:
            mended = _SURROGATES.sub(lambda match: rb"\ufffd" if match[1] else match[0], body)
            if mended == body:
                raise
            return _opened(mended)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotJson(str(error)) from error
