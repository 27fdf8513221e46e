"""Writes the report beside what it rests on: HTML, JSON, three CSV files, and Meta's answers as they came."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from services.billing.reconciliation import analytics, page
from services.billing.reconciliation.by_webhook import kind_of
from services.billing.reconciliation.cells import Amount, Cell, Counted, Group
from services.billing.reconciliation.differences import TO_DO, Kind, Reconciled, named_of
from services.billing.reconciliation.messages import Messages
from services.billing.reconciliation.report import Names, Report, as_objects
from shared.times import rfc3339

_GROUP = ("account", "number", "unit", "currency")
_WHOLE_CELLS = ("rate_differs", "volume_tier")
_CELL = ("day", "category", "country", "type")


def write(
    folder: Path,
    report: Report,
    reconciled: Reconciled,
    messages: Messages,
    names: Names,
    answers: analytics.Answers | None,
) -> None:
    """All files into the folder, which is made if it is missing; those of an earlier run are replaced. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(page.render(report, names), "utf-8")
    with (folder / "report.json").open("w", encoding="utf-8") as file:
        json.dump(as_objects(report), file, ensure_ascii=False, indent=1)
    _csv(
        folder / "cells.csv",
        (*_GROUP, *_CELL, *_SIDES),
        _cells(reconciled),
    )
    _csv(
        folder / "differences.csv",
        ("difference", "between", "kind", *_GROUP, *_CELL, "units", "micros", "certain", "candidates"),
        _differences(report),
    )
    _csv(
        folder / "messages.csv",
        ("difference", "between", "kind", *_GROUP, *_CELL, "wamid", "request_id", "predicted_micros", "billed_micros", "delivered_at", "certain", "to_do"),
        _analytics_messages(report, messages),
        _webhook_messages(messages, reconciled.month),
    )  # fmt: skip
    saved = folder / "analytics.json"
    if answers is None:
        saved.unlink(missing_ok=True)
    else:
        saved.write_text(analytics.dumps(answers), "utf-8")


_SIDES = (
    "predicted", "predicted_micros", "billed", "billed_micros", "priced_by_meta", "priced_by_meta_micros",
    "meta", "meta_micros", "meta_tolerance_micros",
)  # fmt: skip


def _csv(path: Path, header: tuple[str, ...], *parts: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for rows in parts:
            writer.writerows(rows)


def _cells(found: Reconciled) -> Iterator[tuple[object, ...]]:
    """Each cell that any side has, with all sides."""
    meta = found.meta or {}
    for group in sorted({*found.predicted, *found.billed, *meta}):
        sides = [side.get(group, {}) for side in (found.predicted, found.billed, found.priced)]
        counts = meta.get(group, {})
        for cell in sorted({*(cell for side in sides for cell in side), *counts}):
            amounts = [value for side in sides for value in side.get(cell, Amount())]
            counted = counts.get(cell, Counted())
            told = counted[:3] if found.meta is not None else ("", "", "")
            yield (*group, *cell, *amounts, *told)


def _differences(report: Report) -> Iterator[tuple[object, ...]]:
    """A row for each effect: a message that moved has two, with one number."""
    for number, difference in enumerate((d for of in report.kinds for d in of.differences), 1):
        for effect in difference.effects:
            yield (
                number, difference.between, difference.kind, *difference.group, *effect.cell, effect.volume, effect.micros,
                difference.certain, difference.candidates,
            )  # fmt: skip


def _analytics_messages(report: Report, messages: Messages) -> Iterator[tuple[object, ...]]:
    """The messages that differences from billed to Meta name; where a whole cell has another price, all of the cell."""
    for number, difference in enumerate((d for of in report.kinds for d in of.differences), 1):
        if difference.between == "billed_meta":
            of_cell = (named_of(m) for m in messages.of_cell(difference.group, difference.effects[0].cell))
            for m in of_cell if difference.kind in _WHOLE_CELLS else difference.messages:
                yield _message(
                    number, difference.between, difference.kind, difference.group, difference.effects[0].cell,
                    (m.wamid, m.request_id, m.predicted_micros, m.billed_micros), m.at_ms, difference.certain,
                )  # fmt: skip


def _webhook_messages(messages: Messages, month: str) -> Iterator[tuple[object, ...]]:
    """Every message that Meta's webhooks priced otherwise than predicted, however many."""
    for m in messages.priced_otherwise():
        kind = kind_of(m.predicted, m.predicted_micros or 0, m.cell, m.micros, ours=m.ours)
        if kind is not None and m.cell.day.startswith(month):
            yield _message(
                None, "predicted_billed", kind, m.group, m.cell,
                (m.wamid, m.request_id, m.predicted_micros, m.micros), m.delivered_ms, True,
            )  # fmt: skip


def _message(
    number: int | None,
    between: str,
    kind: Kind,
    group: Group,
    cell: Cell,
    named: tuple[object, ...],
    at_ms: int | None,
    certain: bool,
) -> tuple[object, ...]:
    delivered_at = rfc3339(at_ms) if at_ms is not None else None
    return (number, between, kind, *group, *cell, *named, delivered_at, certain, TO_DO[kind])
