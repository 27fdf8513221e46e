"""How the Graph API refuses, and how much of its allowance a call leaves: an HTTP answer in. Pure.

Source: Meta, Cloud API, error codes (shape of `error`); Meta, Graph API, rate limits (usage headers).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

ACCOUNT_USAGE: Final = "x-business-use-case-usage"
APP_USAGE: Final = "x-app-usage"

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What reading JSON raises: msgspec UnicodeDecodeError too for text that is not UTF-8, and any reader RecursionError for what is nested too deep."""
LONGEST_WAIT_MINUTES = 7 * 24 * 60
"""Meta's allowances are of an hour or a day; a longer wait than this makes no sense."""


class Usage(msgspec.Struct, frozen=True):
    """The hour's allowance, as an answer's headers tell it.

    Percent used by the app and by the account (the worst of calls, time and processor time; None: not said), and seconds until access is
    regained (None: not lost).
    """

    app_percent: float | None
    account_percent: float | None
    regain_s: float | None


class Refused(msgspec.Struct, frozen=True):
    """An HTTP answer other than an acceptance; what it means is for the error table to say.

    `code` is None where the body is no error of Meta's. `text` is what to show: Meta's details, else its message; `message` the latter beside the former.
    """

    http_status: int
    code: int | None
    text: str | None
    usage: Usage | None = None
    subcode: int | None = None
    message: str | None = None

    @property
    def said(self) -> str:
        """All that Meta says in words."""
        return ": ".join(words for words in (self.message, self.text) if words)

    @property
    def regain_s(self) -> float | None:
        """Seconds until access is regained, from Meta's usage header."""
        return None if self.usage is None else self.usage.regain_s


class _Error(msgspec.Struct):
    """The code alone makes it one of Meta's; nothing beside it may keep it from being read."""

    code: int
    message: Any = None
    error_subcode: Any = None
    error_data: Any = None


class _Failed(msgspec.Struct):
    error: _Error


class _Used(msgspec.Struct):
    call_count: float = 0
    total_cputime: float = 0
    total_time: float = 0
    estimated_time_to_regain_access: Annotated[float, msgspec.Meta(le=LONGEST_WAIT_MINUTES)] = 0
    """Minutes."""

    @property
    def percent(self) -> float:
        return max(self.call_count, self.total_cputime, self.total_time)


_failed = msgspec.json.Decoder(_Failed).decode
_by_account = msgspec.json.Decoder(dict[str, list[_Used]]).decode
_by_app = msgspec.json.Decoder(_Used).decode


def refused(status: int, body: bytes, headers: Mapping[str, str]) -> Refused:
    """Read a refusal; a body that is not Meta's gives one without a code."""
    used = usage(headers)
    try:
        error = _failed(body).error
    except UNREADABLE:
        return Refused(status, None, None, used)
    details = _text(error.error_data.get("details")) if isinstance(error.error_data, dict) else None
    message = _text(error.message)
    return Refused(
        status,
        error.code,
        details or message,
        used,
        error.error_subcode if isinstance(error.error_subcode, int) else None,
        message if details else None,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def usage(headers: Mapping[str, str]) -> Usage | None:
    """Read the usage headers, named in small letters or found in whatever case; None when there is none that can be read."""
    app, account = _app(headers.get(APP_USAGE)), _accounts(headers.get(ACCOUNT_USAGE))
    if app is None and not account:
        return None
    minutes = max((used.estimated_time_to_regain_access for used in account), default=0)
    return Usage(
        None if app is None else app.percent,
        max((used.percent for used in account), default=None),
        minutes * 60 if minutes > 0 else None,
    )


def _app(text: str | None) -> _Used | None:
    try:
        return None if text is None else _by_app(text)
    except UNREADABLE:
        return None


def _accounts(text: str | None) -> list[_Used]:
    try:
        return [] if text is None else [used for one in _by_account(text).values() for used in one]
    except UNREADABLE:
        return []
