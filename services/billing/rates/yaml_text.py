"""Entries added to the YAML files of the configuration: text in, text out with every comment and line it had. Pure."""

import io
from collections.abc import Iterable
from typing import Any

from services.billing.rates.planning import NewTable, Plan, Use
from shared.pricing import CardEntry, Imported, TableEntry

_WIDTH = 1_000_000
"""Lines stay as they are: nothing is wrapped anew."""


def manifest_text(text: str, plan: Plan) -> str:
    """The manifest with the plan's cards and tier tables, and the tables they replace marked."""
    document = _load(text)
    for new in plan.cards:
        document["cards"].append(_card(new.entry))
    if plan.tables and not document.get("tier_tables"):
        document["tier_tables"] = []
    for table in plan.tables:
        _replace(document["tier_tables"], table)
        document["tier_tables"].append(_table(table.entry))
    return _dump(document)


def regimes_text(text: str, uses: Iterable[Use]) -> str:
    """The regimes with each card in its regime's `rate_cards`, in place of those it replaces."""
    document = _load(text)
    for use in uses:
        regime = next(regime for regime in document["regimes"] if regime["name"] == use.regime)
        cards = regime["rate_cards"]
        index = next((cards.index(id) for id in use.instead_of), len(cards))
        cards.insert(index, use.card)
        for id in use.instead_of:
            cards.remove(id)
    return _dump(document)


def files_text(text: str, files: Iterable[str]) -> str:
    """The kustomization of the configuration with further files of rates; they go to the pods as a ConfigMap."""
    document = _load(text)
    rates = next(made["files"] for made in document["configMapGenerator"] if made["name"] == "wa-rates")
    rates.extend(f"rates/{file}" for file in files if f"rates/{file}" not in rates)
    return _dump(document)


def _replace(tables: list[Any], new: NewTable) -> None:
    for table in tables:
        if table["id"] == new.replaces:
            table["replaced_by"] = new.entry.id


def _card(entry: CardEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "file": entry.file,
        "currency": entry.currency,
        "unit": entry.unit,
        "effective_from": entry.effective_from,
        "illustrative": entry.illustrative,
        "source": entry.source,
        "imported": _imported(entry.imported),
    }


def _table(entry: TableEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "file": entry.file,
        "card": entry.card,
        "sureness": entry.sureness,
        "source": entry.source,
        "imported": _imported(entry.imported),
    }


def _imported(imported: Imported | None) -> dict[str, Any] | None:
    if imported is None:
        return None
    at = imported.at.isoformat(timespec="seconds")
    return {"file": imported.file, "sha256": imported.sha256, "at": at, "by": imported.by}


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _load(text: str) -> Any:
    return _yaml().load(text)


def _dump(document: Any) -> str:
    text = io.StringIO()
    _yaml().dump(document, text)
    return text.getvalue()
