"""The life of a sent message: outcomes and statuses in, each step of the life once and in order out. Pure.

accepted < sent < delivered < read < played; failed is final unless delivered was seen. Statuses come twice, late, out of order, or before
the send's own answer. `delivered` is implied by `read`; whatever Meta says implies `accepted`.
"""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from services.router import announce
from services.router.charges import deliver
from services.router.conversations import learn_expiry
from services.router.meta_errors import MetaErrors
from services.router.preferences import Heard, failed_for
from services.router.quotas import releases
from services.router.seen import fingerprint
from services.router.state import (
    ACCEPTED,
    COMMANDED,
    DELIVERED,
    FAILED,
    MAX_ENDED,
    PLAYED,
    READ,
    SENT,
    Ended,
    Life,
    State,
)
from services.router.tariff import Tariff
from shared.accounts import AccountFacts
from shared.events import (
    MetaPricing,
    SendAccepted,
    SendError,
    SendEvent,
    SendFailed,
    SendUncertain,
    StatusReceived,
    decode_send_event,
)
from shared.stream.fold import Claim, Grants, Outgoing, Owned, Release

STAGES: Mapping[str, int] = {
    "sent": SENT,
    "delivered": DELIVERED,
    "read": READ,
    "played": PLAYED,
    "failed": FAILED,
}
UNCERTAIN_MS = 900_000
"""How long a message of unknown outcome waits for a status; Meta's statuses follow within seconds, its retries within minutes."""


class Lived(msgspec.Struct, frozen=True, gc=False):
    """What an outcome or a status brought, if the `claims` are answered as is to be expected; not `complete`: nothing but them counts, ask them first."""

    state: State
    out: tuple[Outgoing, ...] = ()
    releases: tuple[Release, ...] = ()
    claims: tuple[Claim | Owned, ...] = ()
    complete: bool = True


def on_accepted(state: State, event: SendAccepted) -> Lived:
    """Meta took the message."""
    life = _by_command(state, event.command_id)
    if life is None:
        return Lived(state)
    if life.stage == COMMANDED or life.guessed:
        life, out = _accept(state, life, event.wamid, event.at_ms)
        return Lived(_kept(state, life), (out,))
    return Lived(state)


def on_failed(state: State, event: SendFailed, facts: AccountFacts, tariff: Tariff) -> Lived:
    """The message certainly did not go out: its places are free again, its conversation does not open."""
    life = _by_command(state, event.command_id)
    if life is None or (life.stage != COMMANDED and not life.guessed):
        return Lived(state)
    rest, told = failed_for(
        _without(state, life), event.code, event.at_ms, event.at_ms, event.message, event.command_id, facts
    )
    if life.guessed:
        return Lived(rest, told, _back(state, life, facts, tariff))
    error = SendError(
        origin=event.origin,
        reason=event.reason,
        code=event.code,
        message=event.message,
        retryable=event.retryable,
        fix=event.fix,
    )
    life = replace(life, seq=life.seq + 1)
    out = announce.step_of(state, life, "failed", f"{life.command}:failed", event.at_ms, error=error)
    return Lived(rest, (out, *told), _back(state, life, facts, tariff))


def on_uncertain(state: State, event: SendUncertain) -> Lived:
    """Nobody knows whether it went out: wait a while for a status that tells."""
    life = _by_command(state, event.command_id)
    if life is None or life.stage != COMMANDED or life.uncertain:
        return Lived(state)
    life = replace(
        life, uncertain=True, until_ms=event.at_ms + UNCERTAIN_MS, at_ms=event.at_ms, seq=life.seq + 1
    )
    error = SendError(origin="transport", reason="outcome_unknown", message=event.cause)
    out = announce.step_of(state, life, "uncertain", f"{life.command}:uncertain", event.at_ms, error=error)
    return Lived(_kept(state, life), (out,))


def overdue(state: State, now_ms: int, facts: AccountFacts, tariff: Tariff) -> Lived:
    """Give up on messages of which nobody heard in time. They are never sent again; a status that comes after all still counts.

    Their places in the messaging limit stay taken until their day is over: who may have been written to counts.
    """
    out: list[Outgoing] = []
    back: list[Release] = []
    for life in state.lives:
        if not 0 < life.until_ms <= now_ms:
            continue
        back += _back(state, replace(life, tier_claim=False), facts, tariff)
        given_up = replace(
            life, stage=FAILED, guessed=True, until_ms=0, at_ms=now_ms, seq=life.seq + 1, free_claim=False,
            budget_micros=0,
        )  # fmt: skip
        state = _kept(state, given_up)
        error = SendError(
            origin="transport",
            reason="uncertain_unresolved",
            message="no word from Meta whether the message went out",
            fix="Check with the customer before sending it again: it may have arrived.",
        )
        out.append(
            announce.step_of(state, given_up, "failed", f"{life.command}:unresolved", now_ms, error=error)
        )
    return Lived(state, tuple(out), tuple(back))


def on_status(
    state: State,
    event: StatusReceived,
    facts: AccountFacts,
    tariff: Tariff,
    errors: MetaErrors,
    grants: Grants,
) -> Lived:
    """Meta says how a message fares."""
    stage = STAGES.get(event.status)
    if stage is None:
        return Lived(state)
    life = _by_wamid(state, event.wamid) or (
        _by_command(state, event.command_id) if event.command_id is not None else None
    )
    if life is None:
        return _late(state, event, stage)
    if life.wamid is not None and life.wamid != event.wamid:
        return Lived(state)
    known, out = life, list[Outgoing]()
    if life.guessed and stage == FAILED:
        ended, told = _failed(state, replace(life, wamid=event.wamid), event, facts)
        return Lived(ended, told, _back(state, life, facts, tariff))
    if life.guessed or life.stage < ACCEPTED:
        life, accepted = _accept(state, life, event.wamid, event.at_ms)
        out.append(accepted)
    if stage == FAILED:
        return _fail(state, life, event, facts, tariff, errors, out)
    if stage == SENT:
        life = _sent(state, life, event, out)
        changed = state if life is known else _kept(state, life)
        if tariff.named(life.regime).unit == "conversation":
            changed = learn_expiry(changed, event.conversation)
        return Lived(changed, tuple(out))
    return _arrive(state, life, event, stage, facts, tariff, grants, out)


def _sent(state: State, life: Life, event: StatusReceived, out: list[Outgoing]) -> Life:
    told = event.conversation
    if told is not None and life.meta_conversation is None and life.stage < DELIVERED:
        life = replace(life, meta_conversation=told.id, meta_expires_ms=told.expires_ms or 0)
    if life.stage < SENT:
        life = _stepped(life, SENT, event.at_ms)
        out.append(announce.step_of(state, life, "sent", f"{event.wamid}:sent", event.at_ms, meta=event.meta))
    return life


def _arrive(
    state: State,
    life: Life,
    event: StatusReceived,
    stage: int,
    facts: AccountFacts,
    tariff: Tariff,
    grants: Grants,
    out: list[Outgoing],
) -> Lived:
    """Delivered, read or played: the first of them is the delivery, and the charge."""
    known = life
    back: tuple[Release, ...] = ()
    claims: tuple[Claim | Owned, ...] = ()
    pricing = _signature(event.pricing)
    if life.stage < DELIVERED:
        delivery = deliver(state, life, event, facts, tariff, grants, _recalled_delivery(grants))
        if not delivery.complete:
            return Lived(state, claims=delivery.claims, complete=False)
        state, back, claims = delivery.state, delivery.releases, delivery.claims
        life = replace(
            _stepped(life, DELIVERED, event.at_ms), pricing=pricing, free_claim=False, tier_claim=False
        )
        out.append(
            announce.step_of(
                state,
                life,
                "delivered",
                f"{event.wamid}:delivered",
                event.at_ms,
                charge=delivery.charge,
                meta=event.meta,
            )
        )
    elif pricing is not None and _corrects(pricing, event, life):
        life = replace(life, pricing=pricing, seq=life.seq + 1)
        out.append(
            announce.step_of(state, life, "priced", _priced_id(event, pricing), event.at_ms, meta=event.meta)
        )
    if stage > max(life.stage, DELIVERED):
        life = _stepped(life, stage, event.at_ms)
        step: announce.Step = "read" if stage == READ else "played"
        out.append(announce.step_of(state, life, step, f"{event.wamid}:{step}", event.at_ms, meta=event.meta))
    if life is known and not out:
        return Lived(state)
    finished = life.stage == PLAYED or (life.stage == READ and not life.audio)
    state = _ended(state, life, life.stage, event.at_ms) if finished else _kept(state, life)
    return Lived(state, tuple(out), back, claims)


def _fail(
    state: State,
    life: Life,
    event: StatusReceived,
    facts: AccountFacts,
    tariff: Tariff,
    errors: MetaErrors,
    out: list[Outgoing],
) -> Lived:
    if life.stage >= DELIVERED:
        return Lived(state)
    life = replace(life, seq=life.seq + 1)
    named = errors.named(event.error_code)
    error = SendError(
        origin="meta",
        reason=named.reason,
        code=event.error_code,
        message=event.error_text,
        retryable=named.retryable,
        fix=named.hint,
    )
    out.append(
        announce.step_of(
            state, life, "failed", f"{event.wamid}:failed", event.at_ms, error=error, meta=event.meta
        )
    )
    ended, told = _failed(state, life, event, facts)
    return Lived(ended, (*out, *told), _back(state, life, facts, tariff))


def _failed(state: State, life: Life, event: StatusReceived, facts: AccountFacts) -> Heard:
    """The message's tombstone, and what its failure says of the user."""
    return failed_for(
        _ended(state, life, FAILED, event.at_ms),
        event.error_code,
        event.at_ms,
        event.received_ms,
        event.error_text,
        event.wamid,
        facts,
    )


def _late(state: State, event: StatusReceived, stage: int) -> Lived:
    """A status of a message that is finished, or not known: its price is still told, once, and learnt when its conversation ends."""
    pricing = _signature(event.pricing)
    mark = fingerprint(event.wamid)
    ended = next((e for e in state.ended if e.wamid == mark), None)
    if stage not in (DELIVERED, READ, PLAYED):
        return Lived(learn_expiry(state, event.conversation) if stage == SENT else state)
    if ended is None:
        if pricing is None:
            return Lived(state)
        request = event.command_id.rpartition("#")[0] if event.command_id is not None else None
        stone = Ended(mark, stage, event.at_ms, 1, request or "", None, pricing)
        out = announce.step_after_end(
            state,
            None,
            "priced",
            _priced_id(event, pricing),
            event.at_ms,
            event.wamid,
            event.meta,
            request_id=request,
        )
        return Lived(replace(state, ended=_capped(state.ended, stone)), (out,))
    outs = []
    now = ended
    if pricing is not None and _corrects(pricing, event, ended):
        now = replace(now, pricing=pricing, seq=now.seq + 1)
        outs.append(
            announce.step_after_end(
                state, now, "priced", _priced_id(event, pricing), event.at_ms, event.wamid, event.meta
            )
        )
    if ended.stage == READ and stage == PLAYED and ended.request:
        now = replace(now, stage=PLAYED, seq=now.seq + 1)
        outs.append(
            announce.step_after_end(
                state, now, "played", f"{event.wamid}:played", event.at_ms, event.wamid, event.meta
            )
        )
    if now is ended:
        return Lived(state)
    return Lived(replace(state, ended=tuple(now if e is ended else e for e in state.ended)), tuple(outs))


def _accept(state: State, life: Life, wamid: str, at_ms: int) -> tuple[Life, Outgoing]:
    life = replace(
        life,
        stage=ACCEPTED,
        wamid=wamid,
        until_ms=0,
        uncertain=False,
        guessed=False,
        at_ms=at_ms,
        seq=life.seq + 1,
    )
    return life, announce.step_of(state, life, "accepted", f"{life.command}:accepted", at_ms)


def _stepped(life: Life, stage: int, at_ms: int) -> Life:
    return replace(life, stage=stage, at_ms=at_ms, until_ms=0, seq=life.seq + 1)


def _by_command(state: State, command: str | None) -> Life | None:
    for life in state.lives:
        if life.command == command:
            return life
    return None


def _by_wamid(state: State, wamid: str) -> Life | None:
    for life in state.lives:
        if life.wamid == wamid:
            return life
    return None


def _kept(state: State, life: Life) -> State:
    lives = [life if known.command == life.command else known for known in state.lives]
    return replace(state, lives=tuple(lives))


def _without(state: State, life: Life) -> State:
    return replace(state, lives=tuple(known for known in state.lives if known.command != life.command))


def _ended(state: State, life: Life, stage: int, at_ms: int) -> State:
    stone = Ended(
        fingerprint(life.wamid or ""), stage, at_ms, life.seq, life.request_id, life.correlation, life.pricing
    )
    rest = tuple(known for known in state.lives if known.command != life.command)
    return replace(state, lives=rest, ended=_capped(state.ended, stone))


def _capped(ended: tuple[Ended, ...], stone: Ended) -> tuple[Ended, ...]:
    return (*ended, stone)[-MAX_ENDED:]


def _back(state: State, life: Life, facts: AccountFacts, tariff: Tariff) -> tuple[Release, ...]:
    return releases(state, life, facts.account(state.waba), state.waba, tariff)


def _signature(pricing: MetaPricing | None) -> str | None:
    return None if pricing is None else f"{pricing.category}:{pricing.type}:{pricing.billable}"


def _corrects(pricing: str, event: StatusReceived, known: Life | Ended) -> bool:
    """Whether a status's price is news: another one, and not of a status older than the last step, which came late or twice."""
    return pricing != known.pricing and (known.pricing is None or event.at_ms >= known.at_ms)


def _priced_id(event: StatusReceived, pricing: str) -> str:
    return f"{event.wamid}:priced:{pricing}"


def _recalled_delivery(grants: Grants) -> SendEvent | None:
    if grants.recalled is None:
        return None
    for value in grants.recalled.events:
        event = decode_send_event(value)
        if event.event == "delivered":
            return event
    return None
