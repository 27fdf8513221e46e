"""What a message will cost: the regime's rules and the card in, a quote or `RateUnknown` out. Pure."""

from dataclasses import dataclass
from datetime import datetime

from shared.accounts import Account
from shared.events import VolumeTier
from shared.pricing.cards import RateCards, RateUnknown, no_rate
from shared.pricing.days import local_day, local_month
from shared.pricing.rating import rate_of
from shared.pricing.regimes import Regime
from shared.pricing.terms import QuoteType, RateCategory
from shared.times import to_ms

NO_CARD = "none"
"""`rate_card` of a free quote where the regime has no card in the account's currency."""

NO_MARKET = "unknown"
"""`market` of a free quote for a user whom no market covers."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A predicted price in millionths of the currency; `type` says why. Only `regular` costs anything.

    `illustrative` is true where the price comes from a card or tier table that Meta never published; its id says so
    too. `rate_category` is the column of the card, None where nothing is charged; `volume_tier` None is the list rate.
    """

    regime: str
    rate_card: str
    market: str
    type: QuoteType
    amount_micros: int
    currency: str
    illustrative: bool = False
    rate_category: RateCategory | None = None
    volume_tier: VolumeTier | None = None

    @property
    def free(self) -> bool:
        """Whether nothing will be charged."""
        return self.type != "regular"


def quote(
    cards: RateCards,
    regime: Regime,
    account: Account,
    *,
    category: RateCategory,
    user: str,
    at: datetime,
    in_window: bool,
    entry_point_open: bool,
    opens_conversation: bool,
    free_tier_has_room: bool,
) -> Quote | RateUnknown:
    """Price one message, as the table of the regimes reads (Meta, pricing).

    Whether a place of the free tier is wanted: ask with `free_tier_has_room=True` and see if the type is
    `free_tier`.

    Args:
        cards: all rate cards.
        regime: the account's, from `Regimes.regime_at`.
        account: its currency, time zone, primary location, authentication-international start and volume tiers count.
        category: of the message; `service` for free-form.
        user: canonical.
        at: aware; when the message is (to be) delivered.
        in_window: inside the customer service window.
        entry_point_open: inside a free entry point's 72 h, or the answer that opens it.
        opens_conversation: the message opens one; without meaning where each message is charged.
        free_tier_has_room: at least one free unit is left in `free_tier_scope`.
    """
    kind = quote_type(regime, category, in_window, entry_point_open, opens_conversation, free_tier_has_room)
    if kind != "regular":
        day = local_day(at, account.timezone)
        card = cards.card_at(regime, account.currency, day)
        market = cards.markets.market_of(user, card.effective_from if card else day) or NO_MARKET
        if card is None:
            return Quote(regime.name, NO_CARD, market, kind, 0, account.currency)
        return Quote(regime.name, card.id, market, kind, 0, account.currency, card.illustrative)
    found = cards.find(regime, user, account.currency, at, account.timezone)
    if isinstance(found, RateUnknown):
        return found
    card, market = found
    at_ms, month = to_ms(at), local_month(at, account.timezone)
    rate = rate_of(card, regime, account, market, category, user, at_ms, month)
    if rate is None:
        return no_rate(card, market, category)
    return Quote(
        regime.name,
        rate.rate_card,
        rate.market,
        kind,
        rate.amount_micros,
        rate.currency,
        rate.illustrative,
        rate.category,
        rate.volume_tier,
    )


def quote_type(
    regime: Regime,
    category: RateCategory,
    in_window: bool,
    entry_point_open: bool,
    opens_conversation: bool,
    free_tier_has_room: bool,
) -> QuoteType:
    """Return why a message costs something or nothing, by the regime's rules alone; the arguments are those of `quote`."""
    if entry_point_open:
        return "free_entry_point"
    if regime.unit == "conversation" and not opens_conversation:
        return "reused"
    if category == "service":
        if regime.service == "free":
            return "free_customer_service"
        if regime.service == "free_tier" and free_tier_has_room:
            return "free_tier"
    if category == "utility" and in_window and regime.utility_in_window_free:
        return "free_customer_service"
    return "regular"
