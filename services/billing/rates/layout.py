"""Where the tables of a file are: a sheet of text in, tables with headings, rows and the notes around them out. Pure.

A table begins with a row of headings and ends before the next one. Before it stand notes (currency, unit, first day), behind its last market too.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from services.billing.rates.findings import Place
from services.billing.rates.sheets import Row, Sheet
from services.billing.rates.words import Heading, Kind, heading, is_head, letters_of
from shared.pricing import Market


class Known(NamedTuple):
    """What a file is read by: the markets of the map by the letters of their spellings, and the currencies that Meta bills in."""

    markets: Mapping[str, Market]
    currencies: frozenset[str]

    @classmethod
    def of(
        cls, markets: Collection[Market], also_called: Mapping[str, str], currencies: Sequence[str]
    ) -> "Known":
        """From the market map and the manifest."""
        spelt = {letters_of(market): market for market in markets}
        spelt |= {letters_of(name): Market(market) for name, market in also_called.items()}
        return cls(spelt, frozenset(currencies))

    def market(self, name: str) -> Market | None:
        """The market of a spelling; None for what is none."""
        return self.markets.get(letters_of(name)) if name else None

    def is_head(self, row: Row) -> bool:
        """Whether a row is the head of a table."""
        return is_head(row, self.currencies)


class Table(NamedTuple):
    """A table: `head` is the number of its row of headings, from 1 on; `notes` the lines before it, since the table before."""

    sheet: Sheet
    head: int
    headings: tuple[Heading | None, ...]
    body: tuple[tuple[int, Row], ...]
    notes: tuple[str, ...]

    def column(self, kind: Kind) -> int | None:
        """Where a kind of column is, from 0 on."""
        found = (c for c, heading in enumerate(self.headings) if heading is not None and heading.kind == kind)
        return next(found, None)

    def cell(self, row: Row, kind: Kind) -> str:
        """A row's cell in a kind of column; empty where there is none."""
        column = self.column(kind)
        return "" if column is None else at(row, column)

    def place(self, row: int, column: int | None = None) -> Place:
        """A place in it; `column` from 0 on."""
        if column is None:
            return Place(self.sheet.name, row)
        return Place(self.sheet.name, row, column + 1, at(self.sheet.rows[self.head - 1], column))

    @property
    def tiered(self) -> bool:
        """Whether it is a table of volume tiers."""
        return self.column("tier") is not None or self.column("from") is not None


def tables_of(sheet: Sheet, known: Known) -> Iterator[Table]:
    """The tables of a sheet, from top to bottom."""
    heads = [number for number, row in enumerate(sheet.rows, 1) if known.is_head(row)]
    before = 0
    for head, end in pairwise([*heads, len(sheet.rows) + 1]):
        headings = tuple(heading(text, known.currencies) for text in sheet.rows[head - 1])
        body = tuple((number, sheet.rows[number - 1]) for number in range(head + 1, end))
        table = Table(sheet, head, headings, body, lines(sheet.rows[before : head - 1]))
        yield table
        markets = [number for number, row in body if known.market(table.cell(row, "market"))]
        before = markets[-1] if markets else head


def lines(rows: Sequence[Row]) -> tuple[str, ...]:
    """Rows as lines of text; without the empty ones."""
    return tuple(" ".join(filter(None, row)) for row in rows if any(row))


def at(row: Row, column: int) -> str:
    """A row's cell; empty behind its end."""
    return row[column] if column < len(row) else ""
