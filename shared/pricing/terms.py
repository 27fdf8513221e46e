"""The words of pricing that every part of it uses. Pure."""

from typing import Literal, NewType

RateCategory = Literal["marketing", "utility", "authentication", "authentication_international", "service"]
"""What a rate card prices: the categories of a message, and authentication to another country."""

Unit = Literal["conversation", "message"]
"""What a regime charges: a 24 h conversation, or each delivered message."""

QuoteType = Literal["regular", "free_tier", "free_customer_service", "free_entry_point", "reused"]
"""Why a message has its price. Three of the words are Meta's own (webhooks, `pricing.type`)."""

Market = NewType("Market", str)
"""A row of a rate card: a country or a group of countries, by the recipient's calling code."""

_META_CATEGORIES: dict[str, RateCategory] = {
    "marketing": "marketing",
    "marketing_lite": "marketing",
    "utility": "utility",
    "authentication": "authentication",
    "authentication_international": "authentication_international",
    "service": "service",
}


def rate_category(meta_category: str) -> RateCategory | None:
    """Map `pricing.category` of a status to the column of a card; None for what has none.

    None are `referral_conversion` (free), groups, and what Meta adds. Marketing Lite is charged at marketing
    rates; Meta writes international authentication with hyphens too (Meta, pricing).
    """
    return _META_CATEGORIES.get(meta_category.lower().replace("-", "_"))
