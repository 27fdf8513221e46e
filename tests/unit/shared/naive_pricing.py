"""What a charged message costs, told again in plain loops over the rows of the files; no code is shared with the product."""

import csv
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import yaml

COUNTRY_OF = {
    "919876543210": "IN",
    "6281234567890": "ID",
    "2348031234567": "NG",
    "27821234567": "ZA",
    "971501234567": "AE",
    "77011234567": "KZ",
    "79161234567": "RU",
    "212612345678": "MA",
    "8801712345678": "BD",
    "380671234567": "UA",
    "85261234567": "HK",
    "48512345678": "PL",
    "263712345678": "ZW",
    "17875551234": "PR",
    "18765551234": "JM",
    "12125551234": "US",
    "5511987654321": "BR",
    "4915112345678": "DE",
}
STARTS = ["2023-06-01", "2024-11-01", "2025-07-01", "2026-10-01"]
COLUMN = {
    "marketing": "Marketing",
    "utility": "Utility",
    "authentication": "Authentication",
    "authentication_international": "Authentication-International",
    "service": "Service",
}


@dataclass
class Notice:
    """A VOLUME_BASED_PRICING_TIER_UPDATE; `update_s` is its tier_update_time."""

    category: str
    region: str
    month: str
    tier: str
    update_s: int


@dataclass
class Business:
    """The facts as Meta would tell them; `start_s` and `exceptions` in seconds."""

    currency: str
    timezone: str
    located: str | None
    start_s: int | None
    exceptions: dict[str, int]
    notices: list[Notice]


class Priced(NamedTuple):
    """What a price says."""

    regime: str
    card: str
    market: str
    column: str
    micros: int
    tier: str | None
    tier_rates: str | None


class NaivePricing:
    """The files of one configuration folder, as rows."""

    def __init__(self, config: Path) -> None:
        self.folder = config / "rates"
        self.read: dict[str, list[dict[str, str]]] = {}
        self.manifest = yaml.safe_load((self.folder / "manifest.yaml").read_text())
        self.regimes = yaml.safe_load((config / "regimes.yaml").read_text())["regimes"]
        self.map = self._rows(self.manifest["market_map"])

    def price(self, business: Business, user: str, category: str, at: datetime) -> Priced | None:
        """The price of a charged message delivered at `at`; None where there is no rate."""
        day = at.astimezone(ZoneInfo(business.timezone)).date()
        regime = [start for start in STARTS if start <= str(day)][-1]
        card = self._card(regime, business.currency, day)
        if card is None:
            return None
        market = self._market(user, card["effective_from"])
        rows = [row for row in self._rows(card["file"]) if row["Market"] == market]
        column = category
        if category == "authentication" and rows[0][COLUMN["authentication_international"]] != "n/a":
            start_s = business.exceptions.get(COUNTRY_OF[user], business.start_s)
            begun = start_s is not None and at.timestamp() >= start_s
            if begun and business.located != COUNTRY_OF[user]:
                column = "authentication_international"
        text = rows[0][COLUMN[column]]
        if text == "n/a" or Decimal(text) == 0:
            return None
        tier = None
        if regime >= "2025-07-01" and category in ("utility", "authentication"):
            tier = self._tier(business, market, column, at, f"{day:%Y-%m}")
        rates = None
        if tier is not None:
            lower, upper = tier.split(":")
            if int(lower) <= 1:
                rates = card["id"]
            for table in self.manifest["tier_tables"]:
                for row in self._rows(table["file"]) if table["card"] == card["id"] else ():
                    same_line = (row["market"], row["category"]) == (market, column)
                    if same_line and int(row["from"]) == max(int(lower), 1) and row["to"] == upper:
                        text, rates = row["rate"], table["id"]
        return Priced(regime, card["id"], market, column, int(Decimal(text) * 1_000_000), tier, rates)

    def _card(self, regime: str, currency: str, day: date) -> Any:
        names = next(r["rate_cards"] for r in self.regimes if r["name"] == regime)
        best = None
        for card in self.manifest["cards"]:
            if card["id"] not in names or card["currency"] != currency or card["effective_from"] > day:
                continue
            if best is None or card["effective_from"] > best["effective_from"]:
                best = card
        return best

    def _market(self, user: str, day: date) -> str:
        columns = [name for name in self.map[0] if name.startswith("from_")]
        column = [name for name in columns if name <= f"from_{day}"][-1]
        market, length = "", -1
        for row in self.map:
            for prefix in row["prefixes"].split() or [""]:
                digits = (row["calling_code"] + prefix).replace("*", "")
                if user.startswith(digits) and len(digits) > length:
                    market, length = row[column], len(digits)
        return market

    def _tier(self, business: Business, market: str, column: str, at: datetime, month: str) -> str | None:
        same = {"authentication_international": ["authentication", "authentication_international"]}
        reached: list[tuple[int, int, str]] = []
        for tier in {notice.tier for notice in business.notices}:
            times = {
                category: [
                    n.update_s
                    for n in business.notices
                    if (n.tier, n.month, n.category.lower()) == (tier, month, category)
                    and n.region.lower().replace("_", " ") == market.lower()
                ]
                for category in same.get(column, [column])
            }
            # Where both categories name a tier, its own column's time counts.
            first = next((min(found) for found in reversed(times.values()) if found), None)
            if first is not None and first <= at.timestamp():
                reached.append((first, max(1, int(tier.split(":")[0])), tier))
        return max(reached)[2] if reached else None

    def _rows(self, name: str) -> list[dict[str, str]]:
        if name not in self.read:
            with (self.folder / name).open(encoding="utf-8", newline="") as file:
                self.read[name] = list(csv.DictReader(file))
        return self.read[name]
