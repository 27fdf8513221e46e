"""May this message go out now, as what, at which price, and why not: request, state and account facts in, one decision out. Pure.

The reasons and their order of precedence are those of `shared/reasons.py`: the checks below stand in that order, the first that fails speaks. A
reason that passes with time defers a request that says until when it matters (`expires_at`), and refuses any other.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from services.router.american import MARKETING_STOPPED_MS, is_american
from services.router.conversations import Foreseen, answers_click, foresee, rules_of
from services.router.endpoint import endpoint_refusal
from services.router.following import fate_of
from services.router.quotas import budget_claims, free_claim, tier_claim
from services.router.state import MAX_DEFERRED, State
from services.router.tariff import Tariff
from services.router.template_shape import message_problems, template_problems
from shared.accounts import (
    NO_ANSWERING,
    NO_INITIATING,
    NUMBER_STOPPED,
    Account,
    AccountFacts,
    Number,
    Template,
    category_at,
    restrictions_in_force,
    status_at,
)
from shared.events import Category, ConversationUse, Decision, Price, SendRequested, Tier
from shared.phone import canonical_user, is_bsuid
from shared.pricing import Quote, RateUnknown, Regime
from shared.stream.fold import Claim, Grant, Grants, Owned, Release
from shared.times import DAY_MS, rfc3339
from shared.topics import MAX_WAIT_DAYS

GUIDE_REGIME = "2023-06-01"
"""Whoever is pinned to the rules of 2023 is not bound by what Meta stopped in 2025."""
SENDABLE = frozenset({"APPROVED", "FLAGGED", "UNARCHIVED", "PENDING_DELETION"})
"""Statuses in which Meta still takes a template (Meta, template status)."""
_TEMPLATE_REASONS = {
    "PAUSED": "template_paused",
    "DISABLED": "template_disabled",
    "DELETED": "template_unknown",
}
LONGEST_WAIT_MS = MAX_WAIT_DAYS * DAY_MS
"""A request that waits lives in the log that states are rebuilt from, and that is kept for 35 days."""
_CATEGORIES: dict[str, Category] = {
    "marketing": "marketing",
    "marketing_lite": "marketing",
    "utility": "utility",
    "authentication": "authentication",
}


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A decision, made as if the `claims` that are still to be asked were answered as is to be expected; None: ask them first.

    `held` are the claims that were granted on the way; of a request that does not go out, `releases` gives them back. `tier` is the one on the messaging limit.
    """

    decision: Decision | None
    claims: tuple[Claim | Owned, ...] = ()
    held: tuple[Claim, ...] = ()
    message: str | None = None
    """What exactly is wrong, where the reason alone does not say it."""
    tier: Claim | None = None

    @property
    def releases(self) -> tuple[Release, ...]:
        """The places of what is held."""
        return tuple(Release(claim.scope, claim.id, claim.member) for claim in self.held)

    @property
    def turn(self) -> tuple[Release, ...]:
        """The place it may have among those who wait for one in the messaging limit."""
        return () if self.tier is None else (Release(self.tier.scope, self.tier.id, self.tier.member),)


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """The first check that failed. `until_ms`: when it passes by itself; None: some day; 0: never. `message`: what exactly is wrong."""

    reason: str
    until_ms: int | None = 0
    message: str | None = None


class _Sending(msgspec.Struct, frozen=True, gc=False):
    """What is to be sent: the message itself, or its fallback template when the window is shut."""

    category: Category
    template: Template | None
    used_fallback: bool


_MARK = _Sending("service", None, False)
"""A read mark: no message, so it needs no window, costs nothing and takes no place in any limit."""


class _Sender(msgspec.Struct, frozen=True, gc=False):
    """Who sends: the number and its account."""

    waba: str
    account: Account
    number: Number


class _Question(msgspec.Struct, frozen=True, gc=False):
    """All that a decision is made from. `now_ms` is the time it is made for; `holder` the attempt under whose name it holds places."""

    state: State
    request: SendRequested
    facts: AccountFacts
    now_ms: int
    tariff: Tariff
    grants: Grants
    in_window: bool
    holder: str

    def answer(
        self,
        outcome: Literal["allow", "reject", "defer"],
        reason: str,
        sending: _Sending | None = None,
        **more: Any,
    ) -> Decision:
        return Decision(
            outcome=outcome,
            final=outcome != "defer" or self.request.dry_run,
            reason=reason,
            category=sending.category if sending is not None else None,
            facts_version=str(self.facts.revision),
            used_fallback=sending is not None and sending.used_fallback,
            window_expires_at=rfc3339(self.state.window_ms) if self.in_window else None,
            **more,
        )

    def refuse(self, refusal: Refusal, sending: _Sending | None = None, **more: Any) -> Decision:
        """No; or not yet, where the reason passes before the request loses its sense. Either way `not_before_at` says when, if that is known."""
        reason, until_ms = refusal.reason, refusal.until_ms
        passes = until_ms is None or until_ms > self.now_ms
        if until_ms is not None and passes:
            more["not_before_at"] = rfc3339(until_ms)
        waits = passes and self.waits_until_ms > max(until_ms or 0, self.now_ms)
        return self.answer("defer" if waits else "reject", reason, sending, **more)

    def place(self, claim: Claim) -> Claim:
        """The claim; of a dry run one that takes nothing, under a name of its own."""
        if not self.request.dry_run:
            return claim
        return replace(claim, id=f"{claim.id}?", take=False, waits_until_ms=0)

    @property
    def waits_until_ms(self) -> int:
        """Until when the request would wait for a reason to pass; 0: not at all."""
        full = len(self.state.deferred) >= MAX_DEFERRED
        return 0 if full else waits_until_ms(self.request)


def waits_until_ms(request: SendRequested) -> int:
    """Until when a request waits at most; 0: not at all."""
    return min(request.expires_ms, request.at_ms + LONGEST_WAIT_MS) if request.expires_ms is not None else 0


def decide(
    state: State,
    request: SendRequested,
    facts: AccountFacts,
    now_ms: int,
    tariff: Tariff,
    grants: Grants,
    holder: str,
) -> Verdict:
    """Decide on an attempt to send a request. `now_ms` is the time it is decided for; places are held under the name `holder`, the command id of the attempt, or of the one before it that may have gone out.

    A dry run is decided as any other, but takes no place in any limit; it never waits, `defer` is its final answer.

    Raises:
        UnknownRegimeError, KeyError: the account's facts name a regime or time zone that nobody knows.
    """
    asked = _Question(state, request, facts, now_ms, tariff, grants, now_ms < state.window_ms, holder)
    if request.expires_ms is not None and request.expires_ms <= max(now_ms, request.not_before_ms or 0):
        return Verdict(asked.answer("reject", "request_expired"))
    sender = _sender(asked)
    if isinstance(sender, Refusal):
        return Verdict(asked.refuse(sender))
    if canonical_user(request.user) != request.user:
        return Verdict(asked.answer("reject", "recipient_invalid"))
    early = request.not_before_ms is not None and request.not_before_ms > now_ms
    followed = _follow(asked)
    if isinstance(followed, Refusal) and not early:
        return Verdict(asked.refuse(followed), message=followed.message)
    if early or followed == "wait":
        if len(state.deferred) >= MAX_DEFERRED:
            return Verdict(asked.answer("reject", "malformed"))
        at = rfc3339(request.not_before_ms or 0) if early else None
        return Verdict(asked.answer("defer", "ok", not_before_at=at))
    if request.marks is not None:
        return Verdict(asked.answer("allow", "ok", _MARK))
    sending = _what(asked, sender.waba)
    if isinstance(sending, Refusal):
        return Verdict(asked.refuse(sending))
    regime = rules_of(state, sending.category, now_ms, sender.account, tariff)
    refusal = _content_refusal(asked, sending, sender, regime)
    if refusal is not None:
        return Verdict(asked.refuse(refusal, sending), message=refusal.message)
    return _at_price(asked, sending, sender, regime)


def _follow(asked: _Question) -> Refusal | Literal["wait", "go"]:
    """Whether the request it is to follow lets it go."""
    state, request = asked.state, asked.request
    after = request.after_request_id
    if after is None or _waits_for_itself(state, request):
        return "go"
    fate = fate_of(state, after)
    if fate == "arrived" or (fate in ("failed", "unknown") and request.after_failed == "send"):
        return "go"
    if fate == "pending":
        if asked.now_ms < request.at_ms + LONGEST_WAIT_MS:
            return "wait"
        return Refusal("predecessor_failed", message=f"{after} was not delivered in {MAX_WAIT_DAYS} days")
    if fate == "unknown":
        return Refusal("predecessor_failed", message=f"no request {after} to this receiver is known")
    return Refusal("predecessor_failed", message=f"{after} was refused, cancelled or failed")


def _waits_for_itself(state: State, request: SendRequested) -> bool:
    """Whether what the request is to wait for waits, in the end, for the request: then neither would ever go."""
    waits_for = {deferred.id: deferred.after for deferred in state.deferred}
    after = request.after_request_id
    while after is not None and after != request.request_id:
        after = waits_for.pop(after, None)
    return after is not None


def _sender(asked: _Question) -> _Sender | Refusal:
    """Who sends, if account and number may send at all."""
    facts, request = asked.facts, asked.request
    waba = facts.waba_of(request.phone_number_id)
    account = facts.account(waba) if waba is not None else None
    number = facts.number(request.phone_number_id)
    if account is not None:
        if account.status != "active":
            return Refusal("account_restricted", None)
        if account.restrictions and request.marks is None:
            restriction = NO_ANSWERING if request.template is None and asked.in_window else NO_INITIATING
            if restriction in restrictions_in_force(account, asked.now_ms):
                return Refusal("account_restricted", account.restrictions[restriction])
    if waba is None or account is None or number is None or not number.registered:
        return Refusal("number_not_registered")
    if number.status in NUMBER_STOPPED:
        return Refusal("number_restricted", None)
    if account.paused or number.paused:
        return Refusal("paused_by_operator", None)
    return _Sender(waba, account, number)


def _what(asked: _Question, waba: str) -> _Sending | Refusal:
    """What would be sent, or the reason why neither the message nor its fallback can be."""
    request = asked.request
    if request.template is None and asked.in_window:
        return _Sending("service", None, False)
    wanted, used_fallback = request.template, False
    if wanted is None:
        wanted, used_fallback = request.fallback_ref, True
        if wanted is None or request.fallback is None:
            return Refusal("window_closed")
    template = asked.facts.template(waba, wanted.name, wanted.language)
    if template is None:
        return Refusal("template_unknown")
    refusal = _template_refusal(template, asked.now_ms)
    if refusal is not None:
        return refusal
    category = _CATEGORIES.get(category_at(template, asked.now_ms).lower(), "marketing")
    return _Sending(category, template, used_fallback)


def _template_refusal(template: Template, now_ms: int) -> Refusal | None:
    if template.paused:
        return Refusal("paused_by_operator", None)
    status = status_at(template, now_ms)
    if status in SENDABLE:
        return None
    reason = _TEMPLATE_REASONS.get(status, "template_not_approved")
    if reason == "template_paused":
        return Refusal(reason, template.paused_until_ms)
    return Refusal(reason, None if status in ("PENDING", "IN_APPEAL") else 0)


def _unfit(request: SendRequested, sending: _Sending) -> tuple[str, ...]:
    """What does not fit the template, as far as its parameters are known."""
    shape = None if sending.template is None else sending.template.parameters
    if shape is None:
        return ()
    if not sending.used_fallback:
        return message_problems(shape, request.message)
    return () if request.fallback is None else template_problems(shape, request.fallback)


def _content_refusal(asked: _Question, sending: _Sending, sender: _Sender, regime: Regime) -> Refusal | None:
    if sending.category in sender.account.paused_categories:
        return Refusal("paused_by_operator", None)
    unfit = _unfit(asked.request, sending)
    if unfit:
        return Refusal("template_parameters", message="; ".join(unfit))
    if not sender.account.can_pay(asked.now_ms):
        if sending.template is not None:
            failing = sender.account.payment_method == "failing"
            return Refusal(
                "payment_method_missing", sender.account.payment_failing_until_ms if failing else None
            )
        if not sender.number.default:
            return Refusal("sender_not_default")
        if not asked.state.verified:
            return Refusal("recipient_not_verified", None)
    if sending.category == "marketing":
        if asked.state.opted_out:
            return Refusal("opted_out")
        stopped = regime.name != GUIDE_REGIME and asked.now_ms >= MARKETING_STOPPED_MS
        if stopped and is_american(asked.request.user):
            return Refusal("marketing_not_allowed")
    closed = endpoint_refusal(sending.category, asked.request, sender.account)
    if closed is not None:
        return Refusal(closed)
    if sending.category == "authentication" and is_bsuid(asked.request.user):
        return Refusal("recipient_invalid")  # Meta, error 131062: one-time passwords go to numbers only
    return None


def _at_price(asked: _Question, sending: _Sending, sender: _Sender, regime: Regime) -> Verdict:
    """Decide by price and limits, the last checks: by the places the message needs, and whether it gets them."""
    state, now_ms, tariff, grants = asked.state, asked.now_ms, asked.tariff, asked.grants
    waba, account = sender.waba, sender.account
    category, command = sending.category, asked.holder
    seen = foresee(state, category, command, now_ms, answers=answers_click(state, regime, now_ms))
    quoted = _quoted(asked, category, account, regime, seen, room=True)
    free = tier = tier_place = free_left = None
    wanted: list[tuple[Claim, Grant]] = []
    budgets: list[tuple[Claim, Grant]] = []
    if isinstance(quoted, Quote) and quoted.type == "free_tier":
        free = free_claim(state, command, seen.id, account, waba, regime, tariff, now_ms)
    if free is not None:
        free = asked.place(free)
        free_place = grants[free]
        wanted.append((free, free_place))
        free_left = max(0, free.limit - free_place.used)
        if not free_place.granted:
            quoted = _quoted(asked, category, account, regime, seen, room=False)
    limit = asked.facts.messaging_limit(waba)
    if not asked.in_window:
        tier = tier_claim(
            state, command, category, limit, account, waba, regime, now_ms, asked.waits_until_ms
        )
    if tier is not None:
        tier = asked.place(tier)
        tier_place = grants[tier]
        wanted.append((tier, tier_place))
    if isinstance(quoted, Quote) and not quoted.free and account.budgets:
        if grants.unanswered(free):
            return Verdict(
                None, grants.unanswered(free, tier)
            )  # it takes of the budgets only if it is not free
        month, amount = tariff.month(account.timezone, now_ms), quoted.amount_micros
        spent = budget_claims(state, command, category, amount, account, waba, month, now_ms)
        budgets = [(claim, grants[claim]) for claim in map(asked.place, spent)]
        wanted += budgets
    claims = grants.unanswered(*[claim for claim, _ in wanted])
    held = tuple([claim for claim, place in wanted if claim.take and place.granted])
    refusal = _price_refusal(asked, account, quoted, tier_place, [place for _, place in budgets])
    told: dict[str, Any] = {
        "price": _priced(quoted) if isinstance(quoted, Quote) else None,
        "tier": None if tier is None or tier_place is None else _tier(limit, tier, tier_place.used),
        "free_left": free_left,
    }
    if refusal is None:
        decision = asked.answer("allow", "ok", sending, conversation=_use(seen), **told)
        return Verdict(decision, claims, held, tier=tier)
    decision = asked.refuse(refusal, sending, **told)
    if tier is not None and decision.outcome == "reject" and tier.waits_until_ms and tier not in held:
        held = (*held, tier)  # its turn among those who wait
    return Verdict(decision, claims, held, tier=tier)


def _quoted(
    asked: _Question, category: Category, account: Account, regime: Regime, seen: Foreseen, *, room: bool
) -> Quote | RateUnknown:
    return asked.tariff.quote(
        regime,
        category,
        asked.request.user,
        account,
        asked.now_ms,
        in_window=asked.in_window,
        entry_point_open=seen.free_entry,
        opens_conversation=seen.opens,
        free_tier_has_room=room,
    )


def _price_refusal(
    asked: _Question,
    account: Account,
    quoted: Quote | RateUnknown,
    tier: Grant | None,
    budgets: Sequence[Grant],
) -> Refusal | None:
    costs = isinstance(quoted, RateUnknown) or not quoted.free
    if costs and not account.can_pay(asked.now_ms):
        return Refusal("free_tier_exhausted", asked.tariff.next_month_ms(account.timezone, asked.now_ms))
    if tier is not None and not tier.granted:
        return Refusal("tier_limit_reached", tier.free_ms or None)
    if isinstance(quoted, RateUnknown):
        return Refusal("rate_unknown")
    most, currency = asked.request.max_price_micros, asked.request.max_price_currency
    if (
        most is not None
        and costs
        and (quoted.amount_micros > most or quoted.currency != (currency or quoted.currency))
    ):
        return Refusal("max_price_exceeded")
    if not all(place.granted for place in budgets):
        return Refusal("budget_exceeded", asked.tariff.next_month_ms(account.timezone, asked.now_ms))
    return None


def _tier(limit: int, claim: Claim, used: int) -> Tier:
    """The messaging limit, and what of it is left for this message's category."""
    return Tier(limit=limit, used=used, left=max(0, claim.limit - used))


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
