"""The month's messages in a temporary SQLite file: ledger entries in, each message's sum out, whatever their number.

Where a message stands (number, day, category …) is a number in the file and told once in memory: a million messages take some 150 MB on disk.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

from services.billing.reconciliation.by_webhook import moved
from services.billing.reconciliation.cells import (
    Amount,
    Cell,
    Cells,
    Group,
    Message,
    OnMarket,
    Tagged,
    Unsure,
    cell_of,
)
from services.billing.reconciliation.differences import MOST_NAMED, Difference, Named, named_of
from shared.events import LedgerEntry
from shared.pricing import Unit
from shared.times import parse_rfc3339

_BATCH: Final = 5_000
MOST_TAGS: Final = 200
"""Cost centres that are told one by one: a tag may hold anything."""

_CREATE: Final = """
CREATE TABLE messages (
  key TEXT NOT NULL UNIQUE, wamid TEXT, request_id TEXT, place INTEGER, terms INTEGER, tag INTEGER, counts INTEGER, micros INTEGER,
  predicted INTEGER, predicted_micros INTEGER, priced INTEGER, ours INTEGER, delivered_ms INTEGER
)
"""
# A later entry of a message moves it to its line; only whose message it is, and the prediction, are told once.
_ADD: Final = """
INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
  request_id = coalesce(request_id, excluded.request_id), place = excluded.place, terms = excluded.terms,
  counts = counts + excluded.counts, micros = micros + excluded.micros, priced = excluded.priced,
  predicted = coalesce(excluded.predicted, predicted),
  predicted_micros = coalesce(excluded.predicted_micros, predicted_micros)
"""
_INDEX: Final = (
    "CREATE INDEX by_place ON messages (place, predicted, terms, priced, counts, micros, predicted_micros)"
)
_SUMS: Final = """
SELECT place, predicted, terms, priced, count(*), sum(counts), sum(micros), sum(predicted_micros) FROM messages
GROUP BY place, predicted, terms, priced
"""
_MESSAGE: Final = "SELECT coalesce(wamid, key), request_id, place, micros, predicted, predicted_micros, priced, ours, delivered_ms FROM messages"
_OTHERWISE: Final = f"""
{_MESSAGE} WHERE predicted IS NOT place OR predicted_micros <> micros
ORDER BY place, predicted, ours, delivered_ms, key
"""
_UNPRICED_FIRST: Final = (
    f"{_MESSAGE} WHERE place = ? AND counts > 0 ORDER BY priced, delivered_ms, key LIMIT ?"
)
_OF_PLACE: Final = f"{_MESSAGE} WHERE place = ? AND counts > 0 ORDER BY delivered_ms, key"
_NEAREST_FIRST: Final = f"""
{_MESSAGE} WHERE place = ? AND counts > 0 ORDER BY min(abs(delivered_ms - ?), abs(delivered_ms - ?)), key LIMIT ?
"""
_BY_TAG: Final = """
SELECT tag, place, sum(coalesce(predicted_micros, 0)), sum(counts), sum(micros) FROM messages GROUP BY tag, place
"""

T = TypeVar("T", bound=Hashable)


class _Place(NamedTuple):
    group: Group
    cell: Cell


class _Terms(NamedTuple):
    market: str
    rate_card: str
    type: str
    """As the ledger has it."""


class _Sum(NamedTuple):
    """All messages of one place, as predicted in another or the same, on the same terms."""

    place: _Place
    predicted: _Place | None
    terms: _Terms
    priced: bool
    messages: int
    amount: Amount
    predicted_micros: int


class _Numbered(Generic[T]):
    """Values and their numbers, as they come."""

    def __init__(self) -> None:
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


class Messages:
    """All messages of the entries that were added. Add all, then `seal`, then ask."""

    def __init__(self, path: Path, tag: str) -> None:
        """`tag` is the one of the requests' tags that names a cost centre."""
        self._db = sqlite3.connect(path, isolation_level=None)
        self._tag = tag
        self._waiting: list[tuple[Any, ...]] = []
        self._places: _Numbered[_Place] = _Numbered()
        self._terms: _Numbered[_Terms] = _Numbered()
        self._tags: _Numbered[str] = _Numbered()
        self._told: dict[tuple[str | None, ...], int] = {}
        """The place of each form in which entries tell one."""
        self._sums: list[_Sum] = []
        for pragma in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "temp_store = FILE",
            "cache_size = -131072",
        ):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute(_CREATE)
        self._db.execute("BEGIN")

    def add(self, entry: LedgerEntry) -> None:
        """Take in an entry; of one message in the ledger's order."""
        expected = entry.predicted
        # Where conversations are charged, those others opened have one charge, whichever of their messages is priced first.
        foreign = entry.request_id is None and entry.unit == "conversation" and entry.conversation_id
        self._waiting.append(
            (
                f"conversation:{entry.conversation_id}" if foreign else entry.wamid,
                entry.wamid if foreign else None,
                entry.request_id,
                self._place(entry, entry.category, entry.type),
                self._terms.number(_Terms(entry.market, entry.rate_card, entry.type)),
                self._tags.number(entry.tags.get(self._tag, "")),
                entry.counts,
                entry.amount_micros,
                None if expected is None else self._place(entry, expected.category, expected.type),
                None if expected is None else expected.amount_micros,
                entry.basis == "meta",
                entry.request_id is not None,
                parse_rfc3339(entry.delivered_at),
            )
        )
        if len(self._waiting) >= _BATCH:
            self._flush()

    def seal(self) -> None:
        """All entries are in."""
        self._flush()
        self._db.execute("COMMIT")
        self._db.execute(_INDEX)
        places, terms = self._places.values, self._terms.values
        self._sums = [
            _Sum(
                places[place],
                None if predicted is None else places[predicted],
                terms[term],
                bool(priced),
                messages,
                Amount(counts, micros),
                predicted_micros or 0,
            )
            for place, predicted, term, priced, messages, counts, micros, predicted_micros in self._db.execute(
                _SUMS
            )
        ]

    def close(self) -> None:
        """Give the file free; what was added is gone with it."""
        self._db.close()

    def billed(self) -> Cells:
        """What the ledger holds, by cell."""
        return _cells((s.place, s.amount) for s in self._sums)

    def predicted(self) -> Cells:
        """What was predicted, by cell."""
        return _cells(
            (s.predicted, Amount(s.messages, s.predicted_micros))
            for s in self._sums
            if s.predicted is not None
        )

    def priced(self) -> Cells:
        """What Meta's webhooks priced of what is billed, by cell."""
        return _cells((s.place, s.amount) for s in self._sums if s.priced)

    def priced_otherwise(self) -> Iterator[Message]:
        """Every message whose place or price is not the predicted one, those of one move together."""
        return map(self._message, self._db.execute(_OTHERWISE))

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
        """Messages of a cell: up to `most`, those first that no webhook priced, and as many of those nearest to the day's two midnights (epoch ms)."""
        place = self._places.number(_Place(group, cell))
        rows = [
            *self._db.execute(_UNPRICED_FIRST, (place, most)),
            *self._db.execute(_NEAREST_FIRST, (place, *midnights, most)),
        ]
        return [self._message(row) for row in {row[0]: row for row in rows}.values()]

    def of_cell(self, group: Group, cell: Cell) -> Iterator[Message]:
        """All messages of a cell."""
        place = self._places.number(_Place(group, cell))
        return map(self._message, self._db.execute(_OF_PLACE, (place,)))

    def units(self) -> dict[str, set[Unit]]:
        """What each account is charged by: messages, conversations, or (where its regime turned) both."""
        units: dict[str, set[Unit]] = defaultdict(set)
        for s in self._sums:
            units[s.place.group.waba_id].add(
                "conversation" if s.place.group.unit == "conversation" else "message"
            )
        return units

    def on_markets(self, days: tuple[str, str]) -> list[OnMarket]:
        """What the ledger holds from day to day (both included), as an invoice has it."""
        amounts: dict[tuple[str, ...], Amount] = defaultdict(Amount)
        for s in self._within(days):
            group, cell = s.place
            line = (group.waba_id, group.currency, cell.category, s.terms.market, cell.country)
            amounts[line] = amounts[line].plus(*s.amount)
        return [
            OnMarket(waba_id, currency, category, market, country, amount)
            for (waba_id, currency, category, market, country), amount in sorted(amounts.items())
        ]

    def by_tag(self, days: tuple[str, str]) -> list[Tagged]:
        """The cost centres, dearest first; beyond MOST_TAGS of them the others as one."""
        sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * 3)
        for tag, number, *amounts in self._db.execute(_BY_TAG):
            group, cell = self._places.values[number]
            if days[0] <= cell.day <= days[1]:
                total = sums[self._tags.values[tag], group.currency]
                total[:] = (a + b for a, b in zip(total, amounts, strict=True))
        dearest = sorted(sums, key=lambda place: (-sums[place][2], place))
        for tag, currency in dearest[MOST_TAGS:]:
            total, more = sums["(others)", currency], sums[tag, currency]
            total[:] = (a + b for a, b in zip(total, more, strict=True))
        shown = [*dearest[:MOST_TAGS], *(place for place in sums if place[0] == "(others)")]
        return [
            Tagged(tag, currency, predicted, Amount(units, micros))
            for tag, currency in dict.fromkeys(shown)
            for predicted, units, micros in (sums[tag, currency],)
        ]

    def free_tier(self, days: tuple[str, str]) -> dict[tuple[str, str], int]:
        """Units that the free tier paid for, by account and number: all free service, as Meta's webhooks do not tell it from other free service."""
        units: dict[tuple[str, str], int] = defaultdict(int)
        for s in self._within(days):
            group, cell = s.place
            if (cell.category, cell.type) == ("service", "free"):
                units[group.waba_id, group.number] += s.amount.volume
        return units

    def unsure(self, days: tuple[str, str]) -> list[Unsure]:
        """Of each account, what its notes must say."""
        cards: dict[str, set[str]] = defaultdict(set)
        unpriced: dict[str, int] = defaultdict(int)
        unknown: dict[str, int] = defaultdict(int)
        for s in self._within(days):
            waba_id = s.place.group.waba_id
            unpriced[waba_id] += 0 if s.priced else s.amount.volume
            unknown[waba_id] += s.messages if s.terms.type == "rate_unknown" else 0
            if s.place.cell.type == "regular":
                cards[waba_id].add(s.terms.rate_card)
        return [
            Unsure(waba_id, unpriced[waba_id], unknown[waba_id], tuple(sorted(cards[waba_id])))
            for waba_id in sorted(unpriced)
        ]

    def _within(self, days: tuple[str, str]) -> Iterator[_Sum]:
        return (s for s in self._sums if days[0] <= s.place.cell.day <= days[1])

    def _place(self, entry: LedgerEntry, category: str, type_: str) -> int:
        told = (
            entry.waba_id,
            entry.phone_number_id,
            entry.unit,
            entry.currency,
            entry.day,
            category,
            entry.country,
            type_,
        )
        number = self._told.get(told)
        if number is None:
            place = _Place(
                Group(entry.waba_id, entry.phone_number_id, entry.unit, entry.currency),
                cell_of(entry.day, category, entry.country, type_),
            )
            number = self._told[told] = self._places.number(place)
        return number

    def _message(self, row: tuple[Any, ...]) -> Message:
        wamid, request_id, place, micros, predicted, predicted_micros, priced, ours, delivered_ms = row
        group, cell = self._places.values[place]
        expected = None if predicted is None else self._places.values[predicted].cell
        return Message(
            wamid,
            request_id,
            group,
            cell,
            micros,
            expected,
            predicted_micros,
            bool(priced),
            bool(ours),
            delivered_ms,
        )

    def _flush(self) -> None:
        self._db.executemany(_ADD, self._waiting)
        self._waiting.clear()


def _cells(amounts: Iterable[tuple[_Place, Amount]]) -> Cells:
    cells: Cells = {}
    for (group, cell), amount in amounts:
        if any(amount):
            of_group = cells.setdefault(group, {})
            of_group[cell] = of_group.get(cell, Amount()).plus(*amount)
    return cells
