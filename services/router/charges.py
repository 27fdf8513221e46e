"""What a delivery costs by our own rules: the decision's quote, settled by what is open at the delivery. Pure."""

from typing import NamedTuple

from services.router.conversations import Settled, settle
from services.router.quotas import free_claim, releases
from services.router.state import Life, State
from services.router.tariff import Tariff
from shared.accounts import Account, AccountFacts
from shared.events import ChargePredicted, SendEvent, StatusReceived
from shared.pricing import QuoteType, Regime, quote_type
from shared.stream.fold import Claim, Grants, Release


class Delivered(NamedTuple):
    """The state after a delivery and its charge (None: no rate is known); with `claim`, ask it first and nothing else counts."""

    state: State
    charge: ChargePredicted | None
    releases: tuple[Release, ...]
    claim: Claim | None


def deliver(
    state: State,
    life: Life,
    status: StatusReceived,
    facts: AccountFacts,
    tariff: Tariff,
    grants: Grants,
    recalled: SendEvent | None,
) -> Delivered:
    """Let a message be delivered. `recalled` is the delivered event as it was published, in a silent replay.

    The free tier is settled here: a message that was to reuse a conversation and opens one needs a place now, one that was to open and
    reuses gives its place back.
    """
    regime = tariff.named(life.regime)
    account = facts.account(state.waba)
    settled = settle(state, life, status.at_ms, regime, status.conversation)
    kind = _kind(regime, life, settled, room=True)
    claim = None
    if recalled is not None and kind == "free_tier":
        was_free = recalled.charge is not None and recalled.charge.type == "free_tier"
        kind = "free_tier" if was_free else "regular"
    if kind == "free_tier" and not life.free_claim and account is not None:
        claim = free_claim(
            state, life.command, life.conversation, account, state.waba, regime, tariff, status.at_ms
        )
        if claim is not None and claim.id not in grants:
            return Delivered(state, None, (), claim)
        if claim is not None and not grants[claim.id].granted:
            kind = _kind(regime, life, settled, room=False)
    back: tuple[Release, ...] = ()
    if life.free_claim and kind != "free_tier":
        back = releases(state, life, account, state.waba, tariff, free_only=True)
    charge = _charge(regime, life, settled, kind, state.user, account or Account(), status.at_ms, tariff)
    return Delivered(settled.state, charge, back, None)


def _kind(regime: Regime, life: Life, settled: Settled, *, room: bool) -> QuoteType:
    return quote_type(
        regime,
        life.category,
        in_window=life.in_window,
        entry_point_open=settled.free_entry,
        opens_conversation=settled.opened,
        free_tier_has_room=room,
    )


def _charge(
    regime: Regime,
    life: Life,
    settled: Settled,
    kind: QuoteType,
    user: str,
    account: Account,
    at_ms: int,
    tariff: Tariff,
) -> ChargePredicted | None:
    rate = None
    if kind == "regular":
        rate = tariff.rate(regime, life.card, life.market, life.category, user, account, at_ms)
        if rate is None:
            return None
    return ChargePredicted(
        counted=regime.unit == "message" or settled.opened,
        unit=regime.unit,
        conversation_id=settled.conversation.id,
        category=life.category,
        market=life.market,
        regime=life.regime,
        rate_card=life.card,
        month=tariff.month(account.timezone, at_ms),
        type=kind,
        amount_micros=0 if rate is None else rate.amount_micros,
        currency=life.currency,
        rate_category=None if rate is None else rate.category,
        volume_tier=None if rate is None else rate.volume_tier,
    )
