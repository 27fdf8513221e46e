"""Rate cards: category, user and instant in, the rate or why there is none out. Pure after `load`."""

import csv
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Literal

from shared.events import VolumeTier
from shared.price_facts import tier_bounds
from shared.pricing.amounts import RateCardError, micros
from shared.pricing.days import local_day
from shared.pricing.manifest import MANIFEST, CardEntry, Manifest
from shared.pricing.markets import MarketMap
from shared.pricing.regimes import Regime
from shared.pricing.terms import Market, RateCategory, Unit
from shared.pricing.tiers import TierTable

ILLUSTRATIVE = "illustrative"
"""The first word of the id of every card that Meta never published; a tier table's id begins with its sureness in the same way."""

COLUMNS: dict[str, RateCategory] = {
    "Marketing": "marketing",
    "Utility": "utility",
    "Authentication": "authentication",
    "Authentication-International": "authentication_international",
    "Service": "service",
}
"""The columns of a card after `Market` and `Currency`."""


@dataclass(frozen=True, slots=True)
class Rate:
    """The price of one unit: millionths of the currency, always above zero.

    `category` is the column it stands in, `volume_tier` the tier it was looked up for (None: the list rate).
    """

    amount_micros: int
    currency: str
    market: Market
    rate_card: str
    illustrative: bool
    category: RateCategory
    volume_tier: VolumeTier | None = None


@dataclass(frozen=True, slots=True)
class RateUnknown:
    """There is no price, and a message without one is refused, never sent at zero.

    `no_market`: no market covers the user. `no_card`: the regime has no card in this currency at this date.
    `no_rate`: the card prices no such category in this market.
    """

    reason: Literal["no_market", "no_card", "no_rate"]
    detail: str


@dataclass(frozen=True, slots=True)
class RateCard:
    """One published (or illustrative) list of rates, in force from a day on."""

    id: str
    currency: str
    unit: Unit
    effective_from: date
    illustrative: bool
    source: str
    micros: dict[tuple[Market, RateCategory], int]
    tiers: TierTable | None = None

    def rate(self, market: Market, category: RateCategory, tier: str | None = None) -> Rate | None:
        """Return what one unit costs in a volume tier ("lower:upper"), by list without one; None where the card has no rate.

        The first tier is the list itself. A tier that no table prices costs the list rate, and `volume_tier.rates` is None.
        """
        amount = self.micros.get((market, category))
        if amount is None:
            return None
        if tier is None:
            return Rate(amount, self.currency, market, self.id, self.illustrative, category)
        rates, illustrative, bounds = None, self.illustrative, tier_bounds(tier)
        if bounds is not None:
            tiered = self.tiers.micros.get((market, category, bounds)) if self.tiers else None
            if self.tiers is not None and tiered is not None:
                amount, rates = tiered, self.tiers.id
                illustrative = illustrative or self.tiers.sureness == ILLUSTRATIVE
            elif bounds[0] == 1:
                rates = self.id
        named = VolumeTier(tier=tier, rates=rates)
        return Rate(amount, self.currency, market, self.id, illustrative, category, named)


@dataclass(frozen=True, slots=True)
class RateCards:
    """All cards by id, and the map that leads from a user to a row of them."""

    by_id: dict[str, RateCard]
    markets: MarketMap

    @classmethod
    def load(cls, folder: Path) -> "RateCards":
        """Read `manifest.yaml` and what it names from one folder.

        Raises:
            RateCardError: a card twice, a currency or market that is not the manifest's or the map's, an
                amount that is no decimal number, is negative or is finer than a millionth, an illustrative
                card whose id hides it; a tier table of no card, the second of one, or one that contradicts its card.
            MarketMapError: as `MarketMap.load`.
            OSError: a file can't be read.
        """
        path, manifest = folder / MANIFEST, Manifest.load(folder)
        markets = MarketMap.load(folder / manifest.market_map)
        for spelling, market in manifest.also_called.items():
            if not markets.is_market(market):
                raise RateCardError(f"{path}: also_called {spelling}: no market {market}")
        by_id: dict[str, RateCard] = {}
        for entry in manifest.cards:
            if entry.illustrative != entry.id.startswith(ILLUSTRATIVE):
                raise RateCardError(f"{path}: card {entry.id}: its id must say whether it is illustrative")
            by_id[entry.id] = _card(folder, entry, markets.markets())
        for table in manifest.tier_tables:
            card = by_id.get(table.card)
            if card is None or (card.tiers is not None and table.replaced_by is None):
                raise RateCardError(
                    f"{path}: tier table {table.id}: no card {table.card}, or one that has a table"
                )
            if table.sureness != "published" and not table.id.startswith(table.sureness):
                raise RateCardError(
                    f"{path}: tier table {table.id}: its id must say that it is {table.sureness}"
                )
            tiers = TierTable.load(
                folder / table.file, table.id, table.sureness, table.source, card.currency, card.micros
            )
            if table.replaced_by is None:
                by_id[table.card] = replace(card, tiers=tiers)
        return cls(by_id, markets)

    def card_at(self, regime: Regime, currency: str, day: date) -> RateCard | None:
        """Return the regime's latest card in this currency that is in force on a day of the WABA's calendar.

        For an account pinned to a regime that has not begun, the day is the regime's first.
        """
        day = max(day, regime.starts_on)
        latest = None
        for card_id in regime.rate_cards:
            card = self.by_id[card_id]
            if card.currency != currency or card.effective_from > day:
                continue
            if latest is None or card.effective_from > latest.effective_from:
                latest = card
        return latest

    def find(
        self, regime: Regime, user: str, currency: str, at: datetime, timezone: str
    ) -> tuple[RateCard, Market] | RateUnknown:
        """Return the card in force and the user's market on it.

        Args:
            regime: the account's, from `Regimes.regime_at`.
            user: canonical (`shared.phone.canonical_user`).
            currency: the WABA's billing currency, ISO 4217.
            at: aware; the instant of delivery for a charge, of the decision for a prediction.
            timezone: the WABA's IANA time zone; a card begins at 00:00 there.
        """
        card = self.card_at(regime, currency, local_day(at, timezone))
        if card is None:
            return RateUnknown("no_card", f"regime {regime.name} has no card in {currency} at this date")
        # Read with the map of the card's own day: Meta moves countries between markets only with a new card,
        # and an older card (of a pinned regime) would miss its own rows under a later map.
        market = self.markets.market_of(user, card.effective_from)
        if market is None:
            return RateUnknown("no_market", "no market covers this user")
        return card, market

    def rate(
        self, regime: Regime, category: RateCategory, user: str, currency: str, at: datetime, timezone: str
    ) -> Rate | RateUnknown:
        """Return what one unit costs by list, in the column `category`: no free tier, no volume tier; the others as in `find`."""
        found = self.find(regime, user, currency, at, timezone)
        if isinstance(found, RateUnknown):
            return found
        card, market = found
        return card.rate(market, category) or no_rate(card, market, category)


def no_rate(card: RateCard, market: Market, category: RateCategory) -> RateUnknown:
    """Say that the card has no such rate."""
    return RateUnknown("no_rate", f"card {card.id} has no {category} rate for {market}")


def _card(folder: Path, entry: CardEntry, known: frozenset[Market]) -> RateCard:
    path = folder / entry.file
    amounts: dict[tuple[Market, RateCategory], int] = {}
    seen: set[Market] = set()
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            market = Market((row.get("Market") or "").strip())
            if market not in known or market in seen:
                raise RateCardError(f"{path}: market {market!r} is unknown to the market map, or there twice")
            seen.add(market)
            if row.get("Currency") != entry.currency:
                raise RateCardError(
                    f"{path}: {market}: currency {row.get('Currency')!r}, not {entry.currency}"
                )
            for column, category in COLUMNS.items():
                if column not in row:
                    raise RateCardError(f"{path}: no column {column}")
                amount = micros(f"{path}: {market}: {column}", row[column] or "")
                if amount is not None:
                    amounts[market, category] = amount
    return RateCard(
        entry.id, entry.currency, entry.unit, entry.effective_from, entry.illustrative, entry.source, amounts
    )
