"""What config/regimes.yaml and the rate cards say, read plainly and asked by walking them; shares no code with `shared/pricing`.

Times are epoch milliseconds, amounts whole millionths of the currency.
"""

import csv
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import yaml

CONFIG = Path(__file__).parents[2] / "config"
OF_NO_COUNTRY = ("800", "808", "870", "878", "881", "882", "883", "888", "979")
"""Calling codes of services and satellites (ITU, E.164)."""
BY_COUNTRY = {"US": "1212", "BR": "55", "DE": "49"}
"""The first digits of a business-scoped id's country."""


class Rate(NamedTuple):
    """A card, the user's market on it, and what one unit costs; None where it has no price."""

    card: str
    market: str
    micros: int | None


@cache
def regimes() -> list[dict[str, Any]]:
    return list(yaml.safe_load((CONFIG / "regimes.yaml").read_text())["regimes"])


@cache
def cards() -> list[dict[str, Any]]:
    found = list(yaml.safe_load((CONFIG / "rates" / "manifest.yaml").read_text())["cards"])
    for card in found:
        with (CONFIG / "rates" / card["file"]).open() as file:
            card["rows"] = list(csv.DictReader(file))
    return found


@cache
def markets() -> list[dict[str, str]]:
    with (CONFIG / "rates" / "market_map.csv").open() as file:
        return list(csv.DictReader(file))


@cache
def day(zone: str, at: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)).astimezone(ZoneInfo(zone)).date()


def month(zone: str, at: int) -> str:
    return day(zone, at).strftime("%Y-%m")


def next_month(zone: str, at: int) -> int:
    """The first instant of the next calendar month there."""
    today = day(zone, at)
    first = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    return int(datetime(first.year, first.month, 1, tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def regime(pin: str, zone: str, at: int) -> dict[str, Any]:
    """The regime an account is pinned to, or the last that has begun in its time zone."""
    name = "2023-06-01" if pin == "guide" else pin
    if name != "calendar":
        return next(r for r in regimes() if r["name"] == name)
    begun = [r for r in regimes() if r["starts_on"] <= day(zone, at)]
    return max(begun, key=lambda r: r["starts_on"])


def market(user: str, on: date) -> str:
    """The market of the longest prefix that the user's digits begin with, in the map's last column begun by that day."""
    digits = user if user.isdecimal() else BY_COUNTRY[user[:2]]
    columns = [c for c in markets()[0] if c.startswith("from_")]
    column = max([c for c in columns if date.fromisoformat(c[5:]) <= on] or columns[:1])
    if digits.startswith(OF_NO_COUNTRY):
        return "unknown"
    longest, found = 0, "unknown"
    for row in markets():
        for after in row["prefixes"].split() or [""]:
            prefix = row["calling_code"] + after
            if row["calling_code"] == "*":
                prefix = ""
            if digits.startswith(prefix) and len(prefix) >= longest:
                longest, found = len(prefix), row[column]
    return found


@cache
def rate(regime_name: str, category: str, user: str, currency: str, zone: str, on: date) -> Rate:
    """The newest card of the regime in the currency on a day; a regime yet to begin is read on its first day."""
    rules = next(r for r in regimes() if r["name"] == regime_name)
    in_force = [
        card
        for card in cards()
        if card["id"] in rules["rate_cards"]
        and card["currency"] == currency
        and card["effective_from"] <= max(on, rules["starts_on"])
    ]
    if not in_force:
        return Rate("none", market(user, on), None)
    card = max(in_force, key=lambda c: c["effective_from"])
    where = market(user, card["effective_from"])
    for row in card["rows"]:
        if row["Market"] == where and row[category.capitalize()] not in ("", "n/a"):
            return Rate(card["id"], where, int(Decimal(row[category.capitalize()]) * 1_000_000) or None)
    return Rate(card["id"], where, None)
