"""The public JSON of `/v1/…`: a body in, its requests read one by one; what is known of a request, as callers are told, out. Pure."""

from typing import Final, Literal

import msgspec
from msgspec import Raw

from services.ingress.edge.book import Known, Standing, Step
from services.ingress.edge.errors import GraphError, invalid
from shared.events import Decision, SendError, UserRef
from shared.times import rfc3339

MOST_REQUESTS: Final = 1000
"""Of one call; more belong on a topic."""


class StepTold(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a request, as on `send.events`."""

    event: Step
    seq: int
    at: str
    error: SendError | None = None


class RequestStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a request: where it stands, its decision, its events so far in the order of their coming."""

    request_id: str
    standing: Standing
    phone_number_id: str | None = None
    user: UserRef | None = None
    wamid: str | None = None
    decision: Decision | None = None
    error: SendError | None = None
    events: list[StepTold] = []


class TakenRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one request of a call: taken under its id, or an error, at its place in the list."""

    index: int
    request_id: str | None = None
    error: GraphError | None = None
    status: RequestStatus | None = None


class TakenRequests(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a call of requests."""

    requests: list[TakenRequest]


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of a request now; nothing is sent, and no limit is touched."""

    request_id: str
    decision: Decision
    error: SendError | None = None


class Cancellation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a cancellation.

    cancelled: it will not go out. too_late: it went out. over: it had been refused or had failed before. pending: nobody knows yet; ask for the request.
    """

    request_id: str
    outcome: Literal["cancelled", "too_late", "over", "pending"]
    status: RequestStatus


_list = msgspec.json.Decoder(list[Raw]).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def bodies(body: bytes) -> tuple[list[bytes], bool]:
    """The requests of a body, and whether it was a list; raises Refusal for what is neither an object nor a list of some."""
    if body.lstrip()[:1] != b"[":
        return [body], False
    try:
        found = [bytes(one) for one in _list(body)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"the body is no JSON list: {_why(error)}") from None
    if not 0 < len(found) <= MOST_REQUESTS:
        raise invalid(f"a list of 1 to {MOST_REQUESTS} requests is taken, this one has {len(found)}")
    return found, True


def with_members(body: bytes, **members: object) -> bytes:
    """A request with some members set, the rest as it came; raises Refusal for what is no object."""
    try:
        found = _object(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"the body is no JSON object: {_why(error)}") from None
    return _encode({**found, **members})


def has_member(body: bytes, name: str) -> bool:
    """Whether a request has a member that is not null."""
    try:
        value = _object(body).get(name)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return value is not None and bytes(value) != b"null"


def status_of(request_id: str, known: Known) -> RequestStatus:
    """What callers are told of a request."""
    return RequestStatus(
        request_id=request_id,
        standing=known.standing,
        phone_number_id=known.number or None,
        user=known.user_ref,
        wamid=known.wamid or None,
        decision=known.decision,
        error=known.error,
        events=[
            StepTold(event=event.event, seq=event.seq, at=rfc3339(event.at_ms), error=event.error)
            for event in known.events
        ],
    )


def cancellation_of(request_id: str, known: Known) -> Cancellation:
    """What became of a cancellation."""
    outcome: Literal["cancelled", "too_late", "over", "pending"] = "pending"
    if known.standing == "cancelled" or (known.decision is not None and known.decision.reason == "cancelled"):
        outcome = "cancelled"
    elif known.standing == "accepted":
        outcome = "too_late"
    elif known.standing in ("refused", "failed") or known.uncancelled:
        outcome = "over"
    return Cancellation(request_id=request_id, outcome=outcome, status=status_of(request_id, known))


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, msgspec.MsgspecError) else "nested too deep, or not UTF-8"
