"""Messages of which nobody knows whether they went out: what a timer or an operator makes of them where no status does (decision 11). Pure.

A message whose category allows it is sent once more, as a new attempt of its request, if statuses of later messages of its number have come and everything
that may have changed still allows it. The new attempt takes over the places of the first; that one may still turn out to have gone out.
"""

from collections.abc import Collection
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from services.router import announce
from services.router.attempts import endpoint_for, life_of, places_of
from services.router.brought import Brought
from services.router.decide import decide
from services.router.heard import Heard
from services.router.lives import accept, another_went_out, back, by_command, kept, unmarked
from services.router.quotas import claim_id
from services.router.state import COMMANDED, FAILED, Life, State
from services.router.tariff import Tariff
from shared.accounts import AccountFacts
from shared.events import (
    Category,
    Decision,
    SendError,
    SendEvent,
    SendRequested,
    SendUncertain,
    UncertainSettled,
    decode_send_event,
)
from shared.ids import command_id
from shared.reasons import FAILURES
from shared.stream.fold import Grants, Outgoing, Rank, Release
from shared.times import rfc3339
from shared.uncertain import LOOK_AGAIN_MS, MAX_ATTEMPTS, UNCERTAIN, WAIT_MS, Uncertain, member_of, what_next

NEXT_MS = 1000
"""In one step at most one request is decided: what else is due is looked at so much later."""

_read_request = msgspec.json.Decoder(SendRequested).decode


class Resending(NamedTuple):
    """Which categories are sent once more, and what is known of webhooks."""

    categories: Collection[Category]
    heard: Heard


def on_uncertain(state: State, event: SendUncertain) -> Brought:
    """Nobody knows whether it went out: wait a while for a status that tells. None tells of a read mark."""
    life = by_command(state, event.command_id)
    if life is None or life.stage != COMMANDED or life.uncertain:
        return Brought(state)
    if life.mark:
        return unmarked(state, life, event.at_ms)
    life = replace(
        life,
        uncertain=True,
        cause=event.cause,
        until_ms=event.at_ms + WAIT_MS,
        at_ms=event.at_ms,
        seq=life.seq + 1,
    )
    error = SendError(
        origin="transport",
        reason="outcome_unknown",
        message=event.cause,
        retry_at=rfc3339(life.until_ms),
        fix=FAILURES["outcome_unknown"].fix,
    )
    out = announce.step_of(state, life, "uncertain", f"{life.command}:uncertain", event.at_ms, error=error)
    return Brought(kept(state, life), (out,))


def overdue(
    state: State, now_ms: int, facts: AccountFacts, tariff: Tariff, resending: Resending, grants: Grants
) -> tuple[Brought, bool]:
    """Look at the messages of which nobody heard in time; and whether one of them was decided on, for then nothing else may be.

    Places in the messaging limit stay taken until their day is over: who may have been written to counts.
    """
    out: tuple[Outgoing, ...] = ()
    releases: tuple[Release, ...] = ()
    chosen, later = None, []
    told = _recalled(grants)
    for life in [life for life in state.lives if 0 < life.until_ms <= now_ms]:
        if life.mark:
            over = unmarked(state, life, now_ms)
            state, out = over.state, out + over.out
            continue
        if another_went_out(state, life):
            releases += _places(state, life, facts, tariff)
            state = kept(state, _passed_over(life, life.seq))
            continue
        match _next(state, life, now_ms, resending, grants, told):
            case "decide" if chosen is None:
                chosen = life
            case "decide" | "look_again":
                later.append(life)
            case reason:
                done = _give_up(state, life, now_ms, facts, tariff, reason, told=told)
                state, out, releases = done.state, out + done.out, releases + done.releases
    for life in later:
        pause_ms = LOOK_AGAIN_MS if chosen is None else NEXT_MS
        state = kept(state, replace(life, until_ms=min(now_ms + pause_ms, life.valid_ms)))
    if chosen is None:
        return Brought(state, out, releases), False
    done = _again(state, chosen, now_ms, facts, tariff, grants)
    return replace(done, out=out + done.out, releases=releases + done.releases), True


def on_settled(
    state: State, event: UncertainSettled, facts: AccountFacts, tariff: Tariff, grants: Grants
) -> Brought:
    """An operator settles what is still open: it went out, it did not, or it is to be sent once more, whatever its category and the webhooks."""
    life = by_command(state, event.command_id)
    if life is None or not life.uncertain or (event.verdict == "resend" and not life.request):
        return Brought(state)  # of a message from before requests were kept, nothing is left to send
    error = SendError(
        origin="policy",
        reason="settled_by_operator",
        message=": ".join(word for word in (event.by, event.note) if word),
    )
    if event.verdict == "sent":
        state, life, out = accept(state, life, None, event.at_ms, error)
        return Brought(kept(state, life), tuple(out))
    if event.verdict == "resend":
        return _again(state, life, event.at_ms, facts, tariff, grants, error)
    life = replace(life, seq=life.seq + 1)
    told = announce.step_of(state, life, "failed", f"{life.command}:unresolved", event.at_ms, error=error)
    certain = replace(_passed_over(life, life.seq), at_ms=event.at_ms, tier_claim=False)
    return Brought(kept(state, certain), (told,), back(state, life, facts, tariff))


def moved(known: State | None, new: State) -> tuple[Rank, ...]:
    """What changes in the index of open messages, by which operators find them."""
    for life in new.lives if known is None else known.lives + new.lives:
        if life.uncertain:
            break
    else:
        return ()
    before, after = _open(known), _open(new)
    gone = [Rank(UNCERTAIN, member, None) for member in before if member not in after]
    return (*gone, *(Rank(UNCERTAIN, member, at) for member, at in after.items() if before.get(member) != at))


def _open(state: State | None) -> dict[str, int]:
    if state is None:
        return {}
    return {
        member_of(
            Uncertain(
                state.number,
                state.user,
                life.command,
                life.category,
                life.cause,
                life.at_ms,
                life.valid_ms,
                life.taken_back,
                life.deferrals,
            )
        ): life.until_ms
        for life in state.lives
        if life.uncertain
    }


def _next(
    state: State,
    life: Life,
    now_ms: int,
    resending: Resending,
    grants: Grants,
    told: dict[str, tuple[SendEvent, bytes]],
) -> str:
    """`decide`, `look_again`, or the reason for which it is given up; in a silent replay as it was."""
    if not life.uncertain:
        return "uncertain_unresolved"  # no word of the sender either
    if grants.recalled is not None:
        given_up = told.get(f"{life.command}:unresolved")
        reason = given_up[0].error.reason if given_up is not None and given_up[0].error is not None else None
        if _resent_id(life) in told or reason == "uncertain_not_allowed":
            return "decide"
        return reason or "look_again"
    heard = resending.heard.later_than(state.number, life.at_ms, now_ms)
    following = what_next(
        life.category,
        life.chances,
        taken_back=life.taken_back,
        look_ms=now_ms,
        valid_until_ms=life.valid_ms,
        resent=resending.categories,
    )
    if following == "resend":
        return "decide" if heard else "look_again"
    waited = life.category in resending.categories and life.chances < MAX_ATTEMPTS and not life.taken_back
    return "uncertain_webhooks_missing" if waited and not heard else "uncertain_unresolved"


def _again(
    state: State,
    life: Life,
    now_ms: int,
    facts: AccountFacts,
    tariff: Tariff,
    grants: Grants,
    error: SendError | None = None,
) -> Brought:
    """Decide afresh, and send it once more or give it up. The places it has are asked for under the same names, so none is taken twice."""
    request = replace(_read_request(life.request), after_request_id=None, not_before_ms=None)
    rest = kept(state, replace(_passed_over(life, life.seq + 1), held_as=_next_command(life)))
    if grants.recalled is not None:
        told = _recalled(grants)
        recalled = told.get(_resent_id(life))
        if recalled is None or recalled[0].decision is None:
            return _give_up(state, life, now_ms, facts, tariff, "uncertain_not_allowed", told=told)
        (event, value), before = recalled, recalled[0].decision
        wanted = places_of(state, request, before, life.holder, now_ms, facts, tariff)
        second = _second(rest, life, request, before, now_ms, tariff)
        return Brought(
            _joined(rest, second),
            (announce.step_as_told(state, "resent", event.event_id, value),),
            _stale(state, life, request, before, now_ms, facts, tariff),
            grants.unanswered(*wanted),
        )
    # A claim asked once more holds its place for another day: so it is asked only if the answer will be to send.
    looked = decide(rest, replace(request, dry_run=True), facts, now_ms, tariff, grants, life.holder)
    goes = looked.decision is not None and looked.decision.outcome == "allow"
    verdict = decide(rest, request, facts, now_ms, tariff, grants, life.holder) if goes else looked
    decision, claims = verdict.decision, (*looked.claims, *verdict.claims) if goes else looked.claims
    if decision is None:
        return Brought(state, claims=claims, complete=False)
    if decision.outcome != "allow":
        why = f"{decision.reason}: {verdict.message}" if verdict.message else decision.reason
        done = _give_up(state, life, now_ms, facts, tariff, "uncertain_not_allowed", why)
        tier = claim_id(state, life.holder, "tier")
        stays = life.tier_claim or life.held_as
        asked = (r for r in verdict.releases + verdict.turn if not (stays and r.id == tier))
        return replace(done, releases=(*done.releases, *asked), claims=claims)
    second = _second(rest, life, request, decision, now_ms, tariff)
    return Brought(
        _joined(rest, second),
        (
            announce.step_of(
                rest, second, "resent", _resent_id(life), now_ms, decision=decision, error=error
            ),
            announce.command(
                rest,
                request,
                decision,
                now_ms,
                second.valid_ms,
                endpoint_for(rest, request, decision, facts),
                second.attempt,
            ),
        ),
        _stale(state, life, request, decision, now_ms, facts, tariff),
        claims,
    )


def _second(
    rest: State,
    life: Life,
    request: SendRequested,
    decision: Decision,
    now_ms: int,
    tariff: Tariff,
) -> Life:
    """The new attempt: it takes over the first one's places, and its place in the messaging limit is not given back before its day is over."""
    second = life_of(rest, request, decision, now_ms, tariff, life.seq + 1, life.attempt + 1)
    valid_ms = min(life.valid_ms, second.valid_ms)
    # What is held keeps its weight though the price has changed; where the charge is another amount, it is noted in its place.
    budget = life.budget_micros if life.budget_micros and second.budget_micros else second.budget_micros
    return replace(
        second,
        held_as=life.holder,
        deferrals=life.deferrals,
        tier_claim=False,
        budget_micros=budget,
        valid_ms=valid_ms,
        until_ms=valid_ms + WAIT_MS,
    )


def _joined(rest: State, second: Life) -> State:
    return replace(rest, lives=(*rest.lives, second))


def _stale(
    state: State,
    life: Life,
    request: SendRequested,
    decision: Decision,
    now_ms: int,
    facts: AccountFacts,
    tariff: Tariff,
) -> tuple[Release, ...]:
    """What the first attempt held and the second does not need: it falls into another conversation, month or price."""
    held = {
        Release(claim.scope, claim.id, claim.member)
        for claim in places_of(state, request, decision, life.holder, now_ms, facts, tariff)
    }
    return tuple(release for release in _places(state, life, facts, tariff) if release not in held)


def _give_up(
    state: State,
    life: Life,
    now_ms: int,
    facts: AccountFacts,
    tariff: Tariff,
    reason: str,
    message: str | None = None,
    told: dict[str, tuple[SendEvent, bytes]] | None = None,
) -> Brought:
    """It is never sent again by itself; a status that comes after all still counts."""
    event_id = f"{life.command}:unresolved"
    given_up = replace(_passed_over(life, life.seq + 1), at_ms=now_ms)
    rest = kept(state, given_up)
    if told and event_id in told:
        out = announce.step_as_told(rest, "failed", event_id, told[event_id][1])
    else:
        known = FAILURES[reason]
        error = SendError(origin="transport", reason=reason, message=message or known.meaning, fix=known.fix)
        out = announce.step_of(rest, given_up, "failed", event_id, now_ms, error=error)
    return Brought(rest, (out,), _places(state, life, facts, tariff))


def _places(state: State, life: Life, facts: AccountFacts, tariff: Tariff) -> tuple[Release, ...]:
    """What it holds beside its place in the messaging limit."""
    return back(state, replace(life, tier_claim=False), facts, tariff)


def _passed_over(life: Life, seq: int) -> Life:
    """A message that nobody waits for any more, but whose late statuses count."""
    return replace(
        life,
        stage=FAILED,
        guessed=True,
        uncertain=False,
        cause="",
        request=b"",
        until_ms=0,
        seq=seq,
        free_claim=False,
        budget_micros=0,
    )


def _next_command(life: Life) -> str:
    return command_id(life.request_id, life.attempt + 1)


def _resent_id(life: Life) -> str:
    return f"{_next_command(life)}:resent"


def _recalled(grants: Grants) -> dict[str, tuple[SendEvent, bytes]]:
    """What the record brought forth the first time, by event id, in a silent replay."""
    if grants.recalled is None:
        return {}
    events = ((decode_send_event(value), value) for value in grants.recalled.events)
    return {event.event_id: (event, value) for event, value in events}
