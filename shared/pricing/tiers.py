"""Tier tables: the rates of volume tiers beside the card they lower. Pure after `load`."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.price_facts import tier_bounds
from shared.pricing.amounts import RateCardError, micros
from shared.pricing.terms import Market, RateCategory

Sureness = Literal["published", "reported", "illustrative"]
"""Transcribed from Meta's own table; told by third parties; made up."""

_TIERED: dict[str, RateCategory] = {
    "utility": "utility",
    "authentication": "authentication",
    "authentication_international": "authentication_international",
}
_COLUMNS = ("market", "currency", "category", "from", "to", "rate")

Bounds = tuple[int, int | None]
Listed = dict[tuple[Market, RateCategory], int]


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

        The tiers of a market and category follow one another from 1 on; the first costs what the card says, each further one
        no more than the one before (Meta, pricing, volume tiers). Later tiers may be missing.

        Raises:
            RateCardError: a row that contradicts the card or the rows before it.
            OSError: the file can't be read.
        """
        found: dict[tuple[Market, RateCategory, Bounds], int] = {}
        last: dict[tuple[Market, RateCategory], tuple[int | None, int]] = {}
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != _COLUMNS:
                raise RateCardError(f"{path}: the columns must be {','.join(_COLUMNS)}")
            for row in rows:
                where = f"{path}: {row['market']}: {row['category']}: {row['from']}"
                category = _TIERED.get(row["category"] or "")
                bounds = tier_bounds(f"{row['from']}:{row['to']}")
                amount = micros(where, row["rate"] or "")
                if category is None or bounds is None or amount is None or row["currency"] != currency:
                    raise RateCardError(f"{where}: no tiered category, no bounds, no rate, or not {currency}")
                line = (Market(row["market"]), category)
                list_rate = listed.get(line)
                if list_rate is None:
                    raise RateCardError(f"{where}: the card has no such rate")
                end, most = last.get(line, (0, list_rate))
                first = line not in last
                if end is None or bounds[0] != end + 1 or (bounds[1] is not None and bounds[1] < bounds[0]):
                    raise RateCardError(f"{where}: tiers must follow one another from 1 on")
                if amount > most or (first and amount != list_rate):
                    raise RateCardError(
                        f"{where}: the first tier costs the list rate, no further one more than the one before"
                    )
                found[(*line, bounds)] = amount
                last[line] = (bounds[1], amount)
        return cls(id, sureness, source, found)
