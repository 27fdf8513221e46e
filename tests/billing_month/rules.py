"""What a configuration folder says of regimes and rates, read plainly with `csv` and `yaml`; shares no code with `shared/pricing`.

Amounts are whole millionths of a US dollar, times epoch milliseconds.
"""

import csv
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import yaml

from tests.billing_month.world import Account

COLUMNS = {
    "marketing": "Marketing",
    "utility": "Utility",
    "authentication": "Authentication",
    "authentication_international": "Authentication-International",
    "service": "Service",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Regime(NamedTuple):
    """The rules of a period, as far as they decide what a delivery costs."""

    name: str
    starts_on: date
    unit: str
    service: str
    utility_in_window_free: bool
    free_scope: str | None
    free_units: int
    cards: tuple[str, ...]
    tiered: frozenset[str]


class Card(NamedTuple):
    """One list of rates: (market, column) → millionths; `tiers` by (market, column, "lower:upper")."""

    id: str
    starts_on: date
    micros: Mapping[tuple[str, str], int]
    tiers: Mapping[tuple[str, str, str], tuple[int, str]]


class Rate(NamedTuple):
    """Millionths of one unit, and the volume tier it was found in as (tier, where its rate stands)."""

    micros: int
    tier: tuple[str, str | None] | None


class Rules:
    """The configuration of a month."""

    def __init__(self, folder: Path) -> None:
        document = yaml.safe_load((folder / "regimes.yaml").read_text())
        self._regimes = sorted(map(_regime, document["regimes"]), key=lambda regime: regime.starts_on)
        self._by_pin = {regime.name: regime for regime in self._regimes}
        self._by_pin |= {alias: self._by_pin[name] for alias, name in document["aliases"].items()}
        manifest = yaml.safe_load((folder / "rates" / "manifest.yaml").read_text())
        tables = {table["card"]: table for table in manifest["tier_tables"]}
        self.cards = {
            card["id"]: _card(folder / "rates", card, tables.get(card["id"]))
            for card in manifest["cards"]
            if card["currency"] == "USD"
        }
        with (folder / "rates" / manifest["market_map"]).open(newline="") as file:
            self._markets = list(csv.DictReader(file))
        self.in_force = lru_cache(None)(self._in_force)
        self.market = lru_cache(None)(self._market)

    def _in_force(self, pin: str, day: date) -> tuple[Regime, Card]:
        """The regime of an account on a day of its own calendar, and that regime's newest card."""
        begun = [regime for regime in self._regimes if regime.starts_on <= day]
        regime = begun[-1] if pin == "calendar" else self._by_pin[pin]
        cards = [self.cards[id] for id in regime.cards if id in self.cards]
        cards = [card for card in cards if card.starts_on <= max(day, regime.starts_on)]
        return regime, max(cards, key=lambda card: card.starts_on)

    def _market(self, digits: str, card_id: str) -> str:
        """The card's row for a number that begins with these digits: by the longest prefix of the map in force when the card began."""
        starts_on = self.cards[card_id].starts_on
        column = max(
            name
            for name in self._markets[0]
            if name.startswith("from_") and date.fromisoformat(name[5:]) <= starts_on
        )
        longest, found = -1, ""
        for row in self._markets:
            code = "" if row["calling_code"] == "*" else row["calling_code"]
            for prefix in [code + after for after in row["prefixes"].split()] or [code]:
                if digits.startswith(prefix) and len(prefix) > longest:
                    longest, found = len(prefix), row[column]
        return found

    def rate(
        self, regime: Regime, card: Card, account: Account, market: str, column: str, at_ms: int, month: str
    ) -> Rate | None:
        """What one unit costs, in the tier reached by then; None where the card has no rate."""
        listed = card.micros.get((market, column))
        if listed is None:
            return None
        tier = account.tier_at(column, market, month, at_ms) if column in regime.tiered else None
        if tier is None:
            return Rate(listed, None)
        micros, stands_on = card.tiers.get((market, column, tier), (listed, None))
        if stands_on is None and tier.startswith("1:"):
            stands_on = card.id
        return Rate(micros, (tier, stands_on))


@lru_cache(1 << 16)
def _day_of(zone: str, half_hour: int) -> date:
    """The day there in a half hour of the epoch: no zone here begins its day within one."""
    return (_EPOCH + timedelta(minutes=30 * half_hour)).astimezone(ZoneInfo(zone)).date()


def local_day(zone: str, at_ms: int) -> date:
    """The calendar day there."""
    return _day_of(zone, at_ms // 1_800_000)


def instant(zone: str, day: date) -> int:
    """When a day begins there."""
    return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def _regime(entry: dict[str, Any]) -> Regime:
    tier = entry["free_tier"]
    return Regime(
        entry["name"],
        entry["starts_on"],
        entry["unit"],
        entry["service"],
        entry["utility_in_window_free"],
        tier["scope"] if tier else None,
        tier["units_per_month"] if tier else 0,
        tuple(entry["rate_cards"]),
        frozenset(entry["volume_tiers"]),
    )


def _card(folder: Path, card: dict[str, Any], table: dict[str, Any] | None) -> Card:
    micros, tiers = {}, {}
    with (folder / card["file"]).open(newline="") as file:
        for row in csv.DictReader(file):
            for column, name in COLUMNS.items():
                if row[name] not in ("", "n/a") and Decimal(row[name]):
                    micros[row["Market"], column] = int(Decimal(row[name]) * 1_000_000)
    if table is not None:
        with (folder / table["file"]).open(newline="") as file:
            for row in csv.DictReader(file):
                bounds = f"{row['from']}:{row['to']}"
                amount = int(Decimal(row["rate"]) * 1_000_000)
                tiers[row["market"], row["category"], bounds] = (amount, table["id"])
    return Card(card["id"], card["effective_from"], micros, tiers)
