"""What a call to the Graph API can come to, and how an HTTP answer is read. Pure.

Source: Meta, Cloud API, messages (response) and error codes (shape of `error`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Accepted:
    """Meta took the message. `user`: Meta's own id of the recipient, when it says one."""

    wamid: str
    user: str | None
    message_status: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """An HTTP answer other than an acceptance; what it means is for the error table to say.

    `regain_s`: seconds until access is regained, from Meta's usage header.
    """

    http_status: int
    code: int | None
    text: str | None
    regain_s: float | None = None


@dataclass(frozen=True, slots=True)
class NotSent:
    """The request certainly never left: no connection, or no token."""

    cause: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The request left, or may have; nothing came back."""

    cause: str


Answer = Accepted | Refused | NotSent | NoAnswer


class _Contact(msgspec.Struct):
    wa_id: str | None = None
    user_id: str | None = None


class _Message(msgspec.Struct):
    id: str
    message_status: str | None = None


class _Taken(msgspec.Struct):
    messages: list[_Message]
    contacts: list[_Contact] = []


class _ErrorData(msgspec.Struct):
    details: str | None = None


class _Error(msgspec.Struct):
    code: int
    message: str | None = None
    error_data: _ErrorData | None = None


class _Failed(msgspec.Struct):
    error: _Error


class _Usage(msgspec.Struct):
    estimated_time_to_regain_access: float = 0


_taken = msgspec.json.Decoder(_Taken).decode
_failed = msgspec.json.Decoder(_Failed).decode
_usage = msgspec.json.Decoder(dict[str, list[_Usage]]).decode

USAGE_HEADER = "X-Business-Use-Case-Usage"


def read(status: int, body: bytes, headers: Mapping[str, str]) -> Accepted | Refused:
    """Read an HTTP answer; a body that is not Meta's gives a `Refused` without a code."""
    if status == 200:
        try:
            taken = _taken(body)
        except (
            msgspec.MsgspecError,
            ValueError,
        ):  # msgspec raises UnicodeDecodeError for text that is not UTF-8
            return Refused(status, None, None)
        if not taken.messages:
            return Refused(status, None, None)
        contact = taken.contacts[0] if taken.contacts else _Contact()
        return Accepted(
            taken.messages[0].id, contact.wa_id or contact.user_id, taken.messages[0].message_status
        )
    try:
        error = _failed(body).error
    except (msgspec.MsgspecError, ValueError):  # msgspec raises UnicodeDecodeError for text that is not UTF-8
        return Refused(status, None, None, _regain_s(headers))
    details = error.error_data.details if error.error_data is not None else None
    return Refused(status, error.code, details or error.message, _regain_s(headers))


def _regain_s(headers: Mapping[str, str]) -> float | None:
    """The longest wait that the usage header names (Meta, Graph API, rate limits: minutes)."""
    try:
        usage = _usage(headers.get(USAGE_HEADER, "{}"))
    except (msgspec.MsgspecError, ValueError):  # msgspec raises UnicodeDecodeError for text that is not UTF-8
        return None
    minutes = [item.estimated_time_to_regain_access for items in usage.values() for item in items]
    return max(minutes) * 60 if minutes and max(minutes) > 0 else None
