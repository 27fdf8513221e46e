"""From what is billed to what Meta's analytics count: each difference of a number's cells explained once, what is left named as such. Pure.

The order is that of the evidence. First what leaves the sum alone and moves messages between two cells: to the next day, to another category or
type, to a country of the same calling code. Then deliveries nobody heard of, and messages Meta does not count. What then differs in money alone
is a price. For each cell, billed + all effects = Meta, to the tolerance.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import phonenumbers

from services.billing.reconciliation.cells import Amount, Cell, Counted, Group, Message, Unheard
from services.billing.reconciliation.differences import (
    MOST_NAMED,
    Difference,
    Effect,
    Kind,
    Named,
    named_of,
)
from shared.price_facts import tier_bounds
from shared.times import to_ms

NEAR_MIDNIGHT_MS: Final = 3_600_000
"""Meta counts by its own clock, webhooks tell whole seconds and may be late: so near the border a message may be on either side."""

PRICE_STEP_MICROS: Final = 100
"""Meta's cards have four decimals (Meta, rate cards): a unit price is a multiple of this, or it is none."""


@dataclass(frozen=True, slots=True)
class Sides:
    """What is known of one group.

    Attributes:
        billed: the ledger, cell by cell.
        meta: the analytics, cell by cell.
        suspects: of each cell that differs, messages that may be the ones: those that no webhook priced and those nearest to midnight above all.
        unheard: messages that Meta took and of which no delivery was heard.
        timezone: the account's, IANA.
    """

    billed: Mapping[Cell, Amount]
    meta: Mapping[Cell, Counted]
    suspects: Mapping[Cell, Sequence[Message]]
    unheard: Sequence[Unheard]
    timezone: str


def differing(billed: Mapping[Cell, Amount], meta: Mapping[Cell, Counted]) -> list[Cell]:
    """The cells in which the two do not agree to the tolerance, in order."""
    return sorted(
        cell
        for cell in billed.keys() | meta.keys()
        if (ours := billed.get(cell, Amount())).volume != (theirs := meta.get(cell, Counted())).volume
        or abs(theirs.micros - ours.micros) > theirs.tolerance_micros
    )


def explain(group: Group, sides: Sides) -> list[Difference]:
    """Every difference of the group, explained or not, in the order of the evidence."""
    return list(_Explaining(group, sides).all())


@dataclass(slots=True)
class _Explaining:
    group: Group
    sides: Sides
    _missing: dict[Cell, int] = field(default_factory=dict)
    """Units that Meta counts and the ledger (with what is explained) has not; negative where it has more."""
    _explained: dict[Cell, int] = field(default_factory=dict)
    """Millionths that explanations have added."""
    _moved_units: dict[Cell, int] = field(default_factory=dict)
    """Units that explanations have moved in or out: each at a price rounded to a millionth."""
    _used: set[str] = field(default_factory=set)
    """The wamids of messages that explain something already."""

    def all(self) -> Iterator[Difference]:
        cells = differing(self.sides.billed, self.sides.meta)
        for cell in cells:
            missing = self._meta(cell).volume - self._billed(cell).volume
            if missing:
                self._missing[cell] = missing
        yield from self._moves("other_day", self._day_sisters, self._near)
        yield from self._moves("recategorised_without_word", self._category_sisters, self._any)
        yield from self._moves(None, self._type_sisters, self._any)
        yield from self._moves("other_country", self._country_sisters, self._any)
        yield from self._unheard()
        yield from self._not_counted()
        yield from self._unexplained_units()
        for cell in cells:
            yield from self._prices(cell)

    # --- messages that Meta counts in another cell

    def _moves(
        self,
        kind: Kind | None,
        sisters: Callable[[Cell], Iterable[Cell]],
        suspects: Callable[[Cell, Cell], list[Message]],
    ) -> Iterator[Difference]:
        for cell in [cell for cell, missing in sorted(self._missing.items()) if missing < 0]:
            for sister in sisters(cell):
                units = min(-self._missing.get(cell, 0), self._missing.get(sister, 0))
                if units <= 0:
                    continue
                found = suspects(cell, sister)
                units = min(units, len(found)) if kind == "other_day" else units
                if units:
                    yield self._moved(kind or _type_kind(cell, sister), cell, sister, units, found)

    def _moved(self, kind: Kind, cell: Cell, sister: Cell, units: int, found: list[Message]) -> Difference:
        if kind != "other_day" and self._may_be_lost(sister):
            named, candidates, certain = found[:MOST_NAMED], len(found), False
        else:
            named, candidates, certain = self._choose(found, units)
        away = sum(message.micros for message in named) if certain else self._ledger_price(cell, units)
        arrived = self._arrived(sister, units, away)
        effects = (Effect(cell, -units, -away), Effect(sister, units, arrived))
        return self._take(kind, effects, tuple(map(named_of, named)), candidates, certain=certain)

    def _may_be_lost(self, cell: Cell) -> bool:
        """Whether what Meta has more there may as well be a delivery nobody heard of."""
        return any(
            unheard.wamid not in self._used and _may_be(unheard.cell, cell, exactly=True)
            for unheard in self.sides.unheard
        )

    def _day_sisters(self, cell: Cell) -> Iterator[Cell]:
        day = date.fromisoformat(cell.day)
        for days in (-1, 1):
            yield cell._replace(day=(day + timedelta(days=days)).isoformat())

    def _category_sisters(self, cell: Cell) -> Iterator[Cell]:
        return (
            other
            for other in sorted(self._missing)
            if other.category != cell.category and other._replace(category=cell.category) == cell
        )

    def _type_sisters(self, cell: Cell) -> Iterator[Cell]:
        """A free entry point has a category of its own, so the category may change with the type."""
        return (
            other
            for other in sorted(self._missing)
            if other.type != cell.type
            and (other.day, other.country) == (cell.day, cell.country)
            and (other.category == cell.category or "free_entry_point" in (other.type, cell.type))
        )

    def _country_sisters(self, cell: Cell) -> Iterator[Cell]:
        return (
            other
            for other in sorted(self._missing)
            if other.country != cell.country
            and other._replace(country=cell.country) == cell
            and share_calling_code(cell.country, other.country)
        )

    def _near(self, cell: Cell, sister: Cell) -> list[Message]:
        """The messages of the cell within an hour of the sister's day, nearest first."""
        border = _midnight(max(cell.day, sister.day), self.sides.timezone)
        near = [m for m in self._left(cell) if abs(m.delivered_ms - border) <= NEAR_MIDNIGHT_MS]
        return sorted(near, key=lambda message: (abs(message.delivered_ms - border), message.wamid))

    def _any(self, cell: Cell, sister: Cell) -> list[Message]:
        """Those that no webhook priced, where there are any: of the others Meta has said what they are."""
        left = self._left(cell)
        return [message for message in left if not message.priced] or left

    def _left(self, cell: Cell) -> list[Message]:
        return [message for message in self.sides.suspects.get(cell, ()) if message.wamid not in self._used]

    def _choose(self, found: list[Message], units: int) -> tuple[list[Message], int, bool]:
        """The messages meant, if there are exactly so many; else some of the candidates."""
        if len(found) == units:
            self._used.update(message.wamid for message in found)
            return found, units, True
        return found[:MOST_NAMED], len(found), False

    # --- messages that only one side has

    def _unheard(self) -> Iterator[Difference]:
        for exactly in (True, False):
            for cell in [cell for cell, missing in sorted(self._missing.items()) if missing > 0]:
                found = [
                    message
                    for message in self.sides.unheard
                    if message.wamid not in self._used and _may_be(message.cell, cell, exactly=exactly)
                ]
                units = min(self._missing[cell], len(found))
                if not units:
                    continue
                certain = exactly and len(found) == units
                if certain:
                    self._used.update(message.wamid for message in found)
                named = tuple(Named(m.wamid, m.request_id, m.micros, None) for m in found[:MOST_NAMED])
                told = sum(message.micros for message in found) if certain else None
                effect = Effect(cell, units, self._arrived(cell, units, told))
                yield self._take("webhook_lost", (effect,), named, len(found), certain=certain)

    def _not_counted(self) -> Iterator[Difference]:
        for cell in [cell for cell, missing in sorted(self._missing.items()) if missing < 0]:
            found = [message for message in self._left(cell) if not message.priced]
            units = min(-self._missing[cell], len(found))
            if not units:
                continue
            named, candidates, certain = self._choose(found, units)
            micros = sum(message.micros for message in named) if certain else self._ledger_price(cell, units)
            effect = Effect(cell, -units, -micros)
            yield self._take(
                "not_counted_by_meta", (effect,), tuple(map(named_of, named)), candidates, certain=certain
            )

    def _unexplained_units(self) -> Iterator[Difference]:
        for cell, missing in sorted(self._missing.items()):
            if not missing:
                continue
            micros = self._meta_price(cell, missing) if missing > 0 else -self._ledger_price(cell, -missing)
            found = self._left(cell) if missing < 0 else []
            yield self._take(
                "unexplained",
                (Effect(cell, missing, micros),),
                tuple(map(named_of, found[:MOST_NAMED])),
                len(found),
                certain=False,
            )

    # --- the same messages at another price

    def _prices(self, cell: Cell) -> Iterator[Difference]:
        billed, counted = self._billed(cell), self._meta(cell)
        micros = counted.micros - billed.micros - self._explained.get(cell, 0)
        tolerance = counted.tolerance_micros + self._moved_units.get(cell, 0)
        if abs(micros) <= tolerance:
            return
        kind: Kind = "unexplained"
        if counted.volume and all(_is_price(t.volume, t.micros, tolerance) for t in counted.tiers):
            unit = billed.micros / billed.volume if billed.volume else 0
            lower = any(_is_further(tier.name) and tier.micros < unit * tier.volume for tier in counted.tiers)
            kind = "volume_tier" if lower else "rate_differs"
        found = self._left(cell)
        yield self._take(
            kind,
            (Effect(cell, 0, micros),),
            tuple(map(named_of, found[:MOST_NAMED])),
            max(len(found), counted.volume),
            certain=kind != "unexplained",
        )

    # --- sums

    def _take(
        self,
        kind: Kind,
        effects: tuple[Effect, ...],
        named: tuple[Named, ...],
        candidates: int,
        *,
        certain: bool,
    ) -> Difference:
        for effect in effects:
            self._missing[effect.cell] = self._missing.get(effect.cell, 0) - effect.volume
            self._explained[effect.cell] = self._explained.get(effect.cell, 0) + effect.micros
            self._moved_units[effect.cell] = self._moved_units.get(effect.cell, 0) + abs(effect.volume)
        return Difference(kind, "billed_meta", self.group, effects, named, candidates, certain)

    def _billed(self, cell: Cell) -> Amount:
        return self.sides.billed.get(cell, Amount())

    def _meta(self, cell: Cell) -> Counted:
        return self.sides.meta.get(cell, Counted())

    def _ledger_price(self, cell: Cell, units: int) -> int:
        billed = self._billed(cell)
        return round(billed.micros * units / billed.volume) if billed.volume else 0

    def _arrived(self, cell: Cell, units: int, told: int | None) -> int:
        """What so many units cost in the cell that Meta counts them in.

        All that Meta's money is more there, if it has no other units more, and that is their own price or lies between those of the cell's
        tiers: on the day before a new card, or where a tier was reached, not all of a cell cost the same. Else as much as the others.
        """
        counted = self._meta(cell)
        more = counted.micros - self._billed(cell).micros - self._explained.get(cell, 0)
        tolerance = counted.tolerance_micros + units
        prices = [tier.micros / tier.volume for tier in counted.tiers if tier.volume]
        if self._missing.get(cell) == units and prices:
            own = told is not None and abs(more - told) <= tolerance
            between = min(prices) * units - tolerance <= more <= max(prices) * units + tolerance
            if own or between:
                return more
        return self._meta_price(cell, units)

    def _meta_price(self, cell: Cell, units: int) -> int:
        counted = self._meta(cell)
        return round(counted.micros * units / counted.volume) if counted.volume else 0


def share_calling_code(one: str, other: str) -> bool:
    """Whether two countries have one calling code, as territories have with the country they belong to: the ledger knows the code only."""
    code = phonenumbers.country_code_for_region(one)
    return bool(code) and code == phonenumbers.country_code_for_region(other)


def _may_be(unheard: Cell, cell: Cell, *, exactly: bool) -> bool:
    """Whether a message taken on a day may have been delivered in that cell: on that day or, at night, on the next."""
    next_day = (date.fromisoformat(unheard.day) + timedelta(days=1)).isoformat()
    fits = (unheard.category, unheard.country) == (cell.category, cell.country)
    if exactly:
        return fits and unheard.type == cell.type and cell.day == unheard.day
    return fits and cell.day in (unheard.day, next_day)


def _type_kind(cell: Cell, sister: Cell) -> Kind:
    if sister.type == "regular":
        return "paid_instead_of_free"
    return "free_instead_of_paid" if cell.type == "regular" else "free_otherwise"


def _is_price(volume: int, micros: int, tolerance_micros: int) -> bool:
    """Whether so many units at one price of a card come to that sum."""
    if not volume:
        return micros == 0
    unit = round(micros / volume / PRICE_STEP_MICROS) * PRICE_STEP_MICROS
    return abs(unit * volume - micros) <= tolerance_micros


def _is_further(tier: str) -> bool:
    """Whether a tier is not the first one, which costs the list rate."""
    bounds = tier_bounds(tier)
    return bounds is not None and bounds[0] > 1


def _midnight(day: str, timezone: str) -> int:
    return to_ms(datetime.combine(date.fromisoformat(day), time.min, ZoneInfo(timezone)))
