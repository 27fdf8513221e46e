"""Messages of which nobody knows whether they went out: the router's index in, what operators see and the event of one settled by hand out. Pure."""

import hashlib
from collections.abc import Callable, Collection, Iterable
from typing import Literal

import msgspec

from shared.events import Category, UncertainSettled
from shared.times import rfc3339
from shared.uncertain import Next, Uncertain, what_next

Verdict = Literal["sent", "not_sent", "resend"]


class NotOpen(ValueError):
    """No open message of this request, or none that is meant for certain; the text says so."""


class OpenMessage(msgspec.Struct, frozen=True):
    """One of them. `user` is a keyed hash, as in the logs; at `next_at` it comes to `next`, if no status has come by then."""

    request_id: str
    attempt: int
    phone_number_id: str
    user: str
    category: Category
    cause: str
    since: str
    next: Next
    next_at: str
    valid_until: str


class Settling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator says became of a message: `sent`, `not_sent`, or that it is to be sent once more (`resend`).

    `phone_number_id` and `user` (the keyed hash) tell apart messages whose requests bear one id.
    """

    request_id: str
    verdict: Verdict
    note: str | None = None
    phone_number_id: str | None = None
    user: str | None = None


def shown(
    found: Iterable[tuple[Uncertain, int]], hashed: Callable[[str], str], resent: Collection[str]
) -> list[OpenMessage]:
    """The open messages as operators see them; each comes with when it is looked at next (epoch ms)."""
    return [
        OpenMessage(
            request_id=message.request_id,
            attempt=message.attempt,
            phone_number_id=message.phone_number_id,
            user=hashed(message.user),
            category=message.category,
            cause=message.cause,
            since=rfc3339(message.since_ms),
            next=what_next(
                message.category,
                message.chances,
                taken_back=message.taken_back,
                look_ms=look_ms,
                valid_until_ms=message.valid_until_ms,
                resent=resent,
            ),
            next_at=rfc3339(look_ms),
            valid_until=rfc3339(message.valid_until_ms),
        )
        for message, look_ms in found
    ]


def settled(
    settling: Settling,
    found: Iterable[tuple[Uncertain, int]],
    hashed: Callable[[str], str],
    by: str,
    now_ms: int,
) -> UncertainSettled:
    """The operator's word on one open message, as of now; told twice in the same millisecond it is the same record.

    Raises:
        NotOpen: no such message is open, or several are.
    """
    meant = [
        message
        for message, _ in found
        if message.request_id == settling.request_id
        and settling.phone_number_id in (None, message.phone_number_id)
        and settling.user in (None, hashed(message.user))
    ]
    if not meant:
        raise NotOpen(f"no message of request {settling.request_id} is open")
    if len(meant) > 1:
        raise NotOpen(
            f"{len(meant)} messages of request {settling.request_id} are open: name number and user"
        )
    message = meant[0]
    identity = (
        f"{message.phone_number_id}:{message.user}:{message.command_id}:{settling.verdict}:{now_ms}:{by}"
    )
    return UncertainSettled(
        event_id=f"operator:{hashlib.sha256(identity.encode()).hexdigest()[:32]}",
        at_ms=now_ms,
        phone_number_id=message.phone_number_id,
        user=message.user,
        command_id=message.command_id,
        verdict=settling.verdict,
        by=by,
        note=settling.note,
    )
