"""What an account pays for one unit of a card: its facts and an instant in, the column, the tier and the rate out. Pure."""

from shared.accounts import Account
from shared.phone import country_of
from shared.price_facts import tier_at, tier_key
from shared.pricing.cards import Rate, RateCard
from shared.pricing.regimes import Regime
from shared.pricing.terms import Market, RateCategory


def rate_of(
    card: RateCard,
    regime: Regime,
    account: Account,
    market: Market,
    category: RateCategory,
    user: str,
    at_ms: int,
    month: str,
) -> Rate | None:
    """Return what one charged unit costs; None where the card has no rate.

    Args:
        card: in force for the account.
        regime: whether it has volume tiers.
        account: its currency is the card's.
        market: the user's, on this card.
        category: the message's.
        user: canonical.
        at_ms: of the delivery, for a charge; of the decision, for a prediction.
        month: of `at_ms`, `YYYY-MM` in the WABA's time zone.
    """
    column = charged_as(card, account, market, category, user, at_ms)
    return card.rate(market, column, tier_in_force(regime, account, market, column, at_ms, month))


def charged_as(
    card: RateCard, account: Account, market: Market, category: RateCategory, user: str, at_ms: int
) -> RateCategory:
    """Return the column of the card a message is charged by: authentication to another country can have one of its own.

    It has where the card prices it for the user's market, the country is not the business's primary location, and the account's start for
    that country has come. A primary location that is not verified is no country's. Source: Meta, pricing, authentication-international.
    """
    owed = account.auth_international
    if category != "authentication" or owed is None:
        return category
    if (market, "authentication_international") not in card.micros:
        return category
    country = country_of(user)
    if country == account.primary_location or not owed.owed(country, at_ms):
        return category
    return "authentication_international"


def tier_in_force(
    regime: Regime, account: Account, market: Market, column: RateCategory, at_ms: int, month: str
) -> str | None:
    """Return the volume tier an account is in, as Meta writes it; None without notice, and where the regime has no tiers.

    Of a tier that both an operator wrote down and Meta told, Meta's time counts.

    An account that begins to owe authentication-international keeps the tier it reached with authentication: messages of both add up
    (Meta, pricing, volume tiers, example 2).
    """
    if column not in regime.volume_tiers or not (account.tier_notices or account.volume_tiers):
        return None
    counted = ("authentication", column) if column == "authentication_international" else (column,)
    keys = [tier_key(category, market, month) for category in counted]
    maps = (account.volume_tiers, account.tier_notices)
    told = [tiers[key] for tiers in maps for key in keys if key in tiers]
    if not told:
        return None
    reached = told[0] if len(told) == 1 else {tier: at for tiers in told for tier, at in tiers.items()}
    return tier_at(reached, at_ms)
