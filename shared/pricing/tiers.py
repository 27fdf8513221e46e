"""Tier tables: the rates of volume tiers beside the card they lower. Pure after `load`."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from shared.price_facts import tier_bounds
from shared.pricing.amounts import RateCardError, micros
from shared.pricing.manifest import Sureness
from shared.pricing.terms import Market, RateCategory

TIERED: tuple[RateCategory, ...] = ("utility", "authentication", "authentication_international")
"""The categories that have volume tiers (Meta, pricing, volume tiers)."""

COLUMNS = ("market", "currency", "category", "from", "to", "rate")

Bounds = tuple[int, int | None]
Listed = Mapping[tuple[Market, RateCategory], int]


class TierRow(NamedTuple):
    """What one more message costs in one tier, in millionths; `where` begins the text of an error about it."""

    where: str
    market: Market
    category: RateCategory
    bounds: Bounds
    micros: int


@dataclass(frozen=True, slots=True)
class TierTable:
    """The rates of some tiers of one card, in millionths of its currency; what it does not name is not known."""

    id: str
    sureness: Sureness
    source: str
    micros: dict[tuple[Market, RateCategory, Bounds], int]

    @classmethod
    def load(
        cls, path: Path, id: str, sureness: Sureness, source: str, currency: str, listed: Listed
    ) -> "TierTable":
        """Read the rows `market,currency,category,from,to,rate` and check them against the card's own rates.

        Raises:
            RateCardError: a row that is not what it must be, or as `tier_rates`.
            OSError: the file can't be read.
        """
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise RateCardError(f"{path}: the columns must be {','.join(COLUMNS)}")
            found = tier_rates((_row(str(path), row, currency) for row in rows), listed)
        return cls(id, sureness, source, found)


def tier_rates(rows: Iterable[TierRow], listed: Listed) -> dict[tuple[Market, RateCategory, Bounds], int]:
    """Check the tiers of a card against its list rates and against each other.

    The tiers of a market and category follow one another from 1 on; the first costs what the card says, each further one
    no more than the one before (Meta, pricing, volume tiers). Later tiers may be missing.

    Raises:
        RateCardError: a row that contradicts the card or the rows before it.
    """
    found: dict[tuple[Market, RateCategory, Bounds], int] = {}
    last: dict[tuple[Market, RateCategory], tuple[int | None, int]] = {}
    for where, market, category, (first, end), amount in rows:
        line = market, category
        list_rate = listed.get(line)
        if list_rate is None:
            raise RateCardError(f"{where}: the card has no such rate")
        before, most = last.get(line, (0, list_rate))
        if before is None or first != before + 1 or (end is not None and end < first):
            raise RateCardError(f"{where}: tiers must follow one another from 1 on")
        if amount > most or (line not in last and amount != list_rate):
            raise RateCardError(
                f"{where}: the first tier costs the list rate, no further one more than the one before"
            )
        found[market, category, (first, end)] = amount
        last[line] = end, amount
    return found


def _row(path: str, row: dict[str, str], currency: str) -> TierRow:
    where = f"{path}: {row['market']}: {row['category']}: {row['from']}"
    category = next((tiered for tiered in TIERED if tiered == row["category"]), None)
    bounds = tier_bounds(f"{row['from']}:{row['to']}")
    amount = micros(where, row["rate"] or "")
    if category is None or bounds is None or amount is None or row["currency"] != currency:
        raise RateCardError(f"{where}: no tiered category, no bounds, no rate, or not {currency}")
    return TierRow(where, Market(row["market"]), category, bounds, amount)
