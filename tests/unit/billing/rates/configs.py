"""Configuration folders and readings for the tests of rates."""

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

from services.billing.rates.card_file import CardFile, Given, read_cards
from services.billing.rates.folder import Configuration
from services.billing.rates.layout import Known
from services.billing.rates.planning import Origin, Plan, plan
from services.billing.rates.sheets import read
from shared.pricing import Imported

CONFIG = Path(__file__).parents[4] / "config"
FIXTURES = Path(__file__).parents[3] / "fixtures" / "rates"
SHIPPED = Configuration.load(CONFIG)
KNOWN = Known.of(
    SHIPPED.book.cards.markets.markets(), SHIPPED.manifest.also_called, SHIPPED.manifest.currencies
)
NOW = datetime(2026, 9, 15, tzinfo=UTC)
TODAY = NOW.date()
HEAD = "Market,Currency,Marketing,Utility,Authentication,Authentication-International,Service\n"


def folder(tmp_path: Path) -> Path:
    """A copy of the shipped configuration."""
    return Path(shutil.copytree(CONFIG, tmp_path / "config"))


def reading(data: bytes, name: str = "card.csv", given: Given | None = None) -> CardFile:
    return read_cards(read(data, KNOWN.is_head), name, KNOWN, given or Given())


def planned(
    text: str | bytes,
    configuration: Configuration = SHIPPED,
    day: str = "2027-01-01",
    only: str | None = None,
    today: date = TODAY,
) -> Plan:
    """What importing a text would write."""
    data = text if isinstance(text, bytes) else text.encode()
    found = reading(data, given=Given(effective_from=date.fromisoformat(day) if day else None))
    origin = Origin(Imported("card.csv", "0" * 64, NOW, "anna"))
    return plan(found, configuration.book, configuration.manifest, origin, today, only)


def shipped(id: str) -> str:
    """The text of a shipped card."""
    entry = next(entry for entry in SHIPPED.manifest.cards if entry.id == id)
    return (CONFIG / "rates" / entry.file).read_text("utf-8")


def said(made: Plan) -> list[str]:
    return [f"{finding.gravity} {finding}" for finding in made.findings]
