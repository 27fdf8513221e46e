"""Send requests: each is decided once, remembered, and commanded if it may go out; a repeated one is answered again. Pure."""

from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from services.router import announce, answers
from services.router.conversations import answers_click
from services.router.decide import decide, is_pending
from services.router.lives import UNCERTAIN_MS
from services.router.quotas import free_claim, tier_claim
from services.router.state import COMMANDED, MAX_LIVES, Deferred, Life, State
from services.router.tariff import Tariff
from shared.accounts import AccountFacts
from shared.events import ConversationUse, Decision, SendEvent, SendRequested, decode_send_event, encode
from shared.ids import command_id
from shared.stream.fold import Claim, Grants, Outgoing, Release
from shared.topics import SEND_EVENTS

_read_request = msgspec.json.Decoder(SendRequested).decode


class Handled(NamedTuple):
    """What a request brought; with `claims`, ask them first and nothing else counts."""

    state: State
    out: tuple[Outgoing, ...] = ()
    releases: tuple[Release, ...] = ()
    claims: tuple[Claim, ...] = ()


def on_request(
    state: State, request: SendRequested, facts: AccountFacts, tariff: Tariff, grants: Grants
) -> Handled:
    """A business asked to send."""
    answer, used = answers.find(state, request)
    if answer is not None:
        return Handled(state, (answers.repeat(state, request, answer),))
    if used:
        return _conflict(state, request, facts, grants)
    return settle(state, request, request.at_ms, facts, tariff, grants, seq=1)


def on_due(state: State, now_ms: int, facts: AccountFacts, tariff: Tariff, grants: Grants) -> Handled | None:
    """Decide afresh on the first deferred request that is due; None when none is."""
    for deferred in state.deferred:
        if 0 < deferred.due_ms <= now_ms:
            request = _read_request(deferred.request)
            rest = replace(state, deferred=tuple(d for d in state.deferred if d is not deferred))
            done = settle(rest, request, now_ms, facts, tariff, grants, seq=deferred.seq + 1)
            return done._replace(state=state) if done.claims else done
    return None


def released(state: State, now_ms: int) -> State:
    """The state in which those who waited for a request that is no longer pending are due now."""
    if not any(deferred.after is not None for deferred in state.deferred):
        return state
    return replace(
        state,
        deferred=tuple(
            replace(deferred, due_ms=now_ms, after=None)
            if deferred.after is not None and not is_pending(state, deferred.after)
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
    *,
    seq: int,
) -> Handled:
    """Decide, or in a silent replay take the decision that was published; then do what it says."""
    recalled = _recalled(grants, request.request_id)
    if recalled is not None:
        event, decision, value = recalled
        state = replace(state, waba=event.waba_id or state.waba)
        claims = _claimed(state, request, decision, now_ms, facts, tariff, grants)
        if claims:
            return Handled(state, claims=claims)
        told = Outgoing(SEND_EVENTS, f"{state.number}:{state.user}", event.event_id, "decided", value)
        return Handled(_follow(state, request, decision, told, now_ms, tariff, seq), (told,))
    verdict = decide(state, request, facts, now_ms, tariff, grants)
    if verdict.decision is None:
        return Handled(state, claims=verdict.claims)
    decision = verdict.decision
    state = replace(state, waba=facts.waba_of(state.number) or state.waba)
    id_ = request.request_id
    event_id = answers.first_id(id_) if decision.final else answers.deferred_id(id_, seq)
    told = announce.decided(
        state, request, decision, now_ms, event_id=event_id, seq=seq, message=verdict.message
    )
    out: tuple[Outgoing, ...] = (told,)
    if decision.outcome == "allow" and not request.dry_run:
        until = announce.valid_until(state, request, decision, now_ms)
        out = (told, announce.command(state, request, decision, now_ms, until))
    return Handled(_follow(state, request, decision, told, now_ms, tariff, seq), out, verdict.releases)


def _follow(
    state: State,
    request: SendRequested,
    decision: Decision,
    told: Outgoing,
    now_ms: int,
    tariff: Tariff,
    seq: int,
) -> State:
    """The state after a decision, from nothing but the decision, the request and the state: so a replay comes to the same."""
    state = answers.remember(state, request, decision, told, now_ms)
    if decision.outcome == "defer":
        early = request.not_before_ms is not None and request.not_before_ms > now_ms
        due_ms = (request.not_before_ms if early else request.expires_ms) or 0
        after = None if early else request.after_request_id
        waiting = Deferred(due_ms, encode(request), request.request_id, seq, after)
        return replace(state, deferred=(*state.deferred, waiting))
    if decision.outcome != "allow" or request.dry_run:
        return state
    price, use, category = decision.price, decision.conversation, decision.category
    if price is None or use is None or category is None:
        raise ValueError(f"an allowed message without price, conversation or category: {told.id}")
    life = Life(
        command=command_id(request.request_id, 1),
        stage=COMMANDED,
        seq=seq,
        decided_ms=now_ms,
        at_ms=now_ms,
        until_ms=announce.valid_until(state, request, decision, now_ms) + UNCERTAIN_MS,
        category=category,
        conversation=_pending(use, command_id(request.request_id, 1)),
        regime=price.regime,
        card=price.rate_card,
        market=price.market,
        currency=price.currency,
        in_window=now_ms < state.window_ms,
        free_claim=price.type == "free_tier",
        tier_claim=decision.tier is not None,
        answers_click=answers_click(state, tariff.named(price.regime), now_ms),
        audio=request.type == "audio" and not decision.used_fallback,
        correlation=request.correlation_id,
        tags=request.tags,
    )
    return replace(state, lives=(*state.lives, life)[-MAX_LIVES:])


def _pending(use: ConversationUse, command: str) -> str:
    """The conversation the message opens if none is open at its delivery: one shared with messages in flight, or its own."""
    return use.id if use.id is not None and use.expires_at is None else command


def _conflict(state: State, request: SendRequested, facts: AccountFacts, grants: Grants) -> Handled:
    """Refuse a request whose id was used for another one, under an event id of its own."""
    recalled = _recalled(grants, request.request_id)
    if recalled is not None:
        event, decision, value = recalled
        told = Outgoing(SEND_EVENTS, f"{state.number}:{state.user}", event.event_id, "decided", value)
        return Handled(answers.remember(state, request, decision, told, request.at_ms), (told,))
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
    return Handled(answers.remember(state, request, decision, told, request.at_ms), (told,))


def _claimed(
    state: State,
    request: SendRequested,
    decision: Decision,
    now_ms: int,
    facts: AccountFacts,
    tariff: Tariff,
    grants: Grants,
) -> tuple[Claim, ...]:
    """The places that a recalled decision held and that are not asked for again yet."""
    account = facts.account(state.waba)
    if decision.outcome != "allow" or request.dry_run or account is None or decision.price is None:
        return ()
    command, regime = command_id(request.request_id, 1), tariff.named(decision.price.regime)
    found: list[Claim | None] = []
    if decision.tier is not None:
        found.append(tier_claim(state, command, account, state.waba, regime, now_ms))
    if decision.price.type == "free_tier" and decision.conversation is not None:
        conversation = decision.conversation.id or ""
        found.append(free_claim(state, command, conversation, account, state.waba, regime, tariff, now_ms))
    return tuple(claim for claim in found if claim is not None and claim.id not in grants)


def _recalled(grants: Grants, request_id: str) -> tuple[SendEvent, Decision, bytes] | None:
    """The answer that was published to this request, with its bytes, in a silent replay."""
    if grants.recalled is None:
        return None
    for value in grants.recalled.events:
        event = decode_send_event(value)
        if event.decision is not None and event.request_id == request_id:
            return event, event.decision, value
    return None
