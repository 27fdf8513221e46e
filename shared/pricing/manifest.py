"""The manifest of rate cards: the YAML file in, what each card and tier table is and where it comes from out. Pure after `load`."""

from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Literal

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from shared.pricing.amounts import RateCardError
from shared.pricing.terms import Unit

MANIFEST = "manifest.yaml"

Sureness = Literal["published", "reported", "illustrative"]
"""Transcribed from Meta's own table; told by third parties; made up."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The file a card came from: its name, the SHA-256 of its bytes, when it was imported (aware) and by whom."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    file: str
    sha256: str
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class CardEntry:
    """A rate card: `effective_from` is its first day in the WABA's time zone. `imported` is None where it was typed by hand."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    id: str
    file: str
    currency: str
    unit: Unit
    effective_from: date
    illustrative: bool
    source: str
    imported: Imported | None = None


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A tier table beside the card `card`. One that a later table replaced prices nothing more, but stays: ledger entries name it."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    id: str
    file: str
    card: str
    sureness: Sureness
    source: str
    imported: Imported | None = None
    replaced_by: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """All cards and tier tables, the market map's file, the currencies Meta bills in, and other spellings of markets (spelling → market)."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    market_map: str
    currencies: tuple[str, ...]
    cards: tuple[CardEntry, ...]
    tier_tables: tuple[TableEntry, ...] = ()
    also_called: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Read `manifest.yaml` of a folder of rate cards.

        Raises:
            RateCardError: unknown or missing fields, an id twice, a currency that is not in the list, a table replaced by none.
            OSError: the file can't be read.
        """
        path = folder / MANIFEST
        try:
            manifest = TypeAdapter(cls).validate_python(yaml.safe_load(path.read_text("utf-8")))
        except (ValidationError, yaml.YAMLError) as error:
            raise RateCardError(f"{path}: {error}") from error
        tables = [table.id for table in manifest.tier_tables]
        ids = [card.id for card in manifest.cards] + tables
        for id in ids:
            if ids.count(id) > 1:
                raise RateCardError(f"{path}: {id} twice")
        for card in manifest.cards:
            if card.currency not in manifest.currencies:
                raise RateCardError(f"{path}: card {card.id}: {card.currency} is not one of the currencies")
        for table in manifest.tier_tables:
            if table.replaced_by is not None and table.replaced_by not in set(tables) - {table.id}:
                raise RateCardError(
                    f"{path}: tier table {table.id}: replaced by {table.replaced_by}, which is none"
                )
        return manifest
