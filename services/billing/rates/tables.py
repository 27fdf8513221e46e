"""What `wam rates` prints: cards, differences and findings in, rich tables, texts and values for JSON out. Pure."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from services.billing.rates.amounts import written
from services.billing.rates.difference import Difference
from services.billing.rates.findings import Finding, Gravity
from shared.pricing import CardEntry, Manifest, PriceBook, RateCard
from shared.pricing.cards import COLUMNS

_STYLES: dict[Gravity, str] = {"error": "red", "question": "yellow", "warning": "yellow", "remark": "dim"}


def finding(found: Finding) -> Text:
    """One line: how grave, where, what."""
    return Text.assemble((f"{found.gravity:<9}", _STYLES[found.gravity]), str(found))


def listed(book: PriceBook, manifest: Manifest) -> list[dict[str, Any]]:
    """Each card of the manifest, and which regimes use it."""
    return [_entry(entry, book) for entry in manifest.cards]


def list_table(book: PriceBook, manifest: Manifest) -> Table:
    """The cards, by currency and first day."""
    table = _table("Card", "Price", "From", "Origin", "Used by the regimes", "Volume tiers")
    for entry in sorted(manifest.cards, key=lambda e: (e.currency, e.effective_from, e.id)):
        card = book.cards.by_id[entry.id]
        tiers = "" if card.tiers is None else card.tiers.sureness
        used = ", ".join(_used(card, book))
        table.add_row(
            entry.id, f"{entry.currency} per {entry.unit}", str(entry.effective_from), _origin(entry),
            Text(used or "none", "" if used else "dim"), tiers,
        )  # fmt: skip
    return table


def shown(entry: CardEntry, book: PriceBook) -> dict[str, Any]:
    """A card with all its rates, in millionths."""
    card = book.cards.by_id[entry.id]
    rates: dict[str, dict[str, int]] = {}
    for (market, category), micros in sorted(card.micros.items()):
        rates.setdefault(market, {})[category] = micros
    return _entry(entry, book) | {"rates_micros": rates}


def show_table(entry: CardEntry, book: PriceBook) -> Table:
    """A card with all its rates."""
    card = book.cards.by_id[entry.id]
    table = _table("Market", title=f"{card.id}: {card.currency} per {card.unit} from {card.effective_from}")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for market in sorted({market for market, _ in card.micros}):
        rates = (card.micros.get((market, category)) for category in COLUMNS.values())
        table.add_row(market, *map(_amount, rates))
    table.caption = f"{card.source} {_origin(entry)}."
    return table


def changes(difference: Difference) -> dict[str, Any]:
    """What a card changes, in millionths."""
    return {
        "changes": [
            {
                "market": change.market,
                "category": change.category,
                "old_micros": change.old,
                "new_micros": change.new,
                "percent": None if change.percent is None else str(change.percent),
            }
            for change in difference.changes
        ],
        "new_markets": list(difference.new_markets),
        "vanished_markets": list(difference.vanished_markets),
    }


def difference_table(difference: Difference, old: str, new: str, currency: str) -> Table:
    """Each rate that changes; markets that come or go stand in the last column."""
    table = _table("Market", "Category", title=f"{old} to {new}, {currency}")
    for column in ("Old", "New", "Percent"):
        table.add_column(column, justify="right")
    table.add_column("")
    marks = {market: Text("new market", "green") for market in difference.new_markets}
    marks |= {market: Text("vanished", "red") for market in difference.vanished_markets}
    for change in difference.changes:
        percent = "" if change.percent is None else f"{change.percent:+}"
        table.add_row(
            change.market, change.category, _amount(change.old), _amount(change.new),
            Text(percent, "red" if percent.startswith("+") else "green"), marks.get(change.market, Text()),
        )  # fmt: skip
    return table


def findings(found: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as values."""
    return [
        {"gravity": one.gravity, "text": one.text, "place": str(one.place) if one.place else None}
        for one in found
    ]


def _entry(entry: CardEntry, book: PriceBook) -> dict[str, Any]:
    card, imported = book.cards.by_id[entry.id], entry.imported
    return {
        "id": entry.id,
        "currency": entry.currency,
        "unit": entry.unit,
        "effective_from": entry.effective_from.isoformat(),
        "illustrative": entry.illustrative,
        "regimes": _used(card, book),
        "tier_table": None if card.tiers is None else card.tiers.id,
        "source": entry.source,
        "file": entry.file,
        "imported": imported
        and {
            "file": imported.file,
            "sha256": imported.sha256,
            "at": imported.at.isoformat(),
            "by": imported.by,
        },
    }


def _used(card: RateCard, book: PriceBook) -> list[str]:
    return [regime.name for regime in book.regimes.in_order if card.id in regime.rate_cards]


def _origin(entry: CardEntry) -> str:
    if entry.illustrative:
        return "illustrative"
    if entry.imported is None:
        return "transcribed"
    return f"imported {entry.imported.at:%Y-%m-%d} by {entry.imported.by}"


def _amount(micros: int | None) -> Text:
    return Text("none", "dim") if micros is None else Text(written(micros))


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "Card")
    return table
