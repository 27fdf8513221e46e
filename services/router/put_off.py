"""A message that Meta refused for now, or that could not leave in time: its request waits again, if it says that it still matters by then, and is decided anew as another attempt. Pure."""

import msgspec
from msgspec.structs import replace

from services.router import announce, answers
from services.router.state import MAX_DEFERRED, Deferred, Life, State
from shared.events import Decision, SendError, SendEvent, SendRequested, decode_send_event, encode
from shared.stream.fold import Grants, Outgoing
from shared.times import parse_rfc3339, rfc3339

REASON = "refused_for_now"

_read_request = msgspec.json.Decoder(SendRequested).decode


def put_off(
    state: State,
    life: Life,
    retry_ms: int | None,
    error: SendError,
    at_ms: int,
    grants: Grants,
    meta: msgspec.Raw | None = None,
) -> tuple[State, Outgoing] | None:
    """The state in which the request waits until `retry_ms`, and what the business is told of it; None: it fails.

    `state` holds the message's life no more, `life.seq` counts this step. Only what was certainly refused and is wanted still waits. A request of which an earlier
    attempt may have gone out does not: its status may come meanwhile. Each round waits as long as the error table says, and the request's expiry bounds the rounds.
    In a silent replay it is as it was told.
    """
    if not life.request:
        return None
    event_id = answers.deferred_id(life.request_id, life.seq)
    if grants.recalled is not None:
        before = _recalled(grants, event_id)
        if before is None:
            return None
        event, told = before[0], announce.step_as_told(state, "decided", event_id, before[1])
        if event.decision is None or event.decision.not_before_at is None:
            return None
        decision, retry_ms = event.decision, parse_rfc3339(event.decision.not_before_at)
    else:
        if retry_ms is None or not _may_wait(state, life, retry_ms):
            return None
        decision = Decision(
            outcome="defer",
            final=False,
            reason=REASON,
            category=life.category,
            facts_version="",  # no fact of an account was asked: a replay under others says the same
            not_before_at=rfc3339(retry_ms),
        )
        error = replace(error, retryable=True, retry_at=decision.not_before_at)
        told = announce.step_of(
            state, life, "decided", event_id, at_ms, decision=decision, error=error, meta=meta
        )
    # What it had to wait for has been: whom it follows may be forgotten by then.
    request = replace(_read_request(life.request), after_request_id=None, not_before_ms=None)
    following = life.attempt + 1
    waiting = Deferred(
        retry_ms, encode(request), request.request_id, life.seq, None, REASON, retry_ms, following
    )
    rest = answers.remember(state, request, decision, told, at_ms, following)
    return replace(rest, deferred=(*rest.deferred, waiting)), told


def _may_wait(state: State, life: Life, retry_ms: int) -> bool:
    certain = life.chances == 1 and not life.guessed
    return certain and not life.taken_back and retry_ms < life.waits_ms and len(state.deferred) < MAX_DEFERRED


def _recalled(grants: Grants, event_id: str) -> tuple[SendEvent, bytes] | None:
    if grants.recalled is None:
        return None
    for value in grants.recalled.events:
        event = decode_send_event(value)
        if event.event_id == event_id:
            return event, value
    return None
