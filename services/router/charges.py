"""What a delivery costs by our own rules: priced by the day of the delivery, settled by what is open then. Pure."""

import msgspec

from services.router.conversations import Settled, rules_of, settle
from services.router.quotas import budget_claims, budget_releases, free_claim, releases
from services.router.state import Life, State
from services.router.tariff import Tariff
from shared.accounts import Account, AccountFacts
from shared.events import ChargePredicted, SendEvent, StatusReceived
from shared.pricing import Quote, QuoteType, Regime, quote_type
from shared.stream.fold import Claim, Grants, Owned, Release


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """The state after a delivery and its charge (None: no rate is known), if the `claims` are answered as is to be expected; not `complete`: ask them first."""

    state: State
    charge: ChargePredicted | None
    releases: tuple[Release, ...]
    claims: tuple[Claim | Owned, ...]
    complete: bool = True


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
    reuses gives its place back. So are the budgets: what was charged counts, whatever was expected.
    """
    account = facts.account(state.waba) or Account(currency=life.currency, regime=life.regime)
    at_ms = status.at_ms
    was = recalled.charge if recalled is not None else None
    if was is not None:
        regime = tariff.named(was.regime)
    elif recalled is not None:
        regime = tariff.named(life.regime)
    else:
        regime = rules_of(state, life.category, at_ms, account, tariff)
    settled = settle(state, life, at_ms, regime, status.conversation)
    kind = _kind(regime, life, settled, room=True)
    free: Claim | None = None
    if was is not None and kind == "free_tier":
        kind = "free_tier" if was.type == "free_tier" else "regular"
    if kind == "free_tier" and not _has_place(life, settled, regime, account, tariff, at_ms):
        pending = settled.conversation.pending or life.conversation
        free = free_claim(
            state, life.holder, pending, account, state.waba, regime, tariff, at_ms, settled=True
        )
        if free is not None and not grants[free].granted:
            kind = _kind(regime, life, settled, room=False)
    claims = () if free is None else grants.unanswered(free)
    back: tuple[Release, ...] = ()
    if life.free_claim and (kind != "free_tier" or free is not None):
        back = releases(state, life, account, state.waba, tariff, free_only=True)
    charge = was
    if recalled is None:
        charge = _charge(regime, life, settled, kind, account, at_ms, tariff, state.user)
    if charge is None:  # no event tells a replay the rules of the day: those of the decision serve
        settled = settle(state, life, at_ms, tariff.named(life.regime), status.conversation)
    if charge is not None:
        spent, unspent = _settled_budgets(state, life, charge, account, tariff, at_ms)
        if spent and claims:
            return Delivered(state, None, (), claims, complete=False)  # what it costs is not certain yet
        if spent:
            claims += grants.unanswered(*spent)
        back += unspent
    return Delivered(settled.state, charge, back, claims)


def _has_place(
    life: Life, settled: Settled, regime: Regime, account: Account, tariff: Tariff, at_ms: int
) -> bool:
    """Whether the place in the free tier that the decision claimed is of the delivery's month and regime, and of the conversation it opens."""
    if not life.free_claim or life.regime != regime.name:
        return False
    same_month = tariff.month(account.timezone, life.decided_ms) == tariff.month(account.timezone, at_ms)
    return same_month and (
        regime.unit == "message" or settled.conversation.pending in ("", life.conversation)
    )


def _settled_budgets(
    state: State, life: Life, charge: ChargePredicted, account: Account, tariff: Tariff, at_ms: int
) -> tuple[tuple[Claim, ...], tuple[Release, ...]]:
    """What was charged, noted in the budgets of its month in place of what was expected; nothing where both are the same."""
    expected_month = tariff.month(account.timezone, life.decided_ms)
    if charge.amount_micros == life.budget_micros and charge.month == expected_month:
        return (), ()
    spent = budget_claims(
        state,
        life.holder,
        life.category,
        charge.amount_micros,
        account,
        state.waba,
        charge.month,
        at_ms,
        spent=True,
    )
    return spent, budget_releases(state, life, state.waba, expected_month)


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
    account: Account,
    at_ms: int,
    tariff: Tariff,
    user: str,
) -> ChargePredicted | None:
    """At the rate of the delivery's day in the account's time zone (Meta, pricing)."""
    quoted = tariff.quote(
        regime,
        life.category,
        user,
        account,
        at_ms,
        in_window=life.in_window,
        entry_point_open=settled.free_entry,
        opens_conversation=settled.opened,
        free_tier_has_room=kind == "free_tier",
    )
    if not isinstance(quoted, Quote):
        return None
    return ChargePredicted(
        counted=regime.unit == "message" or settled.opened,
        unit=regime.unit,
        conversation_id=settled.conversation.id,
        category=life.category,
        market=quoted.market,
        regime=quoted.regime,
        rate_card=quoted.rate_card,
        month=tariff.month(account.timezone, at_ms),
        day=tariff.day(account.timezone, at_ms).isoformat(),
        opened=settled.opened,
        type=quoted.type,
        amount_micros=quoted.amount_micros,
        currency=quoted.currency,
        rate_category=quoted.rate_category,
        volume_tier=quoted.volume_tier,
    )
