"""The cards of a file: sheets of text in, rate cards and tier tables by currency and first day out, with all that is to be said of them. Pure.

Tables of one currency, unit and day are one card, on however many sheets they stand.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from services.billing.rates.amounts import (
    Amount,
    decimal_marks,
    means_the_same,
    no_rate,
    sign_fits,
    taken_apart,
    value,
    written,
)
from services.billing.rates.findings import Finding, Gravity, Place
from services.billing.rates.layout import Known, Table, at, lines, tables_of
from services.billing.rates.sheets import Row, Sheets
from services.billing.rates.tier_words import bounds_of
from services.billing.rates.words import category_in, currency_in, day_in, letters_of, unit_in
from shared.pricing import Market, RateCardError, RateCategory, Unit
from shared.pricing.tiers import TIERED, Bounds, TierRow

_TOTALS = ("total", "average")


class Given(NamedTuple):
    """What the importer says beside the file. Unit and day win; a currency serves where the file names none."""

    currency: str | None = None
    unit: Unit | None = None
    effective_from: date | None = None


class Told(NamedTuple):
    """Currency, unit and first day of a table, as far as words tell."""

    currency: str | None
    unit: Unit | None
    effective_from: date | None


@dataclass(frozen=True, slots=True)
class FoundCard:
    """A card as a file has it: millionths by market and category, None for no rate, 0 where it says 0; and where each of them stands."""

    currency: str
    unit: Unit | None
    effective_from: date | None
    micros: dict[tuple[Market, RateCategory], int | None] = field(default_factory=dict)
    places: dict[tuple[Market, RateCategory], Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FoundTiers:
    """A table of volume tiers as a file has it."""

    currency: str
    effective_from: date | None
    rows: list[TierRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CardFile:
    """All that a file holds."""

    cards: tuple[FoundCard, ...]
    tiers: tuple[FoundTiers, ...]
    findings: tuple[Finding, ...]


class _Rate(NamedTuple):
    """One cell with a rate, and what its row and heading say of it."""

    place: Place
    market: Market
    category: RateCategory
    currency: str
    text: str
    tier: Bounds | None


def read_cards(sheets: Sheets, file_name: str, known: Known, given: Given) -> CardFile:
    """Read all tables of a file. `file_name` says what its notes do not."""
    return _Reading(sheets, file_name, known, given).all()


class _Reading:
    """One reading of one file; collects what it finds."""

    def __init__(self, sheets: Sheets, file_name: str, known: Known, given: Given) -> None:
        self._known, self._given = known, given
        self._findings = list(sheets.findings)
        self._cards: dict[tuple[str, Unit | None, date | None], FoundCard] = {}
        self._tiers: dict[tuple[str, date | None], FoundTiers] = {}
        self._tables: list[Table] = []
        notes: list[str] = []
        for sheet in sheets.sheets:
            found = list(tables_of(sheet, known))
            self._tables += found
            if not found and any(map(any, sheet.rows)):
                self._say("remark", "no table of rates; read as notes", Place(sheet.name, 1))
            notes += [n for table in found for n in table.notes] if found else lines(sheet.rows)
        self._around = (notes, [file_name])

    def all(self) -> CardFile:
        """The reading's result."""
        for table in self._tables:
            told = self._told(table)
            if self._headings_fit(table, told):
                self._read(table, told)
        if not self._tables:
            self._say("error", "no row with the heading Market and one of a rate")
        return CardFile(tuple(self._cards.values()), tuple(self._tiers.values()), tuple(self._findings))

    def _say(self, gravity: Gravity, text: str, place: Place | None = None) -> None:
        self._findings.append(Finding(gravity, text, place))

    def _told(self, table: Table) -> Told:
        """By the nearest words: the notes before the table, its sheet's name, all notes, the file's name."""
        texts: tuple[Sequence[str], ...] = (table.notes, (table.sheet.name,), *self._around)
        currencies = (currency_in(words, self._known.currencies) for words in texts)
        unit: Unit | None = next(filter(None, map(unit_in, texts)), None)
        day = next(filter(None, map(day_in, texts)), None)
        both: tuple[tuple[object, object], ...] = (unit, self._given.unit), (day, self._given.effective_from)
        for said, given in both:
            if said and given and said != given:
                self._say(
                    "warning", f"the file says {said}; {given} counts, as given", table.place(table.head)
                )
        return Told(
            next(filter(None, currencies), self._given.currency),
            self._given.unit or unit,
            self._given.effective_from or day,
        )

    def _headings_fit(self, table: Table, told: Told) -> bool:
        """Whether each column has one meaning and a currency; says which columns are not read."""
        fit = True
        for column, found in enumerate(table.headings):
            place = table.place(table.head, column)
            if found is None:
                if any(at(row, column) for _, row in table.body):
                    self._say("warning", "nobody knows this heading: the column is not read", place)
            elif found in table.headings[:column]:
                self._say("error", "a second column of the same meaning", place)
                fit = False
            elif found.kind == "rate" and not (
                found.currency or told.currency or table.column("currency") is not None
            ):
                self._say(
                    "error", "no currency in columns, notes, sheet or file name: give --currency", place
                )
                return False
        return fit

    def _read(self, table: Table, told: Told) -> None:
        rates = list(self._rates(table, told))
        mark = self._mark(table, [a for rate in rates if (a := taken_apart(rate.text)) is not None])
        for rate in rates:
            try:
                self._add(rate, _micros(rate, mark), told)
            except RateCardError as error:
                self._say("error", str(error), rate.place)

    def _rates(self, table: Table, told: Told) -> Iterator[_Rate]:
        columns = [
            (c, found) for c, found in enumerate(table.headings) if found is not None and found.kind == "rate"
        ]
        name, category = "", ""
        for number, row in table.body:
            if not any(row):
                continue
            texts = [at(row, column) for column, _ in columns]
            if table.tiered:  # cells that are merged over the tiers of a market say it once
                name = table.cell(row, "market") or name
                category = table.cell(row, "category") or category
            else:
                name, category = table.cell(row, "market"), table.cell(row, "category")
            market = self._market(table, number, row, name, texts)
            if market is None:
                continue
            currency = self._currency(table, number, row) or told.currency
            tier = self._tier(table, number, row) if table.tiered else None
            if table.tiered and tier is None:
                continue
            named = category_in([category] if category else [*table.notes, table.sheet.name])
            for (column, found), text in zip(columns, texts, strict=True):
                place = table.place(number, column)
                of = found.category or named
                paid_in = found.currency or currency
                if of is None or paid_in is None:
                    self._say("error", f"no category or no currency is known of {text!r}", place)
                elif tier is None or text:
                    yield _Rate(place, market, of, paid_in, text, tier)

    def _market(self, table: Table, number: int, row: Row, name: str, texts: Sequence[str]) -> Market | None:
        """The market of a row with rates; None for a note, a total, and what is an error."""
        market = self._known.market(name)
        if market is not None:
            return market
        place = table.place(number, table.column("market"))
        if any(word in letters_of(name) for word in _TOTALS):
            self._say("remark", f"{name!r} is no market but a sum: not read", place)
        elif not any(text and (no_rate(text) or taken_apart(text)) for text in texts):
            self._say("remark", f"a note: {lines([row])[0][:120]}", table.place(number))
        elif not name:
            self._say("error", "rates without a market", place)
        else:
            self._say(
                "error",
                f"market {name!r} is not on the market map; a new market needs a column there, another "
                "spelling a line in `also_called` of the manifest",
                place,
            )
        return None

    def _currency(self, table: Table, number: int, row: Row) -> str | None:
        named = table.cell(row, "currency")
        if not named:
            return None
        if named.upper() not in self._known.currencies:
            place = table.place(number, table.column("currency"))
            self._say(
                "error", f"currency {named!r} is unknown; if Meta bills in it, add it to the manifest", place
            )
        return named.upper()

    def _tier(self, table: Table, number: int, row: Row) -> Bounds | None:
        tier, first, last = (table.cell(row, kind) for kind in ("tier", "from", "to"))
        bounds = bounds_of(tier, first, last)
        if bounds is None:
            column = table.column("tier") if tier else table.column("from")
            self._say("error", f"{tier or first!r} is no tier", table.place(number, column))
        return bounds

    def _mark(self, table: Table, amounts: list[Amount]) -> str:
        """The decimal mark of a table: the one that makes sense of all its amounts."""
        marks, usual = decimal_marks(amounts), "," if table.sheet.semicolons else "."
        undecided = next((amount for amount in amounts if not means_the_same(amount)), None)
        if len(marks) == 2 and undecided is not None:
            self._say(
                "question",
                f"{undecided.text!r} is read with the decimal mark {usual!r}: is it?",
                table.place(table.head),
            )
        return marks if len(marks) == 1 else usual

    def _add(self, rate: _Rate, millionths: int | None, told: Told) -> None:
        if rate.tier is not None:
            self._add_tier(rate, rate.tier, millionths, told)
            return
        card = self._cards.setdefault(
            (rate.currency, told.unit, told.effective_from),
            FoundCard(rate.currency, told.unit, told.effective_from),
        )
        cell = rate.market, rate.category
        if cell not in card.micros:
            card.micros[cell], card.places[cell] = millionths, rate.place
        elif card.micros[cell] != millionths:
            raise RateCardError(
                f"{rate.market} costs {written(millionths)} here and {written(card.micros[cell])} at {card.places[cell]}"
            )
        else:
            again = Finding(
                "remark", f"{rate.market} once more, the same", Place(rate.place.sheet, rate.place.row)
            )
            if again not in self._findings:
                self._findings.append(again)

    def _add_tier(self, rate: _Rate, bounds: Bounds, millionths: int | None, told: Told) -> None:
        if rate.category not in TIERED:
            raise RateCardError(f"{rate.category} has no volume tiers")
        if not millionths:
            raise RateCardError(f"a tier without a rate: {rate.text!r}")
        tiers = self._tiers.setdefault(
            (rate.currency, told.effective_from), FoundTiers(rate.currency, told.effective_from)
        )
        tiers.rows.append(TierRow(str(rate.place), rate.market, rate.category, bounds, millionths))


def _micros(rate: _Rate, mark: str) -> int | None:
    if no_rate(rate.text):
        return None
    amount = taken_apart(rate.text)
    if amount is None:
        raise RateCardError(f"{rate.text!r} is no amount")
    if not sign_fits(amount.sign, rate.currency):
        raise RateCardError(f"{rate.text!r} is not {rate.currency}")
    return value(amount, mark)
