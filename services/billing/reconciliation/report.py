"""What a finance person reads: the reconciliation summed up by what they know it by, differences by kind, and notes. Pure."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec

from services.billing.reconciliation.cells import Amount, Cell, Counted, Group, Tagged, Unsure
from services.billing.reconciliation.differences import MEANING, TO_DO, Between, Difference, Kind, Reconciled
from services.billing.reconciliation.invoice import Compared

UNSURE_CARDS: Final = ("illustrative", "reported")
"""What the ids of cards begin with that are not Meta's own (docs/pricing.md)."""

TOLERANCE: Final = (
    "Meta's costs are approximate decimals. Two sums agree when they differ by no more than half a unit of the last decimal that any cost "
    "of the account's answers has, for each line Meta counts, and a millionth per message."
)


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """Units and millionths of one name on each side; `meta_*` null where Meta was not asked."""

    name: str
    predicted: int = 0
    predicted_micros: int = 0
    billed: int = 0
    billed_micros: int = 0
    meta: int | None = None
    meta_micros: int | None = None


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """All of one currency.

    `priced_micros` is how much of what is billed Meta's webhooks have said; `by_webhooks_micros` what their word changed of the prediction.
    `difference_micros`, Meta's analytics less billed, is the sum of `explained_micros`, `unexplained_micros` and what rounding makes.
    """

    currency: str
    predicted_micros: int
    billed_micros: int
    priced_micros: int
    by_webhooks_micros: int
    meta_micros: int | None
    difference_micros: int | None
    explained_micros: int
    unexplained_micros: int
    explained_units: int
    unexplained_units: int
    invoice_micros: int | None
    invoice_tax_micros: int | None
    days: tuple[Sum, ...]
    categories: tuple[Sum, ...]
    countries: tuple[Sum, ...]
    numbers: tuple[Sum, ...]
    accounts: tuple[Sum, ...]
    tags: tuple[Tagged, ...]


class OfKind(msgspec.Struct, frozen=True, kw_only=True):
    """All differences of one kind between the same sides, largest first."""

    kind: Kind
    between: Between
    meaning: str
    to_do: str
    units: int
    micros: dict[str, int]
    """By currency: what they add to the bill."""
    differences: tuple[Difference, ...]


class FreeTierLine(msgspec.Struct, frozen=True, kw_only=True):
    """Free units of an account (number None) or of a number that the month used, and how many it left."""

    account: str
    number: str | None
    used: int
    left: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The month's report."""

    month: str
    made_at: str
    accounts: dict[str, str]
    """Id → name."""
    tag: str
    """The tag that names a cost centre."""
    totals: tuple[Total, ...]
    kinds: tuple[OfKind, ...]
    free_tier: tuple[FreeTierLine, ...]
    invoice: tuple[Compared, ...]
    notes: tuple[str, ...]

    @property
    def unexplained(self) -> int:
        """How many differences nothing explains, those of the invoice included."""
        left = sum(len(of.differences) for of in self.kinds if of.kind == "unexplained")
        return left + sum(line.agrees_with == "neither" for line in self.invoice)


def as_objects(value: Any) -> Any:
    """The report, or a part of it, of objects, lists, text and numbers only: report.json."""
    if isinstance(value, msgspec.Struct):
        return {name: as_objects(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: as_objects(one) for key, one in value.items()}
    if isinstance(value, tuple):
        fields = getattr(value, "_fields", None)
        parts = [as_objects(one) for one in value]
        return parts if fields is None else dict(zip(fields, parts, strict=True))
    return value


class Names:
    """What accounts and numbers are called: by their id where nobody knows."""

    def __init__(self, accounts: Mapping[str, str], numbers: Mapping[str, str]) -> None:
        self.accounts = accounts
        self._numbers = numbers

    def account(self, waba_id: str) -> str:
        """Name and id."""
        name = self.accounts.get(waba_id)
        return f"{name} ({waba_id})" if name else waba_id

    def display(self, number: str) -> str:
        """As people dial it."""
        return self._numbers.get(number) or number

    def number(self, number: str) -> str:
        """As people dial it, and the id."""
        shown = self._numbers.get(number)
        return f"{shown} ({number})" if shown else number


def build(
    reconciled: Reconciled,
    *,
    names: Names,
    made_at: datetime,
    tag: str,
    tags: Sequence[Tagged],
    free_tier: Sequence[FreeTierLine],
    invoice: Sequence[Compared] | None,
    taxes: Mapping[str, int],
    notes: Sequence[str],
) -> Report:
    """The report. `invoice` is None where none was given; `taxes` are its millionths by currency."""
    groups = sorted(
        {*reconciled.predicted, *reconciled.billed, *(reconciled.meta or {})}, key=lambda g: g.currency
    )
    currencies = list(dict.fromkeys(group.currency for group in groups))
    return Report(
        month=reconciled.month,
        made_at=f"{made_at:%Y-%m-%d %H:%M} UTC",
        accounts=dict(names.accounts),
        tag=tag,
        totals=tuple(_total(currency, reconciled, names, tags, invoice, taxes) for currency in currencies),
        kinds=_kinds(reconciled.differences),
        free_tier=tuple(free_tier),
        invoice=tuple(invoice or ()),
        notes=tuple(notes),
    )


def notes_of(unsure: Iterable[Unsure], names: Names) -> list[str]:
    """What a reader must know of the ledger's own prices."""
    notes = []
    for account in unsure:
        name = names.account(account.waba_id)
        cards = [card for card in account.cards if card.startswith(UNSURE_CARDS)]
        if cards:
            notes.append(f"{name}: priced by cards that Meta did not publish: {', '.join(cards)}.")
        if account.rate_unknown:
            notes.append(
                f"{name}: {account.rate_unknown} messages that Meta charges have no rate on any card; they are billed at 0 here."
            )
        if account.unpriced:
            notes.append(
                f"{name}: {account.unpriced} messages are billed as predicted: no webhook is known to have priced them."
            )
    return notes


def _total(
    currency: str,
    found: Reconciled,
    names: Names,
    tags: Sequence[Tagged],
    invoice: Sequence[Compared] | None,
    taxes: Mapping[str, int],
) -> Total:
    def sums(name: Callable[[Group, Cell], str]) -> tuple[Sum, ...]:
        return _sums(currency, found, name)

    whole = next(iter(sums(lambda group, cell: "")))
    mine = [d for d in found.differences if d.group.currency == currency]
    seen = [d for d in mine if d.between == "billed_meta"]
    invoiced = [line for line in invoice or () if line.currency == currency]
    return Total(
        currency=currency,
        predicted_micros=whole.predicted_micros,
        billed_micros=whole.billed_micros,
        priced_micros=sum(
            amount.micros
            for g, cells in found.priced.items()
            if g.currency == currency
            for amount in cells.values()
        ),
        by_webhooks_micros=sum(d.micros for d in mine if d.between == "predicted_billed"),
        meta_micros=whole.meta_micros,
        difference_micros=None if whole.meta_micros is None else whole.meta_micros - whole.billed_micros,
        explained_micros=sum(_of_month(d, found.month) for d in seen if d.explained),
        unexplained_micros=sum(_of_month(d, found.month) for d in seen if not d.explained),
        explained_units=sum(d.units for d in seen if d.explained),
        unexplained_units=sum(d.units for d in seen if not d.explained),
        invoice_micros=None if invoice is None else sum(line.invoiced_micros for line in invoiced),
        invoice_tax_micros=None if invoice is None else taxes.get(currency, 0),
        days=_every_day(found.month, sums(lambda group, cell: cell.day), asked=found.meta is not None),
        categories=_dearest(sums(lambda group, cell: cell.category)),
        countries=_dearest(sums(lambda group, cell: cell.country or "unknown")),
        numbers=_dearest(sums(lambda group, cell: names.number(group.number))),
        accounts=_dearest(sums(lambda group, cell: names.account(group.waba_id))),
        tags=tuple(tagged for tagged in tags if tagged.currency == currency),
    )


def _sums(currency: str, found: Reconciled, name: Callable[[Group, Cell], str]) -> tuple[Sum, ...]:
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * 6)
    sides: tuple[Mapping[Group, Mapping[Cell, Amount | Counted]], ...] = (
        found.predicted,
        found.billed,
        found.meta or {},
    )
    for side, groups in enumerate(sides):
        for group, cells in groups.items():
            if group.currency == currency:
                for cell, amount in cells.items():
                    total = sums[name(group, cell)]
                    total[2 * side] += amount.volume
                    total[2 * side + 1] += amount.micros
    return tuple(
        Sum(
            name=key,
            predicted=total[0],
            predicted_micros=total[1],
            billed=total[2],
            billed_micros=total[3],
            meta=None if found.meta is None else total[4],
            meta_micros=None if found.meta is None else total[5],
        )
        for key, total in sorted(sums.items())
    )


def _every_day(month: str, days: tuple[Sum, ...], *, asked: bool) -> tuple[Sum, ...]:
    """Days without a message too, so that a chart shows the whole month."""
    known = {day.name: day for day in days}
    none = 0 if asked else None
    numbers = range(1, 32)
    names = (f"{month}-{number:02}" for number in numbers)
    return tuple(
        known.get(name, Sum(name=name, meta=none, meta_micros=none)) for name in names if _is_day(name)
    )


def _is_day(name: str) -> bool:
    try:
        date.fromisoformat(name)
    except ValueError:
        return False
    return True


def _dearest(sums: tuple[Sum, ...]) -> tuple[Sum, ...]:
    return tuple(
        sorted(
            sums,
            key=lambda s: (-max(s.billed_micros, s.meta_micros or 0, s.predicted_micros), -s.billed, s.name),
        )
    )


def _kinds(differences: Sequence[Difference]) -> tuple[OfKind, ...]:
    """What is unexplained first, then what costs most."""
    by_kind: dict[tuple[Between, Kind], list[Difference]] = defaultdict(list)
    for difference in differences:
        by_kind[difference.between, difference.kind].append(difference)
    kinds = []
    for (between, kind), of in by_kind.items():
        micros: Counter[str] = Counter()
        for difference in of:
            micros[difference.group.currency] += difference.micros
        kinds.append(
            OfKind(
                kind=kind,
                between=between,
                meaning=MEANING[kind],
                to_do=TO_DO[kind],
                units=sum(difference.units for difference in of),
                micros=dict(sorted(micros.items())),
                differences=tuple(sorted(of, key=lambda d: (-abs(d.micros), -d.units, d.effects))),
            )
        )
    return tuple(
        sorted(
            kinds,
            key=lambda k: (k.kind != "unexplained", k.between, -sum(map(abs, k.micros.values())), k.kind),
        )
    )


def _of_month(difference: Difference, month: str) -> int:
    """What a difference adds to the month's own bill: the other half of a message at the month's border belongs to its neighbour."""
    return sum(effect.micros for effect in difference.effects if effect.cell.day.startswith(month))
