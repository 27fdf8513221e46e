"""May this message go out now, as what, at which price, and why not: request, state and account facts in, one decision out. Pure.

The reasons and their order of precedence are those of `shared/reasons.py`: the checks below stand in that order, the first that fails speaks.
"""

from dataclasses import dataclass

from services.router.american import MARKETING_STOPPED_MS, is_american
from services.router.conversations import Foreseen, answers_click, foresee
from services.router.quotas import free_claim, tier_claim
from services.router.state import COMMANDED, MAX_DEFERRED, State
from services.router.tariff import Tariff
from shared.accounts import Account, AccountFacts, Number, Template
from shared.events import Category, ConversationUse, Decision, Price, SendRequested, TemplateRef, Tier
from shared.ids import command_id
from shared.phone import canonical_user, is_bsuid
from shared.pricing import Quote, RateUnknown, Regime
from shared.stream.fold import Claim, Grants, Release
from shared.times import rfc3339

GUIDE_REGIME = "2023-06-01"
"""Whoever is pinned to the rules of 2023 is not bound by what Meta stopped in 2025."""
SENDABLE = frozenset({"APPROVED", "FLAGGED", "UNARCHIVED", "PENDING_DELETION"})
"""Statuses in which Meta still takes a template (Meta, template status)."""
_TEMPLATE_REASONS = {
    "PAUSED": "template_paused",
    "DISABLED": "template_disabled",
    "DELETED": "template_unknown",
}
_NUMBER_STOPPED = frozenset({"BANNED", "RESTRICTED", "DISCONNECTED", "DELETED", "MIGRATED", "RATE_LIMITED"})
_NO_INITIATING = "RESTRICTED_BIZ_INITIATED_MESSAGING"
_NO_ANSWERING = "RESTRICTED_CUSTOMER_INITIATED_MESSAGING"
_CATEGORIES: dict[str, Category] = {
    "marketing": "marketing",
    "marketing_lite": "marketing",
    "utility": "utility",
    "authentication": "authentication",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision; or, with `claims` not empty, the wish to be asked again with their answers.

    `releases` gives back what was granted to a request that is refused all the same.
    """

    decision: Decision | None
    claims: tuple[Claim, ...] = ()
    releases: tuple[Release, ...] = ()


@dataclass(frozen=True, slots=True)
class _Sending:
    """What is to be sent: the message itself, or its fallback template when the window is shut."""

    category: Category
    template: TemplateRef | None
    used_fallback: bool


def decide(
    state: State, request: SendRequested, facts: AccountFacts, now_ms: int, tariff: Tariff, grants: Grants
) -> Verdict:
    """Decide on a request that was not answered before. `now_ms` is the time it is decided for.

    Raises:
        UnknownRegimeError, KeyError: the account's facts name a regime or time zone that nobody knows.
    """
    version = str(facts.revision)
    window = rfc3339(state.window_ms) if now_ms < state.window_ms else None

    def refuse(reason: str, category: Category | None = None, *, used_fallback: bool = False) -> Verdict:
        return Verdict(
            Decision(
                outcome="reject",
                final=True,
                reason=reason,
                category=category,
                facts_version=version,
                used_fallback=used_fallback,
                window_expires_at=window,
            )
        )

    if request.expires_ms is not None and request.expires_ms <= max(now_ms, request.not_before_ms or 0):
        return refuse("request_expired")
    waba = facts.waba_of(request.phone_number_id)
    account = facts.account(waba) if waba is not None else None
    number = facts.number(request.phone_number_id)
    in_window = now_ms < state.window_ms
    reason = _sender_reason(account, number, request, in_window)
    if reason is not None or account is None or number is None or waba is None:
        return refuse(reason or "number_not_registered")
    if canonical_user(request.user) != request.user:
        return refuse("recipient_invalid")
    early = request.not_before_ms is not None and request.not_before_ms > now_ms
    if early or is_pending(state, request.after_request_id):
        if len(state.deferred) >= MAX_DEFERRED:
            return refuse("malformed")
        return Verdict(
            Decision(
                outcome="defer",
                final=False,
                reason="ok",
                category=None,
                facts_version=version,
                not_before_at=rfc3339(request.not_before_ms or 0) if early else None,
                window_expires_at=window,
            )
        )
    regime = tariff.regime(account.regime, account.timezone, now_ms)
    sending = _what(request, facts, waba, in_window)
    if isinstance(sending, str):
        return refuse(sending)
    reason = _content_reason(state, request, sending, account, number, regime, now_ms)
    if reason is not None:
        return refuse(reason, sending.category, used_fallback=sending.used_fallback)
    return _at_price(state, request, sending, account, waba, regime, now_ms, tariff, grants, version, window)


def is_pending(state: State, request_id: str | None) -> bool:
    """Whether a request of this conversation waits for its decision, or for Meta's answer to its message."""
    if request_id is None:
        return False
    waiting = any(deferred.id == request_id for deferred in state.deferred)
    return waiting or any(life.stage == COMMANDED and life.request_id == request_id for life in state.lives)


def _sender_reason(
    account: Account | None, number: Number | None, request: SendRequested, in_window: bool
) -> str | None:
    if account is not None:
        if account.status != "active":
            return "account_restricted"
        answer = request.template is None and in_window
        if account.restrictions and (_NO_ANSWERING if answer else _NO_INITIATING) in account.restrictions:
            return "account_restricted"
    if account is None or number is None or not number.registered:
        return "number_not_registered"
    if number.status in _NUMBER_STOPPED:
        return "number_restricted"
    if account.paused or number.paused:
        return "paused_by_operator"
    return None


def _what(request: SendRequested, facts: AccountFacts, waba: str, in_window: bool) -> _Sending | str:
    """What would be sent, or the reason why neither the message nor its fallback can be."""
    if request.template is None and in_window:
        return _Sending("service", None, False)
    wanted, used_fallback = request.template, False
    if wanted is None:
        wanted, used_fallback = request.fallback_ref, True
        if wanted is None or request.fallback is None:
            return "window_closed"
    template = facts.template(waba, wanted.name, wanted.language)
    reason = _template_reason(template)
    if reason is not None or template is None:
        return reason or "template_unknown"
    return _Sending(_CATEGORIES.get(template.category.lower(), "marketing"), wanted, used_fallback)


def _template_reason(template: Template | None) -> str | None:
    if template is None:
        return "template_unknown"
    if template.paused:
        return "paused_by_operator"
    if template.status in SENDABLE:
        return None
    return _TEMPLATE_REASONS.get(template.status, "template_not_approved")


def _content_reason(
    state: State,
    request: SendRequested,
    sending: _Sending,
    account: Account,
    number: Number,
    regime: Regime,
    now_ms: int,
) -> str | None:
    if account.payment_method != "valid":
        if sending.template is not None:
            return "payment_method_missing"
        if not number.default:
            return "sender_not_default"
        if not state.verified:
            return "recipient_not_verified"
    if sending.category == "marketing":
        if state.opted_out:
            return "opted_out"
        stopped = regime.name != GUIDE_REGIME and now_ms >= MARKETING_STOPPED_MS
        if stopped and is_american(request.user):
            return "marketing_not_allowed"
    if sending.category == "authentication" and is_bsuid(request.user):
        return "recipient_invalid"  # Meta, error 131062: one-time passwords go to numbers only
    return None


def _at_price(
    state: State,
    request: SendRequested,
    sending: _Sending,
    account: Account,
    waba: str,
    regime: Regime,
    now_ms: int,
    tariff: Tariff,
    grants: Grants,
    version: str,
    window: str | None,
) -> Verdict:
    """Decide by price and limits, the last checks: ask for the places the message needs, then judge by the answers."""
    category, command = sending.category, command_id(request.request_id, 1)
    in_window = now_ms < state.window_ms
    seen = foresee(state, category, command, now_ms, answers=answers_click(state, regime, now_ms))

    def price(*, room: bool) -> Quote | RateUnknown:
        return tariff.quote(
            regime,
            category,
            request.user,
            account,
            now_ms,
            in_window=in_window,
            entry_point_open=seen.free_entry,
            opens_conversation=seen.opens,
            free_tier_has_room=room,
        )

    quoted = price(room=True)
    free = tier = None
    if not request.dry_run:
        if isinstance(quoted, Quote) and quoted.type == "free_tier":
            free = free_claim(state, command, seen.id, account, waba, regime, tariff, now_ms)
        if not in_window:
            tier = tier_claim(state, command, account, waba, regime, now_ms)
        wanted = tuple(claim for claim in (free, tier) if claim is not None)
        if any(claim.id not in grants for claim in wanted):
            return Verdict(None, claims=wanted)
    free_left = None
    if free is not None:
        free_left = max(0, free.limit - grants[free.id].used)
        if not grants[free.id].granted:
            quoted = price(room=False)
    limit = None
    if tier is not None:
        used = grants[tier.id].used
        limit = Tier(limit=tier.limit, used=used, left=max(0, tier.limit - used))
    reason = _price_reason(request, account, quoted, tier, grants)
    decision = Decision(
        outcome="allow" if reason is None else "reject",
        final=True,
        reason=reason or "ok",
        category=category,
        facts_version=version,
        used_fallback=sending.used_fallback,
        window_expires_at=window,
        conversation=_use(seen) if reason is None else None,
        price=_priced(quoted) if isinstance(quoted, Quote) else None,
        tier=limit,
        free_left=free_left,
    )
    if reason is None:
        return Verdict(decision)
    held = tuple(
        Release(c.scope, c.id, c.member) for c in (free, tier) if c is not None and grants[c.id].granted
    )
    return Verdict(decision, releases=held)


def _price_reason(
    request: SendRequested, account: Account, quoted: Quote | RateUnknown, tier: Claim | None, grants: Grants
) -> str | None:
    costs = isinstance(quoted, RateUnknown) or not quoted.free
    if costs and account.payment_method != "valid":
        return "free_tier_exhausted"
    if tier is not None and not grants[tier.id].granted:
        return "tier_limit_reached"
    if isinstance(quoted, RateUnknown):
        return "rate_unknown"
    most = request.max_price_micros
    if most is None or quoted.free:
        return None
    if quoted.amount_micros > most or quoted.currency != (request.max_price_currency or quoted.currency):
        return "max_price_exceeded"
    return None


def _use(seen: Foreseen) -> ConversationUse:
    return ConversationUse(
        id=seen.id,
        action="open" if seen.opens else "reuse",
        category=_CATEGORIES.get(seen.category, "service"),
        expires_at=None if seen.expires_ms is None else rfc3339(seen.expires_ms),
    )


def _priced(quoted: Quote) -> Price:
    return Price(
        regime=quoted.regime,
        rate_card=quoted.rate_card,
        market=quoted.market,
        type=quoted.type,
        amount_micros=quoted.amount_micros,
        currency=quoted.currency,
        rate_category=quoted.rate_category,
        volume_tier=quoted.volume_tier,
    )
