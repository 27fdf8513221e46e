"""Meta's invoice beside the ledger: rows with a header in; lines, and how each agrees, out. Pure.

Meta's invoices come in several layouts; columns are found by what their headers mean, in any order.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, NamedTuple

from services.billing.reconciliation.cells import MetaCells, OnMarket
from shared.pricing import rate_category

Column = Literal["account", "category", "market", "quantity", "amount", "currency", "kind"]

COLUMNS: Final[Mapping[Column, tuple[str, ...]]] = {
    "account": ("account", "account id", "waba", "waba id", "whatsapp business account", "whatsapp business account id", "business account id"),
    "category": ("category", "pricing category", "conversation category", "message category", "message type", "product", "description"),
    "market": ("market", "country", "country or market", "market or country", "country region", "region", "country code"),
    "quantity": ("quantity", "volume", "messages", "conversations", "count", "units", "billable volume"),
    "amount": ("amount", "cost", "charge", "charges", "total", "total amount", "net amount", "amount usd", "line total"),
    "currency": ("currency", "currency code"),
    "kind": ("kind", "line type", "type"),
}  # fmt: skip
"""What a header may be called, in small letters without punctuation; the first name that is there wins."""

_NEEDED: Final[tuple[Column, ...]] = ("category", "quantity", "amount")
_TAX: Final = re.compile(r"\b(tax|vat|gst|hst|pst|iva|sales tax|withholding)\b", re.IGNORECASE)
_SUM: Final = re.compile(r"^(sub ?total|total|grand total|balance|amount due)\b", re.IGNORECASE)
_HALF_CENT: Final = 5_000
"""Invoices have two decimals: each line may be off by half of the last one, in millionths."""


class UnreadableInvoice(ValueError):
    """Not an invoice that can be read; the text says where."""


class Line(NamedTuple):
    """A line: what it charges, in millionths. Tax lines are for no category."""

    row: int
    account: str
    category: str
    market: str
    quantity: int
    micros: int
    currency: str
    tax: bool


class Compared(NamedTuple):
    """An account's category on a market: charged units and millionths by the ledger, by Meta's analytics (None: not asked) and by the invoice.

    `agrees_with` is what the invoice agrees with, to half a cent for each of its lines.
    """

    account: str
    category: str
    market: str
    currency: str
    billed: int
    billed_micros: int
    counted_micros: int | None
    invoiced: int
    invoiced_micros: int
    agrees_with: Literal["ledger", "analytics", "neither"]


def lines(rows: Iterable[Sequence[object]], mapping: Mapping[Column, str], where: str) -> list[Line]:
    """The lines of a table whose header is the first row that has the needed columns; sums below are left out.

    Args:
        rows: cells as text, numbers or None.
        mapping: which header a column has, for those that are not found by themselves.
        where: begins the text of an error.

    Raises:
        UnreadableInvoice: no header, or a line with a quantity or an amount that is no number.
    """
    columns: dict[Column, int] | None = None
    found = []
    for number, row in enumerate(rows, 1):
        cells = ["" if cell is None else str(cell).strip() for cell in row]
        if columns is None:
            columns = _header(cells, mapping)
        elif any(cells) and (line := _line(number, cells, columns, f"{where}: row {number}")) is not None:
            found.append(line)
    if columns is None:
        raise UnreadableInvoice(
            f"{where}: no row with headers for {', '.join(_NEEDED)}; name them with --invoice-map column=header"
        )
    return found


@dataclass(slots=True)
class _Sides:
    billed: int = 0
    billed_micros: int = 0
    counted_micros: int = 0
    invoiced: int = 0
    invoiced_micros: int = 0
    lines: int = 0

    def agrees_with(self, *, asked: bool) -> Literal["ledger", "analytics", "neither"]:
        tolerance = _HALF_CENT * max(1, self.lines)
        if abs(self.invoiced_micros - self.billed_micros) <= tolerance:
            return "ledger"
        near = asked and abs(self.invoiced_micros - self.counted_micros) <= tolerance
        return "analytics" if near else "neither"


def compare(
    invoice: Iterable[Line],
    billed: Sequence[OnMarket],
    meta: MetaCells | None,
    owners: Mapping[str, str],
    account: str | None,
) -> tuple[list[Compared], dict[str, int]]:
    """Each account's category on each market that any side charges; and the taxes, millionths by currency.

    A market of the invoice may be a card's market or a country. `owners` leads from what the invoice may call an account to its id; `account`
    is whose the lines without an account are.
    """
    markets = {_plain(row.market): row.market for row in billed}
    markets |= {_plain(row.country): row.market for row in billed if row.country}
    currencies = {row.waba_id: row.currency for row in billed}
    sides: dict[tuple[str, str, str, str], _Sides] = defaultdict(_Sides)
    for row in billed:
        if row.amount.micros:
            side = sides[row.waba_id, row.category, row.market, row.currency]
            side.billed += row.amount.volume
            side.billed_micros += row.amount.micros
    for group, cells in (meta or {}).items():
        for cell, counted in cells.items():
            if counted.micros:
                market = markets.get(_plain(cell.country), cell.country)
                sides[group.waba_id, cell.category, market, group.currency].counted_micros += counted.micros
    taxes: dict[str, int] = {}
    for line in invoice:
        owner = owners.get(line.account, line.account or account or "")
        currency = line.currency or currencies.get(owner) or next(iter(currencies.values()), "")
        if line.tax:
            taxes[currency] = taxes.get(currency, 0) + line.micros
            continue
        side = sides[owner, line.category, markets.get(_plain(line.market), line.market), currency]
        side.invoiced += line.quantity
        side.invoiced_micros += line.micros
        side.lines += 1
    compared = [
        Compared(
            *place,
            side.billed,
            side.billed_micros,
            None if meta is None else side.counted_micros,
            side.invoiced,
            side.invoiced_micros,
            side.agrees_with(asked=meta is not None),
        )
        for place, side in sorted(sides.items())
    ]
    return compared, taxes


def _header(cells: Sequence[str], mapping: Mapping[Column, str]) -> dict[Column, int] | None:
    plain = [_plain(cell) for cell in cells]
    columns: dict[Column, int] = {}
    for column, names in COLUMNS.items():
        for name in (_plain(mapping[column]),) if column in mapping else names:
            if name in plain:
                columns[column] = plain.index(name)
                break
    return columns if all(column in columns for column in _NEEDED) else None


def _line(number: int, cells: Sequence[str], columns: Mapping[Column, int], where: str) -> Line | None:
    def of(column: Column) -> str:
        at = columns.get(column)
        return cells[at] if at is not None and at < len(cells) else ""

    said = next((cell for cell in cells if cell), "")
    if _SUM.match(said) or _SUM.match(of("category")):
        return None
    tax = bool(_TAX.search(of("kind")) or _TAX.search(of("category")) or _TAX.search(said))
    category = of("category").lower()
    return Line(
        number,
        of("account"),
        "" if tax else _category(category, where),
        "" if tax else of("market"),
        0 if tax else int(_number(of("quantity"), f"{where}: quantity")),
        round(_number(of("amount"), f"{where}: amount").scaleb(6)),
        of("currency").upper(),
        tax,
    )


def _category(text: str, where: str) -> str:
    """The column of the card: the words may stand in a description, as in "WhatsApp - Marketing messages"."""
    plain = _plain(text).replace(" ", "_")
    known = rate_category(plain)
    if known is not None:
        return known
    for name in ("authentication_international", "authentication", "marketing", "utility", "service"):
        if name in plain:
            return name
    raise UnreadableInvoice(f"{where}: {text!r} names no category")


def _number(text: str, where: str) -> Decimal:
    """A number as invoices write it: 1,234.56 and 1.234,56, with a currency sign or brackets for less than nothing."""
    bare = re.sub(r"[^\d.,()-]", "", text)
    negative = bare.startswith(("(", "-"))
    bare = bare.strip("()-")
    if "," in bare and (bare.rfind(",") > bare.rfind(".")) and not re.fullmatch(r"\d{1,3}(,\d{3})+", bare):
        bare = bare.replace(".", "").replace(",", ".")
    try:
        value = Decimal(bare.replace(",", ""))
    except InvalidOperation:
        raise UnreadableInvoice(f"{where}: {text!r} is no number") from None
    return -value if negative else value


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9]+", " ", text.lower()).split())


def words(columns: Iterable[str]) -> Iterator[tuple[Column, str]]:
    """`column=header` of `--invoice-map`.

    Raises:
        UnreadableInvoice: not of that form, or no such column.
    """
    for word in columns:
        column, equals, header = word.partition("=")
        for known in COLUMNS:
            if column == known and equals and header:
                yield known, header
                break
        else:
            raise UnreadableInvoice(f"{word!r}: COLUMN=HEADER is expected, of {', '.join(COLUMNS)}")
