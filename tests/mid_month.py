"""A configuration in which November 2026 has three prices: a card begins on the 10th, a regime on the 16th. Rates of the shipped card, times two and three."""

import csv
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path

import yaml

CONFIG = Path(__file__).parents[1] / "config"

CARD_BEGINS = date(2026, 11, 10)
REGIME_BEGINS = date(2026, 11, 16)
DEARER = ((CARD_BEGINS, 2), (REGIME_BEGINS, 3))
"""First day of a card, and how many times as much everything costs on it."""


def expected(day: date) -> tuple[str, str, int]:
    """Regime, card and the factor on a day from October 2026 on: by comparing dates, without any of the code under test."""
    if day >= REGIME_BEGINS:
        return "2026-11-16", "usd_2026-11-16", 3
    if day >= CARD_BEGINS:
        return "2026-10-01", "usd_2026-11-10", 2
    return "2026-10-01", "usd_2026-10-01", 1


def configuration(folder: Path) -> Path:
    """Write it. In the regime of the 16th service is free, and utility inside the window too."""
    shutil.copytree(CONFIG, folder, dirs_exist_ok=True)
    manifest = yaml.safe_load((folder / "rates/manifest.yaml").read_text("utf-8"))
    for day, factor in DEARER:
        _write_card(folder, day, factor)
        manifest["cards"].append(
            {
                "id": f"usd_{day}", "file": f"usd_{day}.csv", "currency": "USD", "unit": "message",
                "effective_from": day, "illustrative": False, "source": "made up for a test",
            }
        )  # fmt: skip
    (folder / "rates/manifest.yaml").write_text(yaml.safe_dump(manifest), "utf-8")
    regimes = yaml.safe_load((folder / "regimes.yaml").read_text("utf-8"))
    last = regimes["regimes"][-1]
    last["rate_cards"].append(f"usd_{CARD_BEGINS}")
    changes = {
        "name": REGIME_BEGINS.isoformat(), "starts_on": REGIME_BEGINS, "service": "free", "free_tier": None,
        "utility_in_window_free": True, "rate_cards": [f"usd_{REGIME_BEGINS}"],
    }  # fmt: skip
    regimes["regimes"].append(last | changes)
    (folder / "regimes.yaml").write_text(yaml.safe_dump(regimes), "utf-8")
    return folder


def _write_card(folder: Path, day: date, factor: int) -> None:
    with (CONFIG / "rates" / "rates_usd_2026-10-01.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    with (folder / f"rates/usd_{day}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for market, currency, *rates in rows:
            writer.writerow(
                [market, currency, *(rate if rate == "n/a" else Decimal(rate) * factor for rate in rates)]
            )
