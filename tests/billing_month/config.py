"""The rules of the month: the product's configuration with two more regimes, a card and a tier table of our own, so that rules and rates turn in mid-month.

On the calendar the regime of 2026-10-01 gives way to conversations on 2026-11-01 and to delivered templates on 2026-11-16; where messages are
charged, a card with other rates begins on 2026-11-10, and utility and authentication cost less in the tier beyond the first.
"""

import csv
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from deploy.local.paths import REPOSITORY

CARD = "illustrative_usd_2026-11-10"
TIERS = "illustrative_usd_2026-11-10_tiers"
_BASE = "rates_usd_2026-10-01.csv"
_RAISED_BY = Decimal("0.0007")
_TIERED = (("Germany", "utility", 50_000), ("India", "utility", 50_000), ("India", "authentication", 100_000),
           ("India", "authentication_international", 100_000))  # fmt: skip
_COLUMN = {
    "utility": "Utility",
    "authentication": "Authentication",
    "authentication_international": "Authentication-International",
}


def write(folder: Path) -> Path:
    """Write the month's configuration into a new folder, which is returned."""
    shutil.copytree(REPOSITORY / "config", folder)
    _add_regimes(folder / "regimes.yaml")
    rates = folder / "rates"
    rows = _raised(rates / _BASE)
    _write(rates / f"{CARD}.csv", rows)
    _write(rates / f"{TIERS}.csv", _tiers(rows))
    manifest = yaml.safe_load((rates / "manifest.yaml").read_text())
    manifest["cards"].append(
        {
            "id": CARD,
            "file": f"{CARD}.csv",
            "currency": "USD",
            "unit": "message",
            "effective_from": date(2026, 11, 10),
            "illustrative": True,
            "source": "made up",
        }
    )
    manifest["tier_tables"].append(
        {
            "id": TIERS,
            "file": f"{TIERS}.csv",
            "card": CARD,
            "sureness": "illustrative",
            "source": "made up",
        }
    )
    (rates / "manifest.yaml").write_text(yaml.safe_dump(manifest))
    return folder


def _add_regimes(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    named = {regime["name"]: regime for regime in document["regimes"]}
    named["2026-10-01"]["rate_cards"].append(CARD)
    document["regimes"] += [
        _renamed(named["2024-11-01"], date(2026, 11, 1), ["usd_cbp_2024-11-01"]),
        _renamed(named["2025-07-01"], date(2026, 11, 16), ["usd_2026-10-01", CARD]),
    ]
    path.write_text(yaml.safe_dump(document))


def _renamed(regime: dict[str, Any], starts_on: date, cards: list[str]) -> dict[str, Any]:
    return regime | {"name": starts_on.isoformat(), "starts_on": starts_on, "rate_cards": cards}


def _raised(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {
            name: str(Decimal(text) + _RAISED_BY) if name[0].isupper() and _is_rate(text) else text
            for name, text in row.items()
        }
        for row in rows
    ]


def _is_rate(text: str) -> bool:
    return text[:1].isdecimal() and Decimal(text) > 0


def _tiers(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    by_market = {row["Market"]: row for row in rows}
    found = []
    for market, category, last in _TIERED:
        listed = Decimal(by_market[market][_COLUMN[category]])
        lower = (listed * Decimal("0.8")).quantize(Decimal("0.000001"))
        for first, end, rate in (("1", str(last), listed), (str(last + 1), "MAX", lower)):
            found.append(
                {"market": market, "currency": "USD", "category": category, "from": first, "to": end, "rate": str(rate)}
            )  # fmt: skip
    return found


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
