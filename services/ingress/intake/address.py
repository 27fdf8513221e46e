"""Of a request in the bulk topic only what says how soon it may be released: read in microseconds, for most are read long before their turn. Pure."""

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from shared.times import to_ms


class Address(NamedTuple):
    """Where a request is to wait."""

    number: str | None
    """The phone number id whose turn it waits for; None where it need not wait, for nothing of it goes to Meta soon."""
    request_id: str | None
    """Its id, if it is a request and one can be read."""
    takes_back: str | None
    """The id of the request that it takes back, if it is a cancellation."""


class _Parts(msgspec.Struct):
    request_id: Any = None
    cancel_request_id: Any = None
    from_: Any = msgspec.field(name="from", default=None)
    not_before_at: Any = None
    expires_at: Any = None
    after_request_id: Any = None
    dry_run: Any = False


_NOBODY = Address(None, None, None)
_parts = msgspec.json.Decoder(_Parts).decode


def address(value: bytes | None, now_ms: int, default_number: str | None) -> Address:
    """Where the request in a record waits.

    A dry run, what the router will only refuse (malformed, expired) and what it will make wait by itself (`not_before_at`) go on at once: decided is soon
    said. A request that follows another one never overtakes it.
    """
    try:
        parts = _parts(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _NOBODY
    number = parts.from_ if isinstance(parts.from_, str) else default_number
    if parts.request_id is None and isinstance(parts.cancel_request_id, str):
        return Address(number, None, parts.cancel_request_id)
    if not isinstance(parts.request_id, str):
        return _NOBODY
    early = parts.dry_run is True or (
        parts.after_request_id is None
        and (_is_later(parts.not_before_at, now_ms) or _is_past(parts.expires_at, now_ms))
    )
    return Address(None if early else number, parts.request_id, None)


def _is_later(text: Any, now_ms: int) -> bool:
    at_ms = _ms(text)
    return at_ms is not None and at_ms > now_ms


def _is_past(text: Any, now_ms: int) -> bool:
    at_ms = _ms(text)
    return at_ms is not None and at_ms <= now_ms


def _ms(text: Any) -> int | None:
    """Epoch milliseconds; None where there is no time with its zone, which the whole check will say."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return to_ms(at) if at.tzinfo is not None else None
