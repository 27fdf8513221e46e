"""The life of a sent message: outcomes and statuses in, each step of the life once and in order out. Pure.

accepted < sent < delivered < read < played; failed is final unless delivered was seen. Statuses come twice, late, out of order, or before
the send's own answer. `delivered` is implied by `read`; whatever Meta says implies `accepted`.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec.structs import replace

from services.router import announce
from services.router.brought import Brought
from services.router.charges import deliver
from services.router.concerns import Concerns
from services.router.conversations import learn_expiry
from services.router.preferences import Heard, failed_for
from services.router.put_off import put_off
from services.router.quotas import releases
from services.router.seen import has, noted
from services.router.state import (
    ACCEPTED,
    COMMANDED,
    DELIVERED,
    FAILED,
    MAX_ENDED,
    MAX_LIVES,
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
    StatusReceived,
    decode_send_event,
)
from shared.ids import fingerprint
from shared.reasons import FAILURES
from shared.stream.fold import Claim, Grants, Outgoing, Owned, Release
from shared.times import rfc3339

STAGES: Mapping[str, int] = {
    "sent": SENT,
    "delivered": DELIVERED,
    "read": READ,
    "played": PLAYED,
    "failed": FAILED,
}
HELD: Mapping[str, str] = {
    "held_for_quality_assessment": "held_for_quality_assessment",
    "paused": "held_paused",
}
"""What Meta says of a template's message that it took and does not send yet (Meta, Cloud API, messages, message_status), and our reason for it."""

EXPIRED_AGAIN_MS = 60_000
"""What expired at the sender is decided anew so long after: the two clocks differ."""


def on_accepted(state: State, event: SendAccepted) -> Brought:
    """Meta took the message, perhaps to hold it for a while; or the read mark, whose life ends with that."""
    life = by_command(state, event.command_id)
    if life is None:
        return Brought(state)
    if life.stage == COMMANDED or life.guessed:
        state, life, out = accept(state, life, event.wamid or None, event.at_ms)
        if life.mark:  # its stone tells those that follow it that it has arrived
            stone = Ended(b"", READ, event.at_ms, life.seq, life.request_id, life.correlation)
            return Brought(_buried(_without(state, life), stone), tuple(out))
        reason = HELD.get(event.message_status or "")
        if reason is not None:
            life = replace(life, seq=life.seq + 1)
            error = SendError(
                origin="meta", reason=reason, message=FAILURES[reason].meaning, fix=FAILURES[reason].fix
            )
            out.append(
                announce.step_of(state, life, "held", f"{life.command}:held", event.at_ms, error=error)
            )
        return Brought(kept(state, life), tuple(out))
    if life.wamid is None:
        return Brought(kept(state, replace(life, wamid=event.wamid)))
    return Brought(state)


def on_failed(
    state: State, event: SendFailed, facts: AccountFacts, tariff: Tariff, grants: Grants
) -> Brought:
    """The message certainly did not go out: its places are free again, its conversation does not open. Perhaps it is decided anew later."""
    life = by_command(state, event.command_id)
    if life is None or (life.stage != COMMANDED and not life.guessed):
        return Brought(state)
    life = replace(life, seq=life.seq + 1)
    rest, told = failed_for(
        _without(state, life), event.code, event.at_ms, event.at_ms, event.message, event.command_id, facts
    )
    if life.guessed or another_went_out(state, life):
        return Brought(rest, told, back(state, life, facts, tariff))
    if event.origin == "policy" and event.reason == "cancelled":
        error = announce.policy_error("cancelled")
        out = announce.step_of(
            state, life, "cancelled", f"{life.command}:cancelled", event.at_ms, error=error
        )
    else:
        error = SendError(
            origin=event.origin,
            reason=event.reason,
            code=event.code,
            message=event.message,
            retryable=event.retryable,
            retry_at=None if event.retry_ms is None else rfc3339(event.retry_ms),
            fix=event.fix,
        )
        # A command waits for hours at the longest, the request perhaps for days: what held it up may last.
        retry_ms = event.at_ms + EXPIRED_AGAIN_MS if event.reason == "expired" else event.retry_ms
        waits = put_off(rest, life, retry_ms, error, event.at_ms, grants)
        if waits is not None:
            return Brought(waits[0], (waits[1], *told), back(state, life, facts, tariff))
        out = announce.step_of(state, life, "failed", f"{life.command}:failed", event.at_ms, error=error)
    return Brought(rest, (out, *told), back(state, life, facts, tariff))


def unmarked(state: State, life: Life, at_ms: int) -> Brought:
    """A read mark of unknown outcome is over: nobody was written to."""
    error = SendError(
        origin="transport",
        reason="read_mark_unanswered",
        message="no word from Meta whether the message is marked as read",
    )
    life = replace(life, seq=life.seq + 1)
    out = announce.step_of(state, life, "failed", f"{life.command}:failed", at_ms, error=error)
    return Brought(_without(state, life), (out,))


def on_status(
    state: State,
    event: StatusReceived,
    facts: AccountFacts,
    tariff: Tariff,
    concerns: Concerns,
    grants: Grants,
) -> Brought:
    """Meta says how a message fares."""
    if event.waba_id and event.waba_id != state.waba and state.lives:
        state = replace(state, waba=event.waba_id)
    stage = STAGES.get(event.status)
    if stage is None:
        return Brought(state)
    life = _by_wamid(state, event.wamid) or (
        by_command(state, event.command_id) if event.command_id is not None else None
    )
    if life is None:
        return _late(state, event, stage)
    if life.wamid is not None and life.wamid != event.wamid:
        return Brought(state)
    known = life
    out: list[Outgoing] = []
    if life.guessed and stage == FAILED:
        ended, told = _failed(state, replace(life, wamid=event.wamid), event, facts)
        out += (*told, *concerns.told(event, facts))
        return Brought(ended, tuple(out), back(state, life, facts, tariff))
    if life.guessed or life.stage < ACCEPTED:
        state, life, out = accept(state, life, event.wamid, event.at_ms)
    elif life.wamid is None:
        life = replace(life, wamid=event.wamid)
    if stage == FAILED:
        return _fail(state, life, event, facts, tariff, concerns, grants, out)
    if stage == SENT:
        life = _sent(state, life, event, out)
        changed = state if life is known else kept(state, life)
        if event.conversation is not None and tariff.named(life.regime).unit == "conversation":
            changed = learn_expiry(changed, event.conversation)
        return Brought(changed, tuple(out))
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
) -> Brought:
    """Delivered, read or played: the first of them is the delivery, and the charge."""
    known = life
    back: tuple[Release, ...] = ()
    claims: tuple[Claim | Owned, ...] = ()
    pricing = _signature(event.pricing)
    if life.stage < DELIVERED:
        delivery = deliver(state, life, event, facts, tariff, grants, _recalled_delivery(grants))
        if not delivery.complete:
            return Brought(state, claims=delivery.claims, complete=False)
        state, back, claims = delivery.state, delivery.releases, delivery.claims
        life = replace(
            life,
            stage=DELIVERED,
            at_ms=event.at_ms,
            until_ms=0,
            seq=life.seq + 1,
            pricing=pricing,
            free_claim=False,
            tier_claim=False,
            request=b"",
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
    elif pricing is not None and _corrects(pricing, event, life, state):
        state = _both_told(state, event, life.pricing, pricing)
        life = replace(life, pricing=pricing, seq=life.seq + 1)
        out.append(
            announce.step_of(state, life, "priced", _priced_id(event, pricing), event.at_ms, meta=event.meta)
        )
    if stage > max(life.stage, DELIVERED):
        life = _stepped(life, stage, event.at_ms)
        step: announce.Step = "read" if stage == READ else "played"
        out.append(announce.step_of(state, life, step, f"{event.wamid}:{step}", event.at_ms, meta=event.meta))
    if life is known and not out:
        return Brought(state)
    finished = life.stage == PLAYED or (life.stage == READ and not life.audio)
    state = _ended(state, life, life.stage, event.at_ms) if finished else kept(state, life)
    return Brought(state, tuple(out), back, claims)


def _fail(
    state: State,
    life: Life,
    event: StatusReceived,
    facts: AccountFacts,
    tariff: Tariff,
    concerns: Concerns,
    grants: Grants,
    out: list[Outgoing],
) -> Brought:
    """Meta could not deliver it. Perhaps it is decided anew later, and then the message that Meta had is over all the same."""
    if life.stage >= DELIVERED:
        return Brought(state)
    life = replace(life, seq=life.seq + 1)
    named = concerns.errors.named(event.error_code)
    retry_ms = None if named.defer_s is None else event.at_ms + round(named.defer_s * 1000)
    error = SendError(
        origin="meta",
        reason=named.reason,
        code=event.error_code,
        message=event.error_text,
        retryable=named.retryable,
        retry_at=None if retry_ms is None else rfc3339(retry_ms),
        fix=named.hint,
    )
    ended, told = _failed(state, life, event, facts)
    waits = put_off(ended, life, retry_ms, error, event.at_ms, grants, event.meta)
    if waits is None:
        id_ = f"{event.wamid}:failed"
        step = announce.step_of(state, life, "failed", id_, event.at_ms, error=error, meta=event.meta)
    else:
        ended, step = waits
    out += (step, *told, *concerns.told(event, facts))
    return Brought(ended, tuple(out), back(state, life, facts, tariff))


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


def _late(state: State, event: StatusReceived, stage: int) -> Brought:
    """A status of a message that is finished, or not known: its price is still told, once, and learnt when its conversation ends.

    A message of ours that is not known any more was delivered and charged long ago, for one in flight is kept a month: Meta may repeat the
    price when it is read at last (Meta, webhooks: pricing comes with `sent` and one of `delivered` and `read`), and that is no second charge.
    """
    pricing = _signature(event.pricing)
    mark = fingerprint(event.wamid)
    ended = next((e for e in state.ended if e.wamid == mark), None)
    if stage not in (DELIVERED, READ, PLAYED):
        return Brought(learn_expiry(state, event.conversation) if stage == SENT else state)
    if ended is None:
        read_at_last = event.command_id is not None and stage != DELIVERED
        if pricing is None or read_at_last or has(state.inbound, mark):
            return Brought(state)
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
        return Brought(_buried(state, stone), (out,))
    outs = []
    now = ended
    if pricing is not None and _corrects(pricing, event, ended, state):
        state = _both_told(state, event, ended.pricing, pricing)
        now = replace(now, pricing=pricing, seq=now.seq + 1)
        outs.append(
            announce.step_after_end(
                state, now, "priced", _priced_id(event, pricing), event.at_ms, event.wamid, event.meta
            )
        )
    if DELIVERED <= ended.stage < stage and ended.request:
        step: announce.Step = "read" if stage == READ else "played"
        now = replace(now, stage=stage, seq=now.seq + 1)
        outs.append(
            announce.step_after_end(
                state, now, step, f"{event.wamid}:{step}", event.at_ms, event.wamid, event.meta
            )
        )
    if now is ended:
        return Brought(state)
    return Brought(replace(state, ended=tuple(now if e is ended else e for e in state.ended)), tuple(outs))


def accept(
    state: State, life: Life, wamid: str | None, at_ms: int, error: SendError | None = None
) -> tuple[State, Life, list[Outgoing]]:
    """Meta has the message; of a request sent twice, another attempt that may still wait is called back.

    The event says (`error`) if both have gone out, or if the message was to be taken back.
    """
    if another_went_out(state, life):
        error = _remark("transport", "duplicate")
    elif life.taken_back:
        error = error or _remark("policy", "cancel_too_late")
    life = replace(
        life,
        stage=ACCEPTED,
        wamid=wamid,
        until_ms=0,
        uncertain=False,
        guessed=False,
        at_ms=at_ms,
        seq=life.seq + 1,
        request=life.request if at_ms < life.waits_ms else b"",
        cause="",
    )
    out = [announce.step_of(state, life, "accepted", f"{life.command}:accepted", at_ms, error=error)]
    for other in _others(state, life):
        if other.stage == COMMANDED and not other.taken_back:
            state = kept(state, replace(other, taken_back=True))
            if not other.uncertain:
                out.append(announce.cancel(state, other, at_ms))
    return state, life, out


def _remark(origin: Literal["policy", "transport"], reason: str) -> SendError:
    known = FAILURES[reason]
    return SendError(origin=origin, reason=reason, message=known.meaning, fix=known.fix)


def _others(state: State, life: Life) -> list[Life]:
    """The other attempts of a request that was sent more than once."""
    if not life.held_as:
        return []
    return [
        other
        for other in state.lives
        if other.request_id == life.request_id and other.command != life.command
    ]


def another_went_out(state: State, life: Life) -> bool:
    """Whether Meta is known to have taken another attempt of the request, which did not fail since."""
    if not life.held_as:
        return False
    if any(ACCEPTED <= other.stage < FAILED for other in _others(state, life)):
        return True
    return any(stone.request == life.request_id and stone.stage < FAILED for stone in state.ended)


def _stepped(life: Life, stage: int, at_ms: int) -> Life:
    return replace(life, stage=stage, at_ms=at_ms, until_ms=0, seq=life.seq + 1)


def by_command(state: State, command: str | None) -> Life | None:
    """The life of a command."""
    for life in state.lives:
        if life.command == command:
            return life
    return None


def _by_wamid(state: State, wamid: str) -> Life | None:
    for life in state.lives:
        if life.wamid == wamid:
            return life
    return None


def kept(state: State, life: Life) -> State:
    """The state with this life as it is now."""
    lives = [life if known.command == life.command else _counted(known, life) for known in state.lives]
    return replace(state, lives=tuple(lives))


def _without(state: State, life: Life) -> State:
    lives = tuple(_counted(known, life) for known in state.lives if known.command != life.command)
    return replace(state, lives=lives)


def _counted(known: Life, life: Life) -> Life:
    """Attempts of one request count its steps together."""
    if not life.held_as or known.request_id != life.request_id or known.seq >= life.seq:
        return known
    return replace(known, seq=life.seq)


def _ended(state: State, life: Life, stage: int, at_ms: int) -> State:
    stone = Ended(
        fingerprint(life.wamid or ""), stage, at_ms, life.seq, life.request_id, life.correlation, life.pricing
    )
    return _buried(_without(state, life), stone)


def _buried(state: State, stone: Ended) -> State:
    """The state with one more tombstone; of the oldest, if it gives way, is remembered that its message has arrived."""
    if len(state.ended) >= MAX_ENDED:
        oldest = state.ended[0]
        if oldest.wamid and DELIVERED <= oldest.stage < FAILED:
            state = noted(state, oldest.wamid, stone.at_ms)
    return replace(state, ended=(*state.ended, stone)[-MAX_ENDED:])


def begun(state: State, life: Life) -> State:
    """The state with one more life; of too many, the oldest that has arrived ends before it is read, or else the oldest of all."""
    if len(state.lives) >= MAX_LIVES:
        arrived = (known for known in state.lives if DELIVERED <= known.stage < FAILED)
        oldest = next(arrived, state.lives[0])
        state = _ended(state, oldest, oldest.stage, oldest.at_ms)
    return replace(state, lives=(*state.lives, life))


def back(state: State, life: Life, facts: AccountFacts, tariff: Tariff) -> tuple[Release, ...]:
    """The places a message holds, given back."""
    return releases(state, life, facts.account(state.waba), state.waba, tariff)


def _signature(pricing: MetaPricing | None) -> str | None:
    return None if pricing is None else f"{pricing.category}:{pricing.type}:{pricing.billable}"


def _corrects(pricing: str, event: StatusReceived, known: Life | Ended, state: State) -> bool:
    """Whether a status's price is news: another one, and not of a status older than the last step, which came late or twice.

    Two statuses of the same second may tell two prices, and both may come twice: then each is told once.
    """
    if pricing == known.pricing or (known.pricing is not None and event.at_ms < known.at_ms):
        return False
    newer = known.pricing is None or event.at_ms > known.at_ms
    return newer or not has(state.inbound, fingerprint(_priced_id(event, pricing)))


def _both_told(state: State, event: StatusReceived, before: str | None, pricing: str) -> State:
    """The state that remembers a price and the one it corrects."""
    for told in (before, pricing):
        if before is not None and told is not None:
            state = noted(state, fingerprint(_priced_id(event, told)), event.received_ms)
    return state


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
