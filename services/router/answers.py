"""What requests were answered: a repeated request gets the same answer, one with another body under the same id a conflict. Pure."""

from msgspec.structs import replace

from services.router import announce
from services.router.seen import has, noted
from services.router.state import MAX_ANSWERS, MAX_FULL_ANSWERS, Answer, State
from shared.events import CancelRequested, Decision, SendRequested, decode_send_event
from shared.ids import conflict_event_id, fingerprint, request_name
from shared.stream.fold import Outgoing
from shared.times import rfc3339


def name_of(request: SendRequested) -> str:
    """What a request is known by."""
    return request_name(request.request_id, dry_run=request.dry_run)


def find(state: State, request: SendRequested) -> tuple[Answer | None, bool]:
    """The answer given to this very request, and whether its id was used for another one, or for one whose answer had to give way."""
    if not state.answers:
        return None, False  # those that had to give way were followed by others
    wanted, digest = fingerprint(name_of(request)), fingerprint(request.digest)
    used = False
    for answer in state.answers:
        if answer.request == wanted:
            if answer.digest == digest:
                return answer, False
            used = True
    return None, used or has(state.inbound, wanted)


def final_id(name: str, attempt: int = 1) -> str:
    """The id of the event that finally answers a request, by its name; of one that Meta refused for now, the answer about its next attempt."""
    return f"{name}#{attempt}:decided"


def deferred_id(request_id: str, seq: int) -> str:
    """The id of the event that says a request waits; it may say so twice, for its time and for another request."""
    return f"{request_id}#1:deferred:{seq}"


def conflict_id(request: SendRequested) -> str:
    """The id of a conflict's own answer: the first one's id belongs to the first request."""
    return conflict_event_id(name_of(request), request.digest)


def uncancellable(state: State, event: CancelRequested) -> Outgoing:
    """The answer to a cancellation of what does not wait: what the request was answered, or that nobody knows it."""
    wanted = fingerprint(event.request_id)
    for answer in state.answers:
        final = answer.outcome != "defer" and answer.reason != "idempotency_conflict"
        if answer.request == wanted and final and answer.decided is not None:
            return announce.as_told(state, final_id(event.request_id, answer.attempt), answer.decided)
    return announce.malformed(
        event.request_id,
        f"{event.request_id}!cancel:decided",
        rfc3339(event.at_ms),
        "cancel_request_id: no request of this id waits for this receiver",
        f"{state.number}:{state.user}",
        {},
        None,
    )


def remember(
    state: State, request: SendRequested, decision: Decision, told: Outgoing, at_ms: int, attempt: int = 1
) -> State:
    """The state that knows the answer, in place of an earlier, not final one of the same request."""
    wanted, digest = fingerprint(name_of(request)), fingerprint(request.digest)
    answer = Answer(
        wanted, digest, at_ms, decision.outcome, decision.reason, decision.category, told.value, attempt
    )
    for known in state.answers:
        if known.request == wanted and known.digest == digest:
            rest = tuple(k for k in state.answers if k is not known)
            return replace(state, answers=(*rest, answer))  # the latest stands last
    if len(state.answers) >= MAX_ANSWERS:
        state = noted(state, state.answers[0].request, at_ms)
    rest = state.answers[-(MAX_ANSWERS - 1) :]
    if len(rest) >= MAX_FULL_ANSWERS:
        stale = rest[-MAX_FULL_ANSWERS]
        if stale.decided is not None:
            rest = tuple(replace(k, decided=None) if k is stale else k for k in rest)
    return replace(state, answers=(*rest, answer))


def repeat(state: State, request: SendRequested, answer: Answer) -> Outgoing:
    """The answer again: byte for byte for a day, then its outcome and reason under the same id."""
    if answer.decided is not None:
        return announce.as_told(state, decode_send_event(answer.decided).event_id, answer.decided)
    first = next(known for known in state.answers if known.request == answer.request)
    if first.digest != answer.digest or answer.reason == "idempotency_conflict":
        event_id = conflict_id(request)
    else:
        seq = next((d.seq for d in state.deferred if d.id == request.request_id), None)
        event_id = final_id(name_of(request), answer.attempt)
        if seq is not None:
            event_id = deferred_id(request.request_id, seq)
    decision = Decision(
        outcome=answer.outcome,
        final=answer.outcome != "defer",
        reason=answer.reason,
        category=answer.category,
        facts_version="",
    )
    return announce.decided(state, request, decision, answer.at_ms, event_id=event_id, seq=1)
