"""Send requests: each is decided once, remembered, and commanded if it may go out; a repeated one is answered again. Pure."""

import msgspec
from msgspec.structs import replace

from services.router import announce, answers
from services.router.attempts import endpoint_for, life_of, marking_of, places_of
from services.router.brought import Brought
from services.router.decide import LONGEST_WAIT_MS, decide, waits_until_ms
from services.router.following import fate_of
from services.router.lives import begun
from services.router.quotas import claim_id, tier_scope
from services.router.state import COMMANDED, REMEMBER_MS, Deferred, Life, State
from services.router.tariff import Tariff
from shared.accounts import AccountFacts
from shared.events import (
    CancelRequested,
    Decision,
    SendEvent,
    SendRequested,
    decode_send_event,
    encode,
)
from shared.ids import command_id, conversation_key
from shared.stream.fold import Claim, Grants, Outgoing, Owned, Release
from shared.times import parse_rfc3339

LOOK_AGAIN_MS = 600_000
"""So often a request that waits is looked at: a limit may be raised, a pause lifted, before its time has come."""

FOREVER_MS = 2**53
"""Later than anything."""

_read_request = msgspec.json.Decoder(SendRequested).decode


def on_request(
    state: State, request: SendRequested, facts: AccountFacts, tariff: Tariff, grants: Grants
) -> Brought:
    """A business asked to send."""
    answer, used = answers.find(state, request)
    if answer is not None:
        return Brought(state, (answers.repeat(state, request, answer),))
    if used or any(life.request_id == request.request_id for life in state.lives):
        return _conflict(state, request, facts, grants)  # two messages of one id would share their outcomes
    return settle(state, request, request.at_ms, facts, tariff, grants)


def on_cancel(state: State, event: CancelRequested, facts: AccountFacts, tariff: Tariff) -> Brought:
    """A business takes a request back: one that waits is refused for good; one that may wait at the sender is called back; one that has gone out is answered again."""
    for waiting in state.deferred:
        if waiting.id == event.request_id:
            request = _read_request(waiting.request)
            decision = Decision(
                outcome="reject",
                final=True,
                reason="cancelled",
                category=None,
                facts_version="",  # no fact of an account was asked: a replay under others says the same
            )
            told = announce.decided(
                state,
                request,
                decision,
                event.at_ms,
                event_id=answers.final_id(waiting.id, waiting.attempt),
                seq=waiting.seq + 1,
            )
            rest = answers.remember(
                _without(state, waiting), request, decision, told, event.at_ms, waiting.attempt
            )
            return Brought(rest, (told,), turns(state, waiting, facts, tariff))
    for life in reversed(state.lives):
        if life.request_id == event.request_id and life.stage == COMMANDED:
            return _recall(state, life, event)
    # What Meta has can't be called back; but should Meta not deliver it for now, it is not sent anew.
    lives = tuple(
        replace(life, taken_back=True) if life.request_id == event.request_id and life.request else life
        for life in state.lives
    )
    answer = answers.uncancellable(state, event)
    return Brought(state if lives == state.lives else replace(state, lives=lives), (answer,))


def _recall(state: State, life: Life, event: CancelRequested) -> Brought:
    """Order the sender not to send what may still wait there: its outcome is the answer. What may have gone out is at least not sent again."""
    known = life.taken_back
    state = replace(
        state,
        lives=tuple(replace(other, taken_back=True) if other is life else other for other in state.lives),
    )
    if life.uncertain:
        return Brought(state, (answers.uncancellable(state, event),))
    return Brought(state, () if known else (announce.cancel(state, life, event.at_ms),))


def on_due(state: State, now_ms: int, facts: AccountFacts, tariff: Tariff, grants: Grants) -> Brought | None:
    """Decide afresh on the first deferred request that is due; None when none is."""
    for waiting in state.deferred:
        if 0 < waiting.due_ms <= now_ms:
            request = _read_request(waiting.request)
            done = settle(_without(state, waiting), request, now_ms, facts, tariff, grants, waiting)
            if not done.complete:
                return replace(done, state=state)
            over = waiting.id not in {d.id for d in done.state.deferred}
            given_up = turns(state, waiting, facts, tariff) if over else ()
            return replace(done, releases=done.releases + given_up)
    return None


def _without(state: State, waiting: Deferred) -> State:
    return replace(state, deferred=tuple(d for d in state.deferred if d is not waiting))


def released(state: State, now_ms: int) -> State:
    """The state in which those who waited for a request that is delivered or will never be are due now."""
    if not any(deferred.after is not None for deferred in state.deferred):
        return state
    return replace(
        state,
        deferred=tuple(
            replace(deferred, due_ms=now_ms, after=None)
            if deferred.after is not None and fate_of(state, deferred.after) != "pending"
            else deferred
            for deferred in state.deferred
        ),
    )


def settle(
    state: State,
    request: SendRequested,
    now_ms: int,
    facts: AccountFacts,
    tariff: Tariff,
    grants: Grants,
    waiting: Deferred | None = None,
) -> Brought:
    """Decide, or in a silent replay take the decision that was published; then do what it says.

    A replay never decides afresh: what was published and can't be found any more (retention took it before its source) is over, and its command went out then or never.

    `waiting` is the deferral that has come due, if it is not the first time; the state no longer holds it.
    """
    seq, attempt = (1, 1) if waiting is None else (waiting.seq + 1, waiting.attempt)
    if grants.recalled is not None:
        recalled = _recalled(grants, request.request_id)
        if recalled is not None:
            return _as_before(state, request, recalled, now_ms, facts, tariff, grants, seq, attempt)
        return Brought(state if waiting is None else _waits_on(state, waiting, now_ms))
    holder = command_id(request.request_id, attempt)
    verdict = decide(state, request, facts, now_ms, tariff, grants, holder)
    decision, claims = verdict.decision, verdict.claims
    own = _own(state, request) if waiting is None and not request.dry_run else None
    if own is not None:
        claims += grants.unanswered(own)
    if decision is None:
        return Brought(state, claims=claims, complete=False)
    if own is not None and not grants[own].granted:
        refused = _conflict(state, request, facts, grants)
        return replace(refused, releases=verdict.releases + verdict.turn, claims=claims)
    if waiting is not None and _waits_as_told(waiting, decision, now_ms):
        return Brought(_waits_on(state, waiting, now_ms), releases=verdict.releases, claims=claims)
    waba = facts.waba_of(state.number)
    if waba is not None and waba != state.waba:
        state = replace(state, waba=waba)
    id_ = request.request_id
    name = answers.name_of(request)
    event_id = answers.final_id(name, attempt) if decision.final else answers.deferred_id(id_, seq)
    told = announce.decided(
        state, request, decision, now_ms, event_id=event_id, seq=seq, message=verdict.message
    )
    followed = _follow(state, request, decision, told, now_ms, tariff, seq, attempt)
    if decision.outcome == "allow" and not request.dry_run:
        until = announce.valid_until(state, request, decision, now_ms)
        endpoint = endpoint_for(state, request, decision, facts)
        command = announce.command(state, request, decision, now_ms, until, endpoint, attempt)
        return Brought(followed, (told, command), claims=claims)
    return Brought(followed, (told,), verdict.releases, claims)


def _as_before(
    state: State,
    request: SendRequested,
    recalled: tuple[SendEvent, Decision, bytes],
    now_ms: int,
    facts: AccountFacts,
    tariff: Tariff,
    grants: Grants,
    seq: int,
    attempt: int,
) -> Brought:
    """What was decided when the record was folded the first time, and the claims that decision holds."""
    event, decision, value = recalled
    told = announce.as_told(state, event.event_id, value)
    if decision.reason == "idempotency_conflict":
        return Brought(answers.remember(state, request, decision, told, request.at_ms), (told,))
    state = replace(state, waba=event.waba_id or state.waba)
    holder = command_id(request.request_id, attempt)
    claims = _claimed(state, request, decision, holder, now_ms, facts, tariff, grants)
    followed = _follow(state, request, decision, told, now_ms, tariff, seq, attempt)
    return Brought(followed, (told,), claims=claims)


def _own(state: State, request: SendRequested) -> Owned:
    """The request id as this conversation's own: another conversation may not use it for 8 days."""
    name = request.request_id
    return Owned(f"{name}|own", name, conversation_key(state.number, state.user), REMEMBER_MS, request.at_ms)


def _waits_as_told(waiting: Deferred, decision: Decision, now_ms: int) -> bool:
    """Whether there is nothing new to tell: the request goes on waiting, for the same reason, and its time was not due."""
    same = decision.outcome == "defer" and decision.reason == waiting.reason
    return same and waiting.reason != "ok" and not 0 < waiting.told_ms <= now_ms


def _waits_on(state: State, waiting: Deferred, now_ms: int) -> State:
    """Nothing but the deferral and the time decide when it is looked at next: a replay comes to the same."""
    due_ms = _look_again_at(now_ms, waiting.told_ms, waits_until_ms(_read_request(waiting.request)))
    return replace(state, deferred=(*state.deferred, replace(waiting, due_ms=due_ms)))


def _look_again_at(now_ms: int, until_ms: int, waits_ms: int) -> int:
    return min(at_ms for at_ms in (until_ms, now_ms + LOOK_AGAIN_MS, waits_ms) if at_ms > now_ms)


def turns(state: State, waiting: Deferred, facts: AccountFacts, tariff: Tariff) -> tuple[Release, ...]:
    """The turn that a request no longer waiting may have among those who wait for a place in the messaging limit, whatever it waited for last."""
    waba = facts.waba_of(state.number)
    account = facts.account(waba) if waba is not None else None
    if waiting.reason == "ok" or waba is None or account is None:
        return ()
    regime = tariff.regime(account.regime, account.timezone, waiting.due_ms)
    command = command_id(waiting.id, waiting.attempt)
    return (Release(tier_scope(account, waba, state.number, regime), claim_id(state, command, "tier"), ""),)


def _follow(
    state: State,
    request: SendRequested,
    decision: Decision,
    told: Outgoing,
    now_ms: int,
    tariff: Tariff,
    seq: int,
    attempt: int,
) -> State:
    """The state after a decision, from nothing but the decision, the request and the state: so a replay comes to the same."""
    state = answers.remember(state, request, decision, told, now_ms, attempt)
    if request.dry_run or decision.outcome == "reject":
        return state
    if decision.outcome == "defer":
        until_ms = parse_rfc3339(decision.not_before_at) if decision.not_before_at is not None else 0
        after = None
        if decision.reason != "ok":
            due_ms = _look_again_at(now_ms, until_ms, waits_until_ms(request))
        elif until_ms:
            due_ms = until_ms
        else:
            after = request.after_request_id
            due_ms = min(request.expires_ms or FOREVER_MS, request.at_ms + LONGEST_WAIT_MS)
        waiting = Deferred(
            due_ms, encode(request), request.request_id, seq, after, decision.reason, until_ms, attempt
        )
        return replace(state, deferred=(*state.deferred, waiting))
    life = (
        life_of(state, request, decision, now_ms, tariff, seq, attempt)
        if request.marks is None
        else marking_of(state, request, decision, now_ms, seq)
    )
    return begun(state, life)


def _conflict(state: State, request: SendRequested, facts: AccountFacts, grants: Grants) -> Brought:
    """Refuse a request whose id was used for another one, under an event id of its own."""
    recalled = _recalled(grants, request.request_id)
    if recalled is not None:
        event, decision, value = recalled
        told = announce.as_told(state, event.event_id, value)
        return Brought(answers.remember(state, request, decision, told, request.at_ms), (told,))
    expired = request.expires_ms is not None and request.expires_ms <= request.at_ms
    decision = Decision(
        outcome="reject",
        final=True,
        reason="request_expired" if expired else "idempotency_conflict",
        category=None,
        facts_version=str(facts.revision),
    )
    told = announce.decided(
        state, request, decision, request.at_ms, event_id=answers.conflict_id(request), seq=1
    )
    return Brought(answers.remember(state, request, decision, told, request.at_ms), (told,))


def _claimed(
    state: State,
    request: SendRequested,
    decision: Decision,
    holder: str,
    now_ms: int,
    facts: AccountFacts,
    tariff: Tariff,
    grants: Grants,
) -> tuple[Claim | Owned, ...]:
    """The places that a recalled decision held and that are not asked for again yet."""
    own = () if request.dry_run else (_own(state, request),)
    return grants.unanswered(*own, *places_of(state, request, decision, holder, now_ms, facts, tariff))


def _recalled(grants: Grants, request_id: str) -> tuple[SendEvent, Decision, bytes] | None:
    """The answer that was published to this request, with its bytes, in a silent replay."""
    if grants.recalled is None:
        return None
    for value in grants.recalled.events:
        event = decode_send_event(value)
        if event.decision is not None and event.request_id == request_id:
            return event, event.decision, value
    return None
