"""Claims on the limits that conversations share: the portfolio's messaging limit and the month's free tier. Pure."""

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


def claim_id(state: State, command: str, kind: str) -> str:
    """The idempotency key of a claim; with the conversation, for only within it a request id is known to be one."""
    return f"{state.number}:{state.user}|{command}|{kind}"


def tier_scope(account: Account, waba: str, number: str, regime: Regime) -> str:
    """What the messaging limit is counted over (Meta, messaging limits: of the portfolio since 2025-10)."""
    owner = number if regime.messaging_limit_scope == "number" else account.portfolio_id or waba
    return f"tier:{owner}"


def tier_claim(
    state: State, command: str, account: Account, waba: str, regime: Regime, now_ms: int
) -> Claim | None:
    """The place of this user among those written to outside the window in a moving day; None where there is no limit."""
    if account.messaging_limit == UNLIMITED:
        return None
    return Claim(
        scope=tier_scope(account, waba, state.number, regime),
        id=claim_id(state, command, "tier"),
        member=state.user,
        limit=account.messaging_limit,
        expires_ms=now_ms + TIER_MS,
    )


def free_claim(
    state: State,
    command: str,
    conversation: str,
    account: Account,
    waba: str,
    regime: Regime,
    tariff: Tariff,
    at_ms: int,
) -> Claim | None:
    """The place of this conversation (or message, where messages are charged) in the month's free tier; None where there is none."""
    scope = tariff.free_scope(regime, waba, state.number, account.timezone, at_ms)
    if scope is None:
        return None
    return Claim(
        scope=scope[0],
        id=claim_id(state, command, "free"),
        member=_free_member(state, command, conversation, regime),
        limit=scope[1],
        expires_ms=at_ms + FREE_TIER_KEPT_MS,
    )


def releases(
    state: State, life: Life, account: Account | None, waba: str, tariff: Tariff, *, free_only: bool = False
) -> tuple[Release, ...]:
    """The places a message holds, given back. Without facts of the account there is nothing to name: they expire."""
    if account is None or not (life.free_claim or life.tier_claim):
        return ()
    regime = tariff.named(life.regime)
    found = []
    if life.tier_claim and not free_only:
        scope = tier_scope(account, waba, state.number, regime)
        found.append(Release(scope, claim_id(state, life.command, "tier"), state.user))
    free = tariff.free_scope(regime, waba, state.number, account.timezone, life.decided_ms)
    if life.free_claim and free is not None:
        member = _free_member(state, life.command, life.conversation, regime)
        found.append(Release(free[0], claim_id(state, life.command, "free"), member))
    return tuple(found)


def _free_member(state: State, command: str, conversation: str, regime: Regime) -> str:
    return f"{state.user}|{conversation if regime.unit == 'conversation' else command}"
