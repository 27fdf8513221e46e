"""Which conversation a message falls into: foreseen when it is decided, settled when it is delivered. Pure.

A conversation opens at the delivery of a business's message and lasts 24 h. A template reuses the open one of its own category, a free-form
any open one, its own first. The answer to a click on an ad opens a free entry point, which closes all others and lets no other open. Meta's
own id and expiry win. Source: Meta, conversation-based pricing.
"""

import msgspec
from msgspec.structs import replace

from services.router.state import (
    CONVERSATION_MS,
    SHARED_MS,
    Conversation,
    Life,
    State,
)
from services.router.tariff import Tariff
from shared.accounts import Account
from shared.events import MetaConversation
from shared.pricing import Regime
from shared.times import HOUR_MS

ENTRY = "referral_conversion"
"""The category of a free entry point (Meta, webhooks, conversation.origin.type)."""
SERVICE = "service"


class Foreseen(msgspec.Struct, frozen=True, gc=False):
    """The conversation a message will most likely fall into; `expires_ms` None while it is pending."""

    id: str
    opens: bool
    category: str
    expires_ms: int | None
    free_entry: bool


class Settled(msgspec.Struct, frozen=True, gc=False):
    """The conversation a delivery fell into, and the state after it."""

    state: State
    conversation: Conversation
    opened: bool
    free_entry: bool


def rules_of(state: State, category: str, at_ms: int, account: Account, tariff: Tariff) -> Regime:
    """The regime of a message at an instant: a conversation opened where conversations are charged keeps its rules until it ends (Meta, pricing, 2025-07).

    Raises:
        UnknownRegimeError, KeyError: the account's facts name a regime or time zone that nobody knows.
    """
    regime = tariff.regime(account.regime, account.timezone, at_ms)
    if regime.unit == "message":
        found = _open_at(state, category, at_ms)
        if found is not None:
            before = tariff.regime(account.regime, account.timezone, found.opened_ms)
            if before.unit == "conversation":
                return before
    return regime


def answers_click(state: State, regime: Regime, now_ms: int) -> bool:
    """Whether a message decided now is the answer that opens a free entry point."""
    if not state.clicked_ms or _entry_at(state, now_ms) is not None:
        return False
    return now_ms < state.clicked_ms + regime.entry_point.answer_within_h * HOUR_MS


def foresee(state: State, category: str, command: str, now_ms: int, *, answers: bool) -> Foreseen:
    """What a message of `category`, commanded now as `command`, does to conversations if it is delivered soon.

    Messages in flight share their pending conversation, so that only the first is said to open it.
    """
    entry = _entry_at(state, now_ms)
    if entry is not None:
        return Foreseen(entry.id, False, category, entry.expires_ms, True)
    if answers:
        for life in state.lives:
            if life.answers_click and _lends(life, now_ms):
                return Foreseen(life.conversation, False, category, None, True)
        return Foreseen(command, True, category, None, True)
    found = _open_at(state, category, now_ms)
    if found is not None:
        return Foreseen(found.id, False, found.category, found.expires_ms, False)
    for life in state.lives:
        if _lends(life, now_ms) and category in (life.category, SERVICE):
            return Foreseen(life.conversation, False, life.category, None, life.answers_click)
    return Foreseen(command, True, category, None, False)


def settle(state: State, life: Life, at_ms: int, regime: Regime, told: MetaConversation | None) -> Settled:
    """Let the message be delivered at `at_ms` (Meta's time) and find its conversation by what is open then.

    Statuses come in any order: a delivery earlier than the one that opened a conversation moves its opening back. `told` is the
    status's own `conversation`; it counts, as that of an earlier `sent`, only where conversations are charged, for later Meta names one per message.
    """
    if regime.unit != "conversation":
        told, life = None, replace(life, meta_conversation=None)
    entry = state.entry
    if entry is not None and at_ms < entry.expires_ms and (at_ms >= entry.opened_ms or life.answers_click):
        entry = _joined(entry, at_ms, regime.entry_point.lasts_h * HOUR_MS, told)
        return Settled(state if entry == state.entry else replace(state, entry=entry), entry, False, True)
    if life.answers_click and state.clicked_ms:
        return _open_entry(state, life, at_ms, regime, told)
    found = _named(state, told) or _open_when(state, life.category, at_ms)
    if found is not None and (told is None or not found.meta or found.id == told.id):
        joined = _joined(found, at_ms, CONVERSATION_MS, told) if found.category == life.category else found
        return Settled(_with(state, found, joined), joined, False, False)
    opened = _new(state, life, life.category, at_ms, CONVERSATION_MS, told)
    return Settled(replace(state, conversations=_with_new(state.conversations, opened)), opened, True, False)


def learn_expiry(state: State, told: MetaConversation | None) -> State:
    """The state with Meta's own expiry of a conversation whose id Meta gave (only `sent` tells it, and it may come late)."""
    if told is None or told.expires_ms is None:
        return state
    entry = state.entry
    if entry is not None and entry.meta and entry.id == told.id:
        return replace(state, entry=replace(entry, expires_ms=told.expires_ms))
    for known in state.conversations:
        if known.meta and known.id == told.id and known.expires_ms != told.expires_ms:
            return _with(state, known, replace(known, expires_ms=told.expires_ms))
    return state


def _open_entry(
    state: State, life: Life, at_ms: int, regime: Regime, told: MetaConversation | None
) -> Settled:
    entry = _new(state, life, ENTRY, at_ms, regime.entry_point.lasts_h * HOUR_MS, told)
    closed = tuple(replace(c, expires_ms=at_ms) if c.expires_ms > at_ms else c for c in state.conversations)
    return Settled(replace(state, entry=entry, conversations=closed, clicked_ms=0), entry, True, True)


def _with_new(known: tuple[Conversation, ...], opened: Conversation) -> tuple[Conversation, ...]:
    """The conversations with one more: of its category the two latest are kept, for late statuses of the one before."""
    mine = sorted((opened, *(c for c in known if c.category == opened.category)), key=_opened_ms)
    return (*(c for c in known if c.category != opened.category), *mine[-2:])


def _new(
    state: State, life: Life, category: str, at_ms: int, lasts_ms: int, told: MetaConversation | None
) -> Conversation:
    """The conversation this delivery opens: with Meta's id and expiry where they were told, by this or an earlier status."""
    own = _own(state, life)
    id_ = told.id if told is not None else life.meta_conversation
    if id_ is None:
        return Conversation(own, category, at_ms, at_ms + lasts_ms, False, own)
    expires_ms = told.expires_ms if told is not None else None
    if expires_ms is None and life.meta_conversation == id_ and life.meta_expires_ms > at_ms:
        expires_ms = life.meta_expires_ms
    return Conversation(id_, category, at_ms, expires_ms or at_ms + lasts_ms, True, own)


def _own(state: State, life: Life) -> str:
    """The pending conversation the message shares; one of its own if that was opened by another delivery and is over."""
    opened = {conversation.pending for conversation in state.conversations}
    names = (life.conversation, life.command, f"{life.command}+")
    return next(name for name in names if name not in opened or name is names[-1])


def _joined(known: Conversation, at_ms: int, lasts_ms: int, told: MetaConversation | None) -> Conversation:
    """The conversation after one more delivery: perhaps opened earlier than was known, perhaps named by Meta now."""
    if at_ms < known.opened_ms:
        expires_ms = known.expires_ms if known.meta else min(known.expires_ms, at_ms + lasts_ms)
        known = replace(known, opened_ms=at_ms, expires_ms=expires_ms)
    if told is not None and not known.meta:
        known = replace(known, id=told.id, expires_ms=told.expires_ms or known.expires_ms, meta=True)
    return known


def _with(state: State, old: Conversation, new: Conversation) -> State:
    if old == new:
        return state
    return replace(state, conversations=tuple(new if c is old else c for c in state.conversations))


def _lends(life: Life, now_ms: int) -> bool:
    return life.in_flight and life.decided_ms + SHARED_MS > now_ms


def _entry_at(state: State, now_ms: int) -> Conversation | None:
    return state.entry if state.entry is not None and now_ms < state.entry.expires_ms else None


def _open_at(state: State, category: str, now_ms: int) -> Conversation | None:
    """The open conversation as far as is known now; one that Meta's clock opened a little in the future is open."""
    others = []
    for conversation in state.conversations:
        if now_ms < conversation.expires_ms:
            if conversation.category == category:
                return conversation
            others.append(conversation)
    return max(others, key=_opened_ms, default=None) if category == SERVICE else None


def _open_when(state: State, category: str, at_ms: int) -> Conversation | None:
    """The conversation that was open at a delivery; or the one of its category that this earlier delivery opened in truth."""
    then = [c for c in state.conversations if c.opened_ms <= at_ms < c.expires_ms]
    for conversation in then:
        if conversation.category == category:
            return conversation
    for conversation in state.conversations:
        if conversation.category == category and at_ms < conversation.opened_ms < at_ms + CONVERSATION_MS:
            return conversation
    return max(then, key=_opened_ms, default=None) if category == SERVICE else None


def _named(state: State, told: MetaConversation | None) -> Conversation | None:
    if told is None:
        return None
    return next((c for c in state.conversations if c.meta and c.id == told.id), None)


def _opened_ms(conversation: Conversation) -> int:
    return conversation.opened_ms
