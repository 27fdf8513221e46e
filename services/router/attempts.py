"""An attempt to send what may go out: its life and the places it holds, from the decision alone, so that a replay comes to the same. Pure."""

from services.router import announce
from services.router.conversations import answers_click
from services.router.decide import waits_until_ms
from services.router.endpoint import endpoint_of
from services.router.quotas import budget_claims, free_claim, tier_claim
from services.router.state import COMMANDED, Life, State
from services.router.tariff import Tariff
from shared.accounts import AccountFacts
from shared.events import ConversationUse, Decision, Endpoint, SendRequested, encode
from shared.ids import command_id
from shared.stream.fold import Claim
from shared.uncertain import WAIT_MS


def life_of(
    state: State,
    request: SendRequested,
    decision: Decision,
    now_ms: int,
    tariff: Tariff,
    seq: int,
    attempt: int = 1,
) -> Life:
    """The life of an allowed message that is commanded now; the attempts before it, if any, were refused for now.

    Raises:
        ValueError: the decision lacks what one that allows has.
    """
    price, use, category = decision.price, decision.conversation, decision.category
    if price is None or use is None or category is None:
        raise ValueError(f"an allowed message without price, conversation or category: {request.request_id}")
    command = command_id(request.request_id, attempt)
    valid_ms = announce.valid_until(state, request, decision, now_ms)
    return Life(
        command=command,
        stage=COMMANDED,
        seq=seq,
        decided_ms=now_ms,
        at_ms=now_ms,
        until_ms=valid_ms + WAIT_MS,
        category=category,
        conversation=_pending(use, command),
        regime=price.regime,
        card=price.rate_card,
        market=price.market,
        currency=price.currency,
        in_window=now_ms < state.window_ms,
        free_claim=price.type == "free_tier",
        tier_claim=decision.tier is not None,
        answers_click=answers_click(state, tariff.named(price.regime), now_ms),
        audio=request.type == "audio" and not decision.used_fallback,
        sent_is_all=request.type == "reaction" and not decision.used_fallback,
        correlation=request.correlation_id,
        tags=request.tags,
        budget_micros=price.amount_micros,
        request=encode(request),
        valid_ms=valid_ms,
        waits_ms=waits_until_ms(request),
        deferrals=attempt - 1,
    )


def marking_of(state: State, request: SendRequested, decision: Decision, now_ms: int, seq: int) -> Life:
    """The life of a read mark: until Meta's answer, and outside every conversation."""
    return Life(
        command=command_id(request.request_id, 1),
        stage=COMMANDED,
        seq=seq,
        decided_ms=now_ms,
        at_ms=now_ms,
        until_ms=announce.valid_until(state, request, decision, now_ms) + WAIT_MS,
        category="service",
        conversation="",
        regime="",
        card="",
        market="",
        currency="",
        in_window=False,
        free_claim=False,
        tier_claim=False,
        answers_click=False,
        audio=False,
        correlation=request.correlation_id,
        tags=request.tags,
        mark=True,
    )


def endpoint_for(state: State, request: SendRequested, decision: Decision, facts: AccountFacts) -> Endpoint:
    """Where an allowed message is posted, by the account facts as they are."""
    account = facts.account(state.waba)
    if account is None or decision.category is None:
        return "messages"
    return endpoint_of(decision.category, request, account)


def _pending(use: ConversationUse, command: str) -> str:
    """The conversation the message opens if none is open at its delivery: one shared with messages in flight, or its own."""
    return use.id if use.id is not None and use.expires_at is None else command


def places_of(
    state: State,
    request: SendRequested,
    decision: Decision,
    holder: str,
    now_ms: int,
    facts: AccountFacts,
    tariff: Tariff,
) -> list[Claim]:
    """The places that a decision of `now_ms` holds under the name of an attempt, by the account facts as they are."""
    account, price = facts.account(state.waba), decision.price
    if decision.outcome != "allow" or request.dry_run or account is None or price is None:
        return []
    regime, category = tariff.named(price.regime), decision.category or "service"
    found: list[Claim | None] = []
    if decision.tier is not None:
        limit = facts.messaging_limit(state.waba)
        found.append(tier_claim(state, holder, category, limit, account, state.waba, regime, now_ms))
    if price.type == "free_tier" and decision.conversation is not None:
        conversation = decision.conversation.id or ""
        found.append(free_claim(state, holder, conversation, account, state.waba, regime, tariff, now_ms))
    month = tariff.month(account.timezone, now_ms)
    found += budget_claims(state, holder, category, price.amount_micros, account, state.waba, month, now_ms)
    return [claim for claim in found if claim is not None]
