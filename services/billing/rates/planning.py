"""What an import writes: the cards of a file and the configuration in, new cards, tables and where they are used out. Pure."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import NamedTuple

from services.billing.rates.amounts import written
from services.billing.rates.card_file import CardFile, FoundCard, FoundTiers
from services.billing.rates.checking import check
from services.billing.rates.difference import Rates
from services.billing.rates.findings import Finding, Gravity
from services.billing.rates.versions import card_id, editions, next_edition
from shared.pricing import (
    CardEntry,
    Imported,
    Manifest,
    PriceBook,
    RateCard,
    RateCardError,
    Regime,
    TableEntry,
)
from shared.pricing.cards import COLUMNS
from shared.pricing.tiers import COLUMNS as TIER_COLUMNS
from shared.pricing.tiers import TierRow, TierTable, tier_rates


class Origin(NamedTuple):
    """Where a file comes from. `source` None: say that it is Meta's."""

    imported: Imported
    source: str | None = None


@dataclass(frozen=True, slots=True)
class NewCard:
    """A card to write: `text` is its CSV, `before` the card it follows."""

    entry: CardEntry
    card: RateCard
    text: str
    before: RateCard | None


@dataclass(frozen=True, slots=True)
class NewTable:
    """A tier table to write; `replaces` is the one its card has now."""

    entry: TableEntry
    text: str
    replaces: str | None


@dataclass(frozen=True, slots=True)
class Use:
    """A card that a regime is to name, in place of others of the same currency and day."""

    regime: str
    card: str
    instead_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an import does. It is carried out whole, unless `findings` holds an error."""

    cards: list[NewCard] = field(default_factory=list)
    tables: list[NewTable] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.cards or self.tables or self.uses)

    def of(self, *gravities: Gravity) -> list[Finding]:
        """The findings of these gravities."""
        return [finding for finding in self.findings if finding.gravity in gravities]


def plan(
    file: CardFile, book: PriceBook, manifest: Manifest, origin: Origin, today: date, only: str | None = None
) -> Plan:
    """Say what importing a file writes.

    Args:
        file: what was read.
        book: the prices now.
        manifest: of their cards.
        origin: of the file.
        today: the importer's day.
        only: a currency; cards of others are left out.
    """
    made = Plan(findings=list(file.findings))
    if made.of("error"):
        return made
    planner = _Planner(book, manifest, origin, today, made)
    cards = sorted(file.cards, key=lambda card: (card.currency, card.effective_from or date.min))
    parts: list[FoundCard | FoundTiers] = [*cards, *file.tiers]
    for found in parts:
        if only not in (None, found.currency):
            made.findings.append(Finding("remark", f"what is in {found.currency} is left out"))
            continue
        try:
            if isinstance(found, FoundCard):
                planner.card(found)
            else:
                planner.tiers(found)
        except RateCardError as error:
            made.findings.append(Finding("error", str(error)))
    made.findings.extend(planner.without_tiers())
    return made


class _Planner:
    """The cards known so far: those of the book, then each that is planned. A RateCardError says what belongs nowhere."""

    def __init__(self, book: PriceBook, manifest: Manifest, origin: Origin, today: date, made: Plan) -> None:
        self._book = book
        self._manifest = manifest
        self._origin = origin
        self._today = today
        self._made = made
        self._cards = dict(book.cards.by_id)

    def card(self, found: FoundCard) -> None:
        """Plan a card: nothing where it is there already, another edition where its day has one with other rates."""
        day, regime = self._begins(found)
        rates = {cell: micros for cell, micros in found.micros.items() if micros}
        if not rates:
            raise RateCardError(f"the {found.currency} card has no rate at all")
        first = card_id(found.currency, regime.unit, day)
        if editions(first, [new.entry.id for new in self._made.cards]):
            raise RateCardError(f"two tables of one card, {first}, but only one says its unit or day")
        there = editions(first, self._cards)
        if there and self._cards[there[-1]].micros == rates:
            self._unchanged(there[-1], regime)
            return
        for former in there:
            if self._cards[former].micros == rates:
                text = f"these are the rates of {former}, which {there[-1]} replaced: back to them?"
                self._made.findings.append(Finding("question", text))
        before = self._before(found.currency, regime, day, there)
        markets = self._book.cards.markets
        self._made.findings.extend(check(found, rates, day, regime, before, markets, self._today))
        new = self._new(found, rates, next_edition(first, self._cards), regime, day, before)
        self._made.cards.append(new)
        self._cards[new.entry.id] = new.card
        self._use(new.card, regime)

    def tiers(self, found: FoundTiers) -> None:
        """Plan a tier table, beside the latest card of its currency and day."""
        planned = {
            new.entry.effective_from for new in self._made.cards if new.entry.currency == found.currency
        }
        day = found.effective_from or (planned.pop() if len(planned) == 1 else None)
        if day is None:
            raise RateCardError(f"no one first day of the tiers in {found.currency}: give --effective-from")
        there = editions(card_id(found.currency, "message", day), self._cards)
        if not there:
            raise RateCardError(
                f"no card of Meta's in {found.currency} from {day} for the tiers: import it first"
            )
        card = self._cards[there[-1]]
        micros = tier_rates(found.rows, card.micros)
        now = card.tiers
        if now is not None and now.micros == micros and now.sureness == "published":
            self._made.unchanged.append(now.id)
            return
        known = [table.id for table in self._manifest.tier_tables]
        id = next_edition(f"{card.id}_tiers", known)
        entry = TableEntry(
            id,
            f"{id}.csv",
            card.id,
            "published",
            self._source(f"volume tiers beside {card.id}"),
            self._origin.imported,
        )
        self._made.tables.append(
            NewTable(entry, tier_text(card.currency, found.rows), None if now is None else now.id)
        )
        self._cards[card.id] = replace(card, tiers=TierTable(id, "published", entry.source, micros))

    def without_tiers(self) -> Iterator[Finding]:
        """Name the cards whose volume tiers are not known any more."""
        for new in self._made.cards:
            former = new.before.tiers if new.before is not None else None
            if former is not None and self._cards[new.entry.id].tiers is None:
                yield Finding(
                    "warning",
                    f"{new.entry.id} has no volume tiers until some are imported: {former.id} is the former card's",
                )

    def _begins(self, found: FoundCard) -> tuple[date, Regime]:
        """The first day of a card, and the regime of that day."""
        day = found.effective_from
        if day is None:
            raise RateCardError(
                f"no one first day of the {found.currency} card in notes or names: give --effective-from"
            )
        regime = self._book.regimes.on(day)
        if regime is None:
            raise RateCardError(f"no regime is as old as {day}")
        if found.unit not in (None, regime.unit):
            raise RateCardError(
                f"the {found.currency} card is per {found.unit}, but the regime {regime.name}, which holds on {day}, "
                f"charges by {regime.unit}"
            )
        return day, regime

    def _unchanged(self, id: str, regime: Regime) -> None:
        if id in regime.rate_cards:
            self._made.unchanged.append(id)
        else:
            self._use(self._cards[id], regime)

    def _use(self, card: RateCard, regime: Regime) -> None:
        former = tuple(
            id
            for id in regime.rate_cards
            if (self._cards[id].currency, self._cards[id].effective_from)
            == (card.currency, card.effective_from)
        )
        self._made.uses.append(Use(regime.name, card.id, former))

    def _before(self, currency: str, regime: Regime, day: date, there: tuple[str, ...]) -> RateCard | None:
        """The former edition, else the latest card before that day which some regime uses."""
        if there:
            return self._cards[there[-1]]
        used = {id for regime in self._book.regimes.in_order for id in regime.rate_cards}
        used |= {use.card for use in self._made.uses}
        earlier = [
            card
            for card in map(self._cards.__getitem__, sorted(used))
            if (card.currency, card.unit) == (currency, regime.unit) and card.effective_from <= day
        ]
        return max(earlier, key=lambda card: card.effective_from, default=None)

    def _new(
        self, found: FoundCard, rates: Rates, id: str, regime: Regime, day: date, before: RateCard | None
    ) -> NewCard:
        source = self._source(f"{found.currency} rate card, per {regime.unit}, effective {day}")
        entry = CardEntry(
            id, f"rates_{id}.csv", found.currency, regime.unit, day, False, source, self._origin.imported
        )
        card = RateCard(id, found.currency, regime.unit, day, False, source, dict(rates))
        return NewCard(entry, card, card_text(found), before)

    def _source(self, what: str) -> str:
        return self._origin.source or f"Meta's {what}."


def card_text(card: FoundCard) -> str:
    """A card as CSV, in the form that `shared.pricing` reads; rows in the file's order, `n/a` and 0 kept apart."""
    markets = dict.fromkeys(market for market, _ in card.micros)
    rows = (
        (
            market,
            card.currency,
            *(written(card.micros.get((market, category))) for category in COLUMNS.values()),
        )
        for market in markets
    )
    return _csv(("Market", "Currency", *COLUMNS), rows)


def tier_text(currency: str, tiers: Iterable[TierRow]) -> str:
    """A tier table as CSV, in the form that `shared.pricing` reads."""
    rows = (
        (
            row.market,
            currency,
            row.category,
            str(row.bounds[0]),
            str(row.bounds[1] or "MAX"),
            written(row.micros),
        )
        for row in tiers
    )
    return _csv(TIER_COLUMNS, rows)


def _csv(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()
