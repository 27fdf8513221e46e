"""What a card changes: the rates before and after in, one change per market and category out. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from shared.pricing import Market, RateCategory

Rates = Mapping[tuple[Market, RateCategory], int]
"""Millionths by market and category, as in `RateCard.micros`: what is not in it has no rate."""


class Change(NamedTuple):
    """A rate before and after, in millionths; None for no rate."""

    market: Market
    category: RateCategory
    old: int | None
    new: int | None

    @property
    def percent(self) -> Decimal | None:
        """By how much it grew; None where there was or is none."""
        if not self.old or self.new is None:
            return None
        return (Decimal(100 * (self.new - self.old)) / self.old).quantize(Decimal("0.1"))


class Difference(NamedTuple):
    """All changes, by market and category; markets that only one of the cards has."""

    changes: tuple[Change, ...]
    new_markets: tuple[Market, ...]
    vanished_markets: tuple[Market, ...]


def difference(old: Rates, new: Rates) -> Difference:
    """What leads from the rates of one card to those of another."""
    cells = sorted(old.keys() | new.keys())
    changes = tuple(
        Change(*cell, old.get(cell), new.get(cell)) for cell in cells if old.get(cell) != new.get(cell)
    )
    before, after = ({market for market, _ in rates} for rates in (old, new))
    return Difference(changes, tuple(sorted(after - before)), tuple(sorted(before - after)))
