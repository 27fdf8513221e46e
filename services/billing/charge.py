"""A message's charge as booked, what Meta's pricing makes of it, and the entries that lead from one to the other. Pure."""

from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from services.billing.meta_pricing import CONVERSATION_BASED, Billed, is_free
from shared.accounts import Account
from shared.events import ChargePredicted, LedgerEntry, MetaPricing, VolumeTier
from shared.pricing import (
    Market,
    PriceBook,
    Rate,
    RateCard,
    RateCategory,
    RateUnknown,
    local_day,
    rate_category,
    tier_in_force,
)
from shared.pricing.quotes import NO_CARD, NO_MARKET
from shared.times import parse_rfc3339, to_ms

RATE_UNKNOWN = "rate_unknown"
"""`type` of what Meta charges and no card prices: booked at 0 and marked, never mistaken for free."""


class Charge(msgspec.Struct, frozen=True, array_like=True):
    """What the ledger holds for one message (or conversation): the sum of its entries. `category` is the column of the card."""

    month: str
    unit: Literal["conversation", "message"]
    conversation_id: str | None
    regime: str
    rate_card: str
    category: str
    market: str
    type: str
    amount_micros: int
    currency: str
    counts: int
    volume_tier: VolumeTier | None = None
    day: str = ""
    delivered_ms: int = 0
    conversations: int = 0

    @property
    def free(self) -> bool:
        """Whether it is tallied as free."""
        return self.type not in ("regular", RATE_UNKNOWN)

    @property
    def empty(self) -> bool:
        """Whether there is nothing of it in the ledger."""
        return not (self.counts or self.amount_micros or self.conversations)

    @property
    def line(self) -> tuple[str, ...]:
        """The line of the tally it stands on."""
        return (self.month, self.unit, self.category, self.market, self.type, self.currency)


class Delivery(NamedTuple):
    """Who was reached, when (aware), for which account."""

    user: str
    at: datetime
    account: Account


def predicted(charge: ChargePredicted, delivery: Delivery) -> Charge:
    """The charge as the router predicted it; a reused conversation counts nothing and is only remembered."""
    opened = charge.opened if charge.opened is not None else charge.unit == "conversation" and charge.counted
    return Charge(
        month=charge.month,
        unit=charge.unit,
        conversation_id=charge.conversation_id,
        regime=charge.regime,
        rate_card=charge.rate_card,
        category=charge.rate_category or charge.category,
        market=charge.market,
        type=charge.type,
        amount_micros=charge.amount_micros,
        currency=charge.currency,
        counts=int(charge.counted),
        volume_tier=charge.volume_tier,
        day=charge.day or local_day(delivery.at, delivery.account.timezone).isoformat(),
        delivered_ms=to_ms(delivery.at),
        conversations=int(opened),
    )


def unforeseen(billed: Billed, delivery: Delivery, book: PriceBook) -> Charge:
    """The charge of a message nobody predicted, as far as the account tells; its rate is still unknown."""
    user, at, account = delivery
    regime = book.regimes.regime_at(account.regime, at, account.timezone)
    day = local_day(at, account.timezone)
    card = book.cards.card_at(regime, account.currency, day)
    meta_category = billed.pricing.category or "service"
    return Charge(
        month=f"{day:%Y-%m}",
        unit=regime.unit,
        conversation_id=billed.conversation_id,
        regime=regime.name,
        rate_card=card.id if card else NO_CARD,
        category=rate_category(meta_category) or meta_category,
        market=book.cards.markets.market_of(user, card.effective_from if card else day) or NO_MARKET,
        type=RATE_UNKNOWN,
        amount_micros=0,
        currency=account.currency,
        counts=1,
        day=day.isoformat(),
        delivered_ms=to_ms(at),
        conversations=int(regime.unit == "conversation"),
    )


def billed_as(charge: Charge, pricing: MetaPricing, delivery: Delivery, book: PriceBook) -> Charge:
    """The charge as Meta's pricing has it; Meta wins wherever it says something.

    A conversation reused stays uncounted: under conversation-based pricing each message repeats the price of its conversation.
    """
    if not charge.counts and pricing.pricing_model == CONVERSATION_BASED:
        return charge
    category = (rate_category(pricing.category) if pricing.category else None) or charge.category
    free = is_free(pricing)
    if free if free is not None else charge.free:
        type_ = (
            pricing.type if pricing.type and pricing.type != "regular" else _free_type(charge, category, book)
        )
        return msgspec.structs.replace(
            charge, category=category, type=type_, amount_micros=0, counts=1, volume_tier=None
        )
    if category == charge.category and charge.type == "regular" and charge.counts:
        return charge
    return _repriced(charge, category, delivery, book)


def _free_type(charge: Charge, category: str, book: PriceBook) -> str:
    """Why it is free, where Meta does not say."""
    if charge.free:
        return charge.type
    regime = book.regimes.by_pin.get(charge.regime)
    tiered = category == "service" and regime is not None and regime.free_tier is not None
    return "free_tier" if tiered else "free_customer_service"


def _repriced(charge: Charge, category: str, delivery: Delivery, book: PriceBook) -> Charge:
    """At the rate of the charge's own card, which was in force at delivery; else of the card in force now."""
    column = rate_category(category)
    rate = None if column is None else _rate(charge, column, delivery, book)
    repriced = msgspec.structs.replace(
        charge, category=category, type=RATE_UNKNOWN, amount_micros=0, counts=1, volume_tier=None
    )
    if rate is None:
        return repriced
    return msgspec.structs.replace(
        repriced,
        type="regular",
        amount_micros=rate.amount_micros,
        rate_card=rate.rate_card,
        market=rate.market,
        volume_tier=rate.volume_tier,
    )


def _rate(charge: Charge, column: RateCategory, delivery: Delivery, book: PriceBook) -> Rate | None:
    user, at, account = delivery
    regime = book.regimes.by_pin.get(charge.regime)

    def on(card: RateCard, market: Market) -> Rate | None:
        tier = None
        if regime is not None:
            tier = tier_in_force(regime, account, market, column, to_ms(at), charge.month)
        return card.rate(market, column, tier)

    own = book.cards.by_id.get(charge.rate_card)
    rate = None if own is None else on(own, Market(charge.market))
    if rate is not None or regime is None:
        return rate
    found = book.cards.find(regime, user, charge.currency, at, account.timezone)
    return None if isinstance(found, RateUnknown) else on(*found)


class Posting(NamedTuple):
    """One entry to append: the line it stands on, and by how much it changes that line."""

    charge: Charge
    counts: int
    amount_micros: int
    conversations: int


def postings(before: Charge | None, after: Charge) -> tuple[Posting, ...]:
    """What leads from `before` to `after`: nothing, one entry, or one that takes back and one that books anew.

    A charge that moves to another line of the tally (category, market, free or not) is taken back whole, so that each line stays true; the
    sum of the entries is the difference alone.
    """
    if before is None or before.empty:
        return () if after.empty else (_booked(after),)
    if before.line == after.line:
        change = Posting(
            after,
            after.counts - before.counts,
            after.amount_micros - before.amount_micros,
            after.conversations - before.conversations,
        )
        return (change,) if any(change[1:]) else ()
    taken_back = Posting(before, -before.counts, -before.amount_micros, -before.conversations)
    return (taken_back,) if after.empty else (taken_back, _booked(after))


def _booked(charge: Charge) -> Posting:
    return Posting(charge, charge.counts, charge.amount_micros, charge.conversations)


def posted(charge: Charge | None, entry: LedgerEntry) -> Charge:
    """The charge after an entry that is in the ledger already; the inverse of `postings`."""
    of_entry = Charge(
        month=entry.month,
        unit=entry.unit,
        conversation_id=entry.conversation_id,
        regime=entry.regime,
        rate_card=entry.rate_card,
        category=entry.category,
        market=entry.market,
        type=entry.type,
        amount_micros=entry.amount_micros,
        currency=entry.currency,
        counts=entry.counts,
        volume_tier=entry.volume_tier,
        day=entry.day,
        delivered_ms=parse_rfc3339(entry.delivered_at),
        conversations=entry.conversations,
    )
    if charge is None or charge.line != of_entry.line:
        return of_entry
    return msgspec.structs.replace(
        of_entry,
        amount_micros=charge.amount_micros + entry.amount_micros,
        counts=charge.counts + entry.counts,
        conversations=charge.conversations + entry.conversations,
    )
