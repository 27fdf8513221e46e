"""What a message costs: by regime, rate card and market. `PriceBook.load` at start, pure after."""

from shared.pricing.amounts import RateCardError
from shared.pricing.book import PriceBook
from shared.pricing.cards import Rate, RateCard, RateCards, RateUnknown
from shared.pricing.days import local_day, local_month, month_end, month_start
from shared.pricing.markets import MarketMap, MarketMapError
from shared.pricing.quotes import Quote, quote, quote_type
from shared.pricing.rating import charged_as, rate_of, tier_in_force
from shared.pricing.regimes import (
    FreeTier,
    Regime,
    Regimes,
    RegimesFileError,
    UnknownRegimeError,
    free_tier_scope,
)
from shared.pricing.terms import Market, QuoteType, RateCategory, Unit, rate_category

__all__ = [
    "FreeTier",
    "Market",
    "MarketMap",
    "MarketMapError",
    "PriceBook",
    "Quote",
    "QuoteType",
    "Rate",
    "RateCard",
    "RateCardError",
    "RateCards",
    "RateCategory",
    "RateUnknown",
    "Regime",
    "Regimes",
    "RegimesFileError",
    "Unit",
    "UnknownRegimeError",
    "charged_as",
    "free_tier_scope",
    "local_day",
    "local_month",
    "month_end",
    "month_start",
    "quote",
    "quote_type",
    "rate_category",
    "rate_of",
    "tier_in_force",
]
