"""The month's messages in a temporary SQLite file: ledger entries in, each message's sum out, whatever their number.

A million messages take some 350 MB on disk and next to nothing in memory.
"""

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from services.billing.reconciliation.by_webhook import moved
from services.billing.reconciliation.cells import (
    Amount,
    Cell,
    Cells,
    Group,
    Message,
    OnMarket,
    Paid,
    Tagged,
    Unsure,
    cell_of,
)
from services.billing.reconciliation.differences import MOST_NAMED, Difference, Named, named_of
from shared.events import LedgerEntry
from shared.pricing import Unit
from shared.times import parse_rfc3339

_BATCH: Final = 5_000

_CREATE: Final = """
CREATE TABLE messages (
  key TEXT PRIMARY KEY, wamid TEXT, request_id TEXT, waba_id TEXT, number TEXT, unit TEXT, currency TEXT,
  day TEXT, category TEXT, country TEXT, type TEXT, told_type TEXT, market TEXT, rate_card TEXT,
  counts INTEGER, micros INTEGER, predicted_category TEXT, predicted_type TEXT, predicted_micros INTEGER,
  priced INTEGER, ours INTEGER, delivered_ms INTEGER, tag TEXT
) WITHOUT ROWID
"""
# A later entry of a message moves it to its line; only whose message it is, and the prediction, are told once.
_ADD: Final = """
INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
  request_id = coalesce(request_id, excluded.request_id), day = excluded.day, category = excluded.category,
  country = excluded.country, type = excluded.type, told_type = excluded.told_type, market = excluded.market,
  rate_card = excluded.rate_card, counts = counts + excluded.counts, micros = micros + excluded.micros,
  predicted_category = coalesce(excluded.predicted_category, predicted_category),
  predicted_type = coalesce(excluded.predicted_type, predicted_type),
  predicted_micros = coalesce(excluded.predicted_micros, predicted_micros), priced = excluded.priced
"""
_GROUP: Final = "waba_id, number, unit, currency"
_CELL: Final = "day, category, country, type"
_INDEX: Final = f"CREATE INDEX by_cell ON messages ({_GROUP}, {_CELL}, priced)"
_OTHERWISE: Final = """
predicted_category IS NULL OR predicted_category <> category OR predicted_type <> type OR predicted_micros <> micros
"""


class Messages:
    """All messages of the entries that were added. Add all, then `seal`, then ask."""

    def __init__(self, path: Path, tag: str) -> None:
        """`tag` is the one of the requests' tags that names a cost centre."""
        self._db = sqlite3.connect(path, isolation_level=None)
        self._tag = tag
        self._waiting: list[tuple[Any, ...]] = []
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", "cache_size = -65536"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute(_CREATE)
        self._db.execute("BEGIN")

    def add(self, entry: LedgerEntry) -> None:
        """Take in an entry; of one message in the ledger's order."""
        self._waiting.append(_row(entry, self._tag))
        if len(self._waiting) >= _BATCH:
            self._flush()

    def seal(self) -> None:
        """All entries are in."""
        self._flush()
        self._db.execute("COMMIT")
        self._db.execute(_INDEX)

    def close(self) -> None:
        """Give the file free; what was added is gone with it."""
        self._db.close()

    def billed(self) -> Cells:
        """What the ledger holds, by cell."""
        return self._cells(
            f"SELECT {_GROUP}, {_CELL}, sum(counts), sum(micros) FROM messages GROUP BY {_GROUP}, {_CELL}"
        )

    def predicted(self) -> Cells:
        """What was predicted, by cell."""
        place = "day, predicted_category, country, predicted_type"
        return self._cells(
            f"SELECT {_GROUP}, {place}, count(*), sum(predicted_micros) FROM messages "
            f"WHERE predicted_category IS NOT NULL GROUP BY {_GROUP}, {place}"
        )

    def priced(self) -> Cells:
        """What Meta's webhooks priced of it, by cell."""
        return self._cells(
            f"SELECT {_GROUP}, {_CELL}, sum(counts), sum(micros) FROM messages WHERE priced GROUP BY {_GROUP}, {_CELL}"
        )

    def priced_otherwise(self) -> Iterator[Message]:
        """Every message whose place or price is not the predicted one, those of one move together."""
        order = f"{_GROUP}, {_CELL}, predicted_category, predicted_type, ours, delivered_ms, wamid"
        yield from map(_message, self._rows(f"WHERE ({_OTHERWISE}) ORDER BY {order}"))

    def told_by_webhooks(self) -> Iterator[Difference]:
        """The differences from predicted to billed."""
        for (group, predicted, billed, ours), messages in groupby(
            self.priced_otherwise(), key=lambda m: (m.group, m.predicted, m.cell, m.ours)
        ):
            units = micros = predicted_micros = 0
            named: list[Named] = []
            for message in messages:
                units += 1
                micros += message.micros
                predicted_micros += message.predicted_micros or 0
                if len(named) < MOST_NAMED:
                    named.append(named_of(message))
            found = moved(
                group,
                predicted,
                billed,
                units=units,
                predicted_micros=predicted_micros,
                micros=micros,
                ours=ours,
                named=tuple(named),
            )
            if found is not None:
                yield found

    def suspects(self, group: Group, cell: Cell, most: int, midnights: tuple[int, int]) -> list[Message]:
        """Messages of a cell: up to `most` that no webhook priced, and as many of those nearest to the day's two midnights (epoch ms)."""
        place = "WHERE waba_id = ? AND number = ? AND unit = ? AND currency = ? AND day = ? AND category = ? AND country = ? AND type = ? AND counts > 0"
        found = {
            row[0]: row
            for order in (
                "priced, delivered_ms, wamid",
                "min(abs(delivered_ms - ?), abs(delivered_ms - ?)), wamid",
            )
            for row in self._rows(
                f"{place} ORDER BY {order} LIMIT {most:d}",
                (*group, *cell, *(midnights if "?" in order else ())),
            )
        }
        return [_message(row) for row in found.values()]

    def units(self) -> dict[str, set[Unit]]:
        """What each account is charged by: messages, conversations, or (where its regime turned) both."""
        units: dict[str, set[Unit]] = {}
        for waba_id, unit in self._db.execute("SELECT DISTINCT waba_id, unit FROM messages"):
            units.setdefault(waba_id, set()).add(unit)
        return units

    def on_markets(self, days: tuple[str, str]) -> list[OnMarket]:
        """What the ledger holds from day to day (both included), as an invoice has it."""
        rows = self._db.execute(
            "SELECT waba_id, currency, category, market, country, sum(counts), sum(micros) FROM messages "
            "WHERE day BETWEEN ? AND ? GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5",
            days,
        )
        return [
            OnMarket(waba_id, currency, category, market, country, Amount(units, micros))
            for waba_id, currency, category, market, country, units, micros in rows
        ]

    def by_tag(self, days: tuple[str, str]) -> list[Tagged]:
        """The cost centres, dearest first."""
        rows = self._db.execute(
            "SELECT tag, currency, sum(coalesce(predicted_micros, 0)), sum(counts), sum(micros) FROM messages "
            "WHERE day BETWEEN ? AND ? GROUP BY 1, 2 ORDER BY sum(micros) DESC, 1",
            days,
        )
        return [
            Tagged(tag, currency, predicted, Amount(units, micros))
            for tag, currency, predicted, units, micros in rows
        ]

    def free_tier(self, days: tuple[str, str]) -> dict[tuple[str, str], int]:
        """Units that the free tier paid for, by account and number: all free service, as Meta's webhooks do not tell it from other free service."""
        rows = self._db.execute(
            "SELECT waba_id, number, sum(counts) FROM messages WHERE day BETWEEN ? AND ? "
            "AND category = 'service' AND type = 'free' GROUP BY 1, 2",
            days,
        )
        return {(waba_id, number): units for waba_id, number, units in rows}

    def unsure(self, days: tuple[str, str]) -> list[Unsure]:
        """Of each account, what its notes must say."""
        cards: dict[str, list[str]] = {}
        for waba_id, card in self._db.execute(
            "SELECT DISTINCT waba_id, rate_card FROM messages WHERE day BETWEEN ? AND ? AND type = 'regular' ORDER BY 1, 2",
            days,
        ):
            cards.setdefault(waba_id, []).append(card)
        rows = self._db.execute(
            "SELECT waba_id, sum(NOT priced AND counts > 0), sum(told_type = 'rate_unknown') FROM messages "
            "WHERE day BETWEEN ? AND ? GROUP BY 1 ORDER BY 1",
            days,
        )
        return [
            Unsure(waba_id, unpriced, unknown, tuple(cards.get(waba_id, ())))
            for waba_id, unpriced, unknown in rows
        ]

    def _rows(self, rest: str, arguments: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        columns = f"wamid, request_id, {_GROUP}, {_CELL}, micros, predicted_category, predicted_type, predicted_micros, priced, ours, delivered_ms"
        return self._db.execute(f"SELECT {columns} FROM messages {rest}", arguments)

    def _cells(self, query: str) -> Cells:
        cells: Cells = {}
        for row in self._db.execute(query):
            amount = Amount(*row[8:])
            if any(amount):
                cells.setdefault(Group(*row[:4]), {})[Cell(*row[4:8])] = amount
        return cells

    def _flush(self) -> None:
        self._db.executemany(_ADD, self._waiting)
        self._waiting.clear()


def _row(entry: LedgerEntry, tag: str) -> tuple[Any, ...]:
    cell = cell_of(entry.day, entry.category, entry.country, entry.type)
    expected = entry.predicted
    predicted = expected and cell_of(entry.day, expected.category, entry.country, expected.type)
    # Where conversations are charged, those others opened have one charge, whichever of their messages is priced first.
    foreign = entry.request_id is None and entry.unit == "conversation" and entry.conversation_id
    return (
        f"conversation:{entry.conversation_id}" if foreign else entry.wamid,
        entry.wamid,
        entry.request_id,
        entry.waba_id,
        entry.phone_number_id,
        entry.unit,
        entry.currency,
        *cell,
        entry.type,
        entry.market,
        entry.rate_card,
        entry.counts,
        entry.amount_micros,
        predicted and predicted.category,
        predicted and predicted.type,
        expected and expected.amount_micros,
        entry.basis == "meta",
        entry.request_id is not None,
        parse_rfc3339(entry.delivered_at),
        entry.tags.get(tag, ""),
    )


def _message(row: tuple[Any, ...]) -> Message:
    wamid, request_id, *place, micros, category, type_, predicted_micros, priced, ours, delivered_ms = row
    cell = Cell(*place[4:])
    paid: Paid = type_
    return Message(
        wamid,
        request_id,
        Group(*place[:4]),
        cell,
        micros,
        None if category is None else Cell(cell.day, category, cell.country, paid),
        predicted_micros,
        bool(priced),
        bool(ours),
        delivered_ms,
    )
