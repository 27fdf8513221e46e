"""How the Graph API refuses, and how much of its allowance a call leaves: an HTTP answer in. Pure.

Source: Meta, Cloud API, error codes (shape of `error`); Meta, Graph API, rate limits (usage headers).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

USAGE_HEADER = "X-Business-Use-Case-Usage"


@dataclass(frozen=True, slots=True)
class Refused:
    """An HTTP answer other than an acceptance; what it means is for the error table to say.

    `regain_s`: seconds until access is regained, from Meta's usage header.
    """

    http_status: int
    code: int | None
    text: str | None
    regain_s: float | None = None


class _ErrorData(msgspec.Struct):
    details: str | None = None


class _Error(msgspec.Struct):
    code: int
    message: str | None = None
    error_data: _ErrorData | None = None


class _Failed(msgspec.Struct):
    error: _Error


class _Usage(msgspec.Struct):
    call_count: float = 0
    total_cputime: float = 0
    total_time: float = 0
    estimated_time_to_regain_access: float = 0


_failed = msgspec.json.Decoder(_Failed).decode
_usage = msgspec.json.Decoder(dict[str, list[_Usage]]).decode


def refused(status: int, body: bytes, headers: Mapping[str, str]) -> Refused:
    """Read a refusal; a body that is not Meta's gives one without a code."""
    regain = regain_s(headers)
    try:
        error = _failed(body).error
    except (msgspec.MsgspecError, ValueError):  # msgspec raises UnicodeDecodeError for text that is not UTF-8
        return Refused(status, None, None, regain)
    details = error.error_data.details if error.error_data is not None else None
    return Refused(status, error.code, details or error.message, regain)


def regain_s(headers: Mapping[str, str]) -> float | None:
    """The longest wait that the usage header names, in seconds (Meta names minutes); None for no wait."""
    minutes = max((usage.estimated_time_to_regain_access for usage in _usages(headers)), default=0)
    return minutes * 60 if minutes > 0 else None


def used_percent(headers: Mapping[str, str]) -> float:
    """How much of the hour's allowance is used, in percent: the worst of calls, time and processor time."""
    return max((max(u.call_count, u.total_cputime, u.total_time) for u in _usages(headers)), default=0)


def _usages(headers: Mapping[str, str]) -> list[_Usage]:
    try:
        usage = _usage(headers.get(USAGE_HEADER, "{}"))
    except (msgspec.MsgspecError, ValueError):  # msgspec raises UnicodeDecodeError for text that is not UTF-8
        return []
    return [item for items in usage.values() for item in items]
