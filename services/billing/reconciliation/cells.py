"""What is compared: units and money by day, number, category, country and type, in one vocabulary for the ledger and Meta. Pure."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Literal, NamedTuple

from shared.pricing import rate_category

Paid = Literal["regular", "free", "free_entry_point"]

ENTRY_POINT_CATEGORY = "referral_conversion"
"""What Meta calls the category of everything in a free entry point (Meta, pricing analytics)."""


class Group(NamedTuple):
    """Within what differences may explain each other: a number of an account, the unit its regime charges, and the currency."""

    waba_id: str
    number: str
    """The phone number id."""
    unit: str
    """`message` or `conversation`."""
    currency: str


class Cell(NamedTuple):
    """One line of a group: the day in the account's zone, and what was charged as what where."""

    day: str
    category: str
    country: str
    """ISO 3166; empty where nobody knows."""
    type: Paid


class Amount(NamedTuple):
    """Units delivered and what they cost, in millionths of the group's currency."""

    volume: int = 0
    micros: int = 0

    def plus(self, volume: int, micros: int) -> "Amount":
        """The amount with so much more."""
        return Amount(self.volume + volume, self.micros + micros)


class Tier(NamedTuple):
    """The part of a cell that Meta counts in one volume tier: Meta's `lower:upper`, empty for none."""

    name: str
    volume: int
    micros: int


class Counted(NamedTuple):
    """What Meta's analytics say of a cell, and how far their money may be off by its rounding, in millionths."""

    volume: int = 0
    micros: int = 0
    tolerance_micros: int = 0
    tiers: tuple[Tier, ...] = ()


class Message(NamedTuple):
    """A message (or, where conversations are charged, the message that opened one) as the ledger has it: the sum of its entries.

    `predicted` and `predicted_micros` are None where nobody predicted it. `priced` tells whether Meta's webhook did: the basis of its last
    entry.
    """

    wamid: str
    request_id: str | None
    group: Group
    cell: Cell
    micros: int
    predicted: Cell | None
    predicted_micros: int | None
    priced: bool
    ours: bool
    delivered_ms: int


class Unheard(NamedTuple):
    """A message that Meta took and of which no delivery was ever heard: what it would have been, and since when it is on its way."""

    wamid: str
    request_id: str | None
    group: Group
    cell: Cell
    """Its day is that of Meta's answer, or of `sent`."""
    micros: int


Cells = dict[Group, dict[Cell, Amount]]
MetaCells = Mapping[Group, Mapping[Cell, Counted]]


class OnMarket(NamedTuple):
    """What a category costs on a market of an account."""

    waba_id: str
    currency: str
    category: str
    market: str
    country: str
    amount: Amount


class Tagged(NamedTuple):
    """What the messages of one cost centre cost; empty for those without."""

    tag: str
    currency: str
    predicted_micros: int
    amount: Amount


class Unsure(NamedTuple):
    """Messages of an account whose price is not sure: no webhook has said it, no card has it, or the card is none of Meta's."""

    waba_id: str
    unpriced: int
    rate_unknown: int
    cards: tuple[str, ...]


def window(month: str) -> tuple[str, str]:
    """The first and last day, `YYYY-MM-DD`, of a month, `YYYY-MM`."""
    first = date.fromisoformat(f"{month}-01")
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return first.isoformat(), last.isoformat()


def cell_of(day: str, category: str, country: str | None, type_: str) -> Cell:
    """A cell, in whichever words category and type come: the ledger's, a webhook's or the analytics'.

    Marketing Lite is marketing by another way; the free tier is one kind of `free`; all in a free entry point is one category; what Meta
    charges and no card prices (`rate_unknown`) is charged.
    """
    kind = type_.lower()
    paid: Paid = "regular" if kind in ("regular", "rate_unknown") else "free"
    if kind.startswith("free_entry"):
        return Cell(day, ENTRY_POINT_CATEGORY, country or "", "free_entry_point")
    known = rate_category(category)
    return Cell(day, known or category.lower().replace("-", "_"), country or "", paid)
