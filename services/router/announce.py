"""The router's outgoing events, encoded: send events, received messages and commands. Pure."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from services.router.state import Ended, Life, State
from shared.events import (
    CancelMessage,
    ChargePredicted,
    Decision,
    Endpoint,
    FieldProblem,
    MessageReceived,
    ReceivedMessage,
    ReplyTo,
    SendError,
    SendEvent,
    SendMessage,
    SendRequested,
    UserRef,
    encode,
)
from shared.ids import command_id, conversation_key
from shared.phone import is_bsuid
from shared.reasons import META_CODES, REASONS
from shared.stream.fold import Outgoing
from shared.times import HOUR_MS, rfc3339
from shared.topics import CONVERSATION_EVENTS, MESSAGES_RECEIVED, SEND_COMMANDS, SEND_EVENTS

Step = Literal[
    "decided", "accepted", "held", "sent", "delivered", "read", "played", "failed", "priced", "uncertain", "resent", "cancelled"
]  # fmt: skip
PRIORITY = {"authentication": 0, "service": 1, "utility": 2, "marketing": 3}
"""Who goes first at a number's rate limit: one-time passwords, then answers, then utility, then campaigns."""
PERHAPS_TOLD = "PerhapsToldBefore"
"""The `ce_type` of a message that is parked because it may have been told before."""
LONGEST_WAIT_MS = 4 * HOUR_MS
"""What can't leave within 4 h of the number's rate is stale."""
PASSWORD_WAIT_MS = 600_000
"""A one-time password is void after 10 minutes (Meta, authentication templates, default time to live)."""


def decided(
    state: State,
    request: SendRequested,
    decision: Decision,
    at_ms: int,
    *,
    event_id: str,
    seq: int,
    message: str | None = None,
) -> Outgoing:
    """The one answer to a request; `message` says of a refusal what the reason's own meaning does not."""
    error = None
    if decision.outcome == "reject":
        error = policy_error(decision.reason, message, retry_at=decision.not_before_at)
    return _told(
        state,
        SendEvent(
            event_id=event_id,
            event="decided",
            seq=seq,
            at=rfc3339(at_ms),
            request_id=request.request_id,
            correlation_id=request.correlation_id,
            tags=request.tags,
            waba_id=state.waba or None,
            phone_number_id=state.number,
            user=user_ref(state.user, state.bsuid),
            decision=decision,
            error=error,
        ),
    )


def as_told(state: State, event_id: str, value: bytes) -> Outgoing:
    """A decision that was told before, once more, byte for byte."""
    return step_as_told(state, "decided", event_id, value)


def step_as_told(state: State, event: Step, event_id: str, value: bytes) -> Outgoing:
    """Any event that was told before, byte for byte."""
    return Outgoing(SEND_EVENTS, conversation_key(state.number, state.user), event_id, event, value)


def step_of(
    state: State,
    life: Life,
    event: Step,
    event_id: str,
    at_ms: int,
    *,
    decision: Decision | None = None,
    charge: ChargePredicted | None = None,
    error: SendError | None = None,
    meta: msgspec.Raw | None = None,
) -> Outgoing:
    """One step of a message's life; `life.seq` already counts it."""
    return _told(
        state,
        SendEvent(
            event_id=event_id,
            event=event,
            seq=life.seq,
            at=rfc3339(at_ms),
            request_id=life.request_id,
            correlation_id=life.correlation,
            tags=life.tags,
            waba_id=state.waba or None,
            phone_number_id=state.number,
            user=user_ref(state.user, state.bsuid),
            wamid=life.wamid,
            decision=decision,
            charge=charge,
            error=error,
            meta=meta,
        ),
    )


def step_after_end(
    state: State,
    ended: Ended | None,
    event: Step,
    event_id: str,
    at_ms: int,
    wamid: str,
    meta: msgspec.Raw,
    *,
    request_id: str | None = None,
) -> Outgoing:
    """A late word on a finished message (its tags are gone), or on one that is not known at all (`ended` None)."""
    return _told(
        state,
        SendEvent(
            event_id=event_id,
            event=event,
            seq=0 if ended is None else ended.seq,
            at=rfc3339(at_ms),
            request_id=request_id if ended is None else ended.request or None,
            correlation_id=None if ended is None else ended.correlation,
            tags={},
            waba_id=state.waba or None,
            phone_number_id=state.number,
            user=user_ref(state.user, state.bsuid),
            wamid=wamid,
            meta=meta,
        ),
    )


def command(
    state: State,
    request: SendRequested,
    decision: Decision,
    at_ms: int,
    valid_until_ms: int,
    endpoint: Endpoint,
    attempt: int = 1,
) -> Outgoing:
    """The order to send an allowed message, or a read mark, once."""
    category = decision.category or "service"
    id_ = command_id(request.request_id, attempt)
    message = request.message
    if decision.used_fallback and request.fallback is not None:
        message = _fallback_message(request.user, request.fallback)
    value = SendMessage(
        event_id=id_,
        at_ms=at_ms,
        command_id=id_,
        conversation_key=conversation_key(state.number, state.user),
        waba_id=state.waba,
        phone_number_id=state.number,
        user=request.user,
        category=category,
        priority=PRIORITY[category],
        valid_until_ms=valid_until_ms,
        message=message,
        endpoint=endpoint,
        marks=request.marks,
    )
    return Outgoing(SEND_COMMANDS, state.number, id_, "SendMessage", encode(value))


def cancel(state: State, life: Life, at_ms: int) -> Outgoing:
    """The order not to send a message that may still wait at the sender."""
    id_ = f"{life.command}:cancel"
    value = CancelMessage(event_id=id_, at_ms=at_ms, command_id=life.command, phone_number_id=state.number)
    return Outgoing(SEND_COMMANDS, state.number, id_, "CancelMessage", encode(value))


def valid_until(state: State, request: SendRequested, decision: Decision, at_ms: int) -> int:
    """Until when the decision holds: the window where only it allows or frees the message; the request's expiry; its category's patience."""
    until = at_ms + (PASSWORD_WAIT_MS if decision.category == "authentication" else LONGEST_WAIT_MS)
    free_by_window = decision.price is not None and decision.price.type == "free_customer_service"
    if (decision.category == "service" and request.marks is None) or free_by_window:
        until = min(until, state.window_ms)
    if request.expires_ms is not None:
        until = min(until, request.expires_ms)
    return until


def received(state: State, event: MessageReceived, reply_to: ReplyTo | None, *, window_ms: int) -> Outgoing:
    """A customer's message, with the window as it stands after it."""
    event_id = f"{event.wamid}:received"
    value = ReceivedMessage(
        event_id=event_id,
        channel=event.channel,
        waba_id=event.waba_id or None,
        phone_number_id=event.phone_number_id,
        sent_at=rfc3339(event.at_ms),
        received_at=rfc3339(event.received_ms),
        user=user_ref(state.user, event.bsuid or state.bsuid),
        window_expires_at=rfc3339(window_ms) if window_ms else None,
        reply_to=reply_to,
        message=event.message,
    )
    return Outgoing(
        MESSAGES_RECEIVED, conversation_key(state.number, state.user), event_id, "received", encode(value)
    )


def perhaps_twice(state: State, event: MessageReceived) -> Outgoing:
    """A message that may have been told before, and is kept for an operator instead of being told twice."""
    key = conversation_key(state.number, state.user)
    value = encode(event)
    return Outgoing(CONVERSATION_EVENTS.dead_letters, key, event.event_id, PERHAPS_TOLD, value)


def malformed(request_id: str, event_id: str, at: str, problems: str, key: str, tags: dict[str, str],
              correlation_id: str | None, fields: Sequence[FieldProblem] = ()) -> Outgoing:  # fmt: skip
    """The refusal of a request that can't be decided on."""
    decision = Decision(outcome="reject", final=True, reason="malformed", category=None, facts_version="")
    value = SendEvent(
        event_id=event_id,
        event="decided",
        seq=1,
        at=at,
        request_id=request_id,
        correlation_id=correlation_id,
        tags=tags,
        waba_id=None,
        phone_number_id=None,
        user=None,
        decision=decision,
        error=replace(policy_error("malformed", problems), fields=list(fields)),
    )
    return Outgoing(SEND_EVENTS, key, event_id, "decided", encode(value), beside_source=True)


def policy_error(reason: str, message: str | None = None, retry_at: str | None = None) -> SendError:
    """The error of a refusal by our own rules; `retry_at` is when its reason will have passed, if that is known."""
    known = REASONS[reason]
    return SendError(
        origin="policy",
        reason=reason,
        code=META_CODES.get(reason),
        message=message or known.meaning,
        retryable=retry_at is not None,
        retry_at=retry_at,
        fix=known.fix,
    )


def user_ref(user: str, bsuid: str | None) -> UserRef:
    """Who it is, by number, by business-scoped id, or both."""
    if user.isdecimal():
        return UserRef(user_id=user, bsuid=bsuid)
    return UserRef(user_id=None, bsuid=user)


def _told(state: State, event: SendEvent) -> Outgoing:
    return Outgoing(SEND_EVENTS, f"{state.number}:{state.user}", event.event_id, event.event, encode(event))


def _fallback_message(user: str, template: msgspec.Raw) -> msgspec.Raw:
    """The Cloud API message object of a fallback template (Meta, Cloud API, messages: `recipient` names a business-scoped id)."""
    to = {"recipient": user} if is_bsuid(user) else {"to": f"+{user}"}
    body = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        **to,
        "type": "template",
        "template": template,
    }
    return msgspec.Raw(msgspec.json.encode(body))
