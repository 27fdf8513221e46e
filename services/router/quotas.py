"""Claims on the limits that conversations share: the portfolio's messaging limit, the month's free tier and its budgets. Pure."""

from msgspec import structs

from services.router.state import Life, State
from services.router.tariff import Tariff
from shared.accounts import UNLIMITED, Account
from shared.pricing import Regime
from shared.stream.fold import Claim, Release
from shared.times import DAY_MS
from shared.topics import KEEP_MS

TIER_MS = DAY_MS
"""The messaging limit counts users in a moving day (Meta, messaging limits)."""
FREE_TIER_KEPT_MS = KEEP_MS
"""A month's count must outlive its month; the scope's name turns with the month, so nothing is counted twice."""


NO_LIMIT = 2**52
"""More micro-units than any budget has; a Lua number still holds it exactly."""


def claim_id(state: State, command: str, kind: str) -> str:
    """The idempotency key of a claim; with the conversation, for only within it a request id is known to be one."""
    return f"{state.number}:{state.user}|{command}|{kind}"


def tier_scope(account: Account, waba: str, number: str, regime: Regime) -> str:
    """What the messaging limit is counted over (Meta, messaging limits: of the portfolio since 2025-10)."""
    owner = number if regime.messaging_limit_scope == "number" else account.portfolio_id or waba
    return f"tier:{owner}"


def tier_claim(
    state: State,
    command: str,
    category: str,
    limit: int,
    account: Account,
    waba: str,
    regime: Regime,
    now_ms: int,
    waits_until_ms: int = 0,
) -> Claim | None:
    """The place of this user among those written to outside the window in a moving day; None where there is no limit.

    `limit` is the portfolio's. Marketing leaves the account's reserve of places to the other categories.
    """
    if limit == UNLIMITED:
        return None
    if category == "marketing":
        limit -= limit * account.marketing_reserve_percent // 100
    return Claim(
        scope=tier_scope(account, waba, state.number, regime),
        id=claim_id(state, command, "tier"),
        member=state.user,
        limit=limit,
        expires_ms=now_ms + TIER_MS,
        waits_until_ms=waits_until_ms,
    )


def tier_place(
    state: State, command: str, account: Account, waba: str, regime: Regime, taken_ms: int
) -> Claim:
    """The place that a message took in the messaging limit at `taken_ms`, to be held whether there is room or not."""
    return Claim(
        scope=tier_scope(account, waba, state.number, regime),
        id=claim_id(state, command, "tier"),
        member=state.user,
        limit=NO_LIMIT,
        expires_ms=taken_ms + TIER_MS,
    )


def held_places(state: State, life: Life, account: Account, waba: str, tariff: Tariff) -> list[Claim]:
    """The places a message holds, to be held whether there is room or not: what `releases` would give back."""
    if not (life.free_claim or life.tier_claim or life.budget_micros):
        return []
    regime, month = tariff.named(life.regime), tariff.month(account.timezone, life.decided_ms)
    free = None
    if life.free_claim:
        free = free_claim(
            state, life.holder, life.conversation, account, waba, regime, tariff, life.decided_ms
        )
    held = [] if free is None else [free]
    if life.tier_claim:
        held.append(tier_place(state, life.holder, account, waba, regime, life.decided_ms))
    amount = life.budget_micros
    held += budget_claims(state, life.holder, life.category, amount, account, waba, month, life.decided_ms)
    return [structs.replace(claim, limit=NO_LIMIT) for claim in held]


def free_claim(
    state: State,
    command: str,
    conversation: str,
    account: Account,
    waba: str,
    regime: Regime,
    tariff: Tariff,
    at_ms: int,
    *,
    settled: bool = False,
) -> Claim | None:
    """The place of this conversation (or message, where messages are charged) in the month's free tier; None where there is none.

    `settled` is that of a delivery, under an id of its own: the decision's may be on its way back in the same batch.
    """
    scope = tariff.free_scope(regime, waba, state.number, account.timezone, at_ms)
    if scope is None:
        return None
    return Claim(
        scope=scope[0],
        id=claim_id(state, command, "free:settled" if settled else "free"),
        member=_free_member(state, command, conversation, regime),
        limit=scope[1],
        expires_ms=at_ms + FREE_TIER_KEPT_MS,
    )


def budget_claims(
    state: State,
    command: str,
    category: str,
    amount_micros: int,
    account: Account,
    waba: str,
    month: str,
    now_ms: int,
    *,
    spent: bool = False,
) -> tuple[Claim, ...]:
    """The amount's places in the account's budgets of a month: that of the category and that of all, as far as there are any.

    With `spent` the amount is what was charged: it is noted whether the budget has room or not.
    """
    if not amount_micros:
        return ()
    return tuple(
        Claim(
            scope=_budget_scope(waba, budget.category, month),
            id=claim_id(state, command, _budget_kind(budget.category, spent=spent)),
            member=f"{state.number}:{state.user}|{command}{'|spent' if spent else ''}",
            limit=NO_LIMIT if spent else budget.amount_micros,
            expires_ms=now_ms + FREE_TIER_KEPT_MS,
            weight=amount_micros,
        )
        for budget in account.budgets
        if budget.category in (None, category)
    )


def budget_releases(state: State, life: Life, waba: str, month: str) -> tuple[Release, ...]:
    """What a message holds in budgets, given back; the budgets may be others by now, so both that it can be in are named."""
    if not life.budget_micros:
        return ()
    return tuple(
        Release(
            _budget_scope(waba, category, month),
            claim_id(state, life.holder, _budget_kind(category, spent=False)),
            f"{state.number}:{state.user}|{life.holder}",
        )
        for category in (None, life.category)
    )


def _budget_scope(waba: str, category: str | None, month: str) -> str:
    return f"budget:{waba}:{category or 'all'}:{month}"


def _budget_kind(category: str | None, *, spent: bool) -> str:
    return f"{'spent' if spent else 'budget'}:{category or 'all'}"


def releases(
    state: State, life: Life, account: Account | None, waba: str, tariff: Tariff, *, free_only: bool = False
) -> tuple[Release, ...]:
    """The places a message holds, given back. Without facts of the account there is nothing to name: they expire."""
    if account is None or not (life.free_claim or life.tier_claim or life.budget_micros):
        return ()
    regime = tariff.named(life.regime)
    found = []
    if life.tier_claim and not free_only:
        scope = tier_scope(account, waba, state.number, regime)
        found.append(Release(scope, claim_id(state, life.holder, "tier"), state.user))
    free = tariff.free_scope(regime, waba, state.number, account.timezone, life.decided_ms)
    if life.free_claim and free is not None:
        member = _free_member(state, life.holder, life.conversation, regime)
        found.append(Release(free[0], claim_id(state, life.holder, "free"), member))
    if not free_only:
        found += budget_releases(state, life, waba, tariff.month(account.timezone, life.decided_ms))
    return tuple(found)


def _free_member(state: State, command: str, conversation: str, regime: Regime) -> str:
    return f"{state.user}|{conversation if regime.unit == 'conversation' else command}"
