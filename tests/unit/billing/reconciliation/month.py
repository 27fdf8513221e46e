"""A month as it happened: messages in; the ledger's entries and Meta's analytics out, each with what a test plants in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

from services.billing.reconciliation.analytics import counted, loads
from services.billing.reconciliation.cells import Cell, Group, Unheard, cell_of
from services.billing.reconciliation.differences import Reconciled
from services.billing.reconciliation.messages import Messages
from services.billing.reconciliation.month import reconcile
from shared.accounts import AccountFacts
from shared.events import AccountChanged, LedgerEntry, PredictedCost
from shared.times import rfc3339, to_ms

WABA, NUMBER, OTHER_NUMBER = "102290129340398", "106540352242922", "106540352242923"
DISPLAY = {NUMBER: "15550253484", OTHER_NUMBER: "15550253485"}
ZONE = "America/New_York"
MONTH = "2026-11"
PRICES = {"marketing": 136_500, "utility": 55_000, "authentication": 45_000, "service": 50_000}
REGULAR, FREE = "regular", "free_customer_service"


@dataclass(frozen=True)
class Sent:
    """A delivered message; `predicted` as (category, type, micros), the rest as it was billed."""

    wamid: str
    day: str = "2026-11-10"
    at: time = time(12)
    number: str = NUMBER
    category: str = "marketing"
    country: str = "DE"
    type: str = REGULAR
    micros: int | None = None
    predicted: tuple[str, str, int] | str | None = "as billed"
    priced: bool = True
    ours: bool = True
    unit: str = "message"

    @property
    def cost(self) -> int:
        if self.micros is not None:
            return self.micros
        return PRICES[self.category] if self.type == REGULAR else 0

    @property
    def group(self) -> Group:
        return Group(WABA, self.number, self.unit, "USD")

    @property
    def cell(self) -> Cell:
        return cell_of(self.day, self.category, self.country, self.type)


def entries_of(sent: Sent) -> Iterator[LedgerEntry]:
    """The message's entries: one, or, where Meta moved it after the delivery, three."""
    at = datetime.combine(date.fromisoformat(sent.day), sent.at, ZoneInfo(ZONE))
    expected = sent.predicted
    if expected == "as billed":
        expected = (sent.category, sent.type, sent.cost)
    predicted = None
    if isinstance(expected, tuple):
        category, type_, micros = expected
        predicted = PredictedCost(category=category, type=type_, amount_micros=micros)
    fields: dict[str, Any] = {
        "at": rfc3339(to_ms(at)),
        "month": sent.day[:7],
        "waba_id": WABA,
        "phone_number_id": sent.number,
        "user_ref": "0123456789abcdef",
        "wamid": sent.wamid,
        "request_id": f"r-{sent.wamid}" if sent.ours else None,
        "conversation_id": None,
        "unit": sent.unit,
        "market": sent.country,
        "regime": "2026-10-01",
        "rate_card": "usd_2026-10-01",
        "currency": "USD",
        "tags": {"cost_center": "logistics"},
        "delivered_at": rfc3339(to_ms(at)),
        "day": sent.day,
        "country": sent.country,
        "predicted": predicted,
    }
    billed: dict[str, Any] = {"category": sent.category, "type": sent.type, "free": sent.type != REGULAR}
    later = predicted is not None and (predicted.category, predicted.type) != (sent.category, sent.type)
    kind: Any = "charge" if sent.ours else "unattributed"
    basis: Any = "meta" if sent.priced else "predicted"
    if not (later and sent.priced and predicted is not None):
        yield LedgerEntry(
            event_id=f"{sent.wamid}:charge", entry=kind, counts=1, amount_micros=sent.cost, basis=basis, **billed, **fields
        )  # fmt: skip
        return
    first: dict[str, Any] = {
        "category": predicted.category,
        "type": predicted.type,
        "free": predicted.type != REGULAR,
    }
    amount = predicted.amount_micros
    yield LedgerEntry(
        event_id=f"{sent.wamid}:charge", entry=kind, counts=1, amount_micros=amount, basis="predicted", **first, **fields
    )  # fmt: skip
    yield LedgerEntry(
        event_id=f"{sent.wamid}:correction:1", entry="correction", counts=-1, amount_micros=-amount, basis="meta", **first, **fields
    )  # fmt: skip
    yield LedgerEntry(
        event_id=f"{sent.wamid}:correction:2", entry="correction", counts=1, amount_micros=sent.cost, basis="meta", **billed, **fields
    )  # fmt: skip


@dataclass
class Point:
    """What Meta counts of a message, where it is not what was billed."""

    cell: Cell
    micros: int
    number: str = NUMBER
    tier: str = "0:MAX"
    volume: int = 1
    unit: str = "message"


@dataclass
class Month:
    """Both sides."""

    sent: list[Sent] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    unheard: list[Unheard] = field(default_factory=list)

    def add(self, sent: Sent, *counted_as: Point | None) -> None:
        """A message; counted by Meta as it was billed, or as said, or (None) not at all."""
        self.sent.append(sent)
        points = counted_as or (Point(sent.cell, sent.cost, sent.number, unit=sent.unit),)
        self.points += [point for point in points if point is not None]

    def lose(self, wamid: str, cell: Cell, number: str = NUMBER) -> None:
        """A message that Meta counts and of whose delivery no webhook came."""
        micros = PRICES[cell.category]
        self.unheard.append(Unheard(wamid, f"r-{wamid}", Group(WABA, number, "message", "USD"), cell, micros))
        self.points.append(Point(cell, micros, number))

    def analytics(self) -> str:
        """Meta's answers as JSON text."""
        sums: dict[tuple[Any, ...], list[int]] = {}
        for p in self.points:
            place = (p.unit, p.number, p.cell, p.tier if p.cell.type == REGULAR else "")
            total = sums.setdefault(place, [0, 0])
            total[0] += p.volume
            total[1] += p.micros
        points: dict[str, list[dict[str, Any]]] = {"message": [], "conversation": []}
        for (unit, number, cell, tier), (volume, micros) in sums.items():
            points[unit].append(data_point(unit, number, cell, tier, volume, micros))
        nodes = [
            {name: {"data": [{"data_points": points[unit]}]}, "id": WABA}
            for unit, name in (("message", "pricing_analytics"), ("conversation", "conversation_analytics"))
            if points[unit] or unit == "message"
        ]
        return json.dumps(nodes)

    def reconciled(self) -> Reconciled:
        """What the reconciliation makes of it."""
        with messages_of(self.sent) as messages:
            meta = counted(loads(self.analytics(), "test"), FACTS).cells
            return reconcile(messages, meta, self.unheard, FACTS, MONTH)


def data_point(unit: str, number: str, cell: Cell, tier: str, volume: int, micros: int) -> dict[str, Any]:
    start = datetime.combine(date.fromisoformat(cell.day), time.min, ZoneInfo(ZONE))
    prefix = "pricing" if unit == "message" else "conversation"
    free = "FREE_CUSTOMER_SERVICE" if unit == "message" else "FREE_TIER"
    return {
        "start": int(start.timestamp()),
        "end": int((start + timedelta(days=1)).timestamp()),
        "phone_number": DISPLAY[number],
        "country": cell.country,
        f"{prefix}_category": cell.category.upper(),
        f"{prefix}_type": {"regular": "REGULAR", "free": free}.get(cell.type, "FREE_ENTRY_POINT"),
        "volume" if unit == "message" else "conversation": volume,
        "cost": float(Decimal(micros).scaleb(-6)),
    } | ({"tier": tier} if tier else {})


@contextmanager
def messages_of(sent: list[Sent]) -> Iterator[Messages]:
    """The messages' store, sealed."""
    with TemporaryDirectory() as folder:
        messages = Messages(Path(folder) / "messages", "cost_center")
        for one in sent:
            for entry in entries_of(one):
                messages.add(entry)
        messages.seal()
        yield messages
        messages.close()


def facts() -> AccountFacts:
    known = AccountFacts()
    told: list[tuple[Any, str, dict[str, Any]]] = [
        ("account", WABA, {"timezone": ZONE, "currency": "USD", "name": "Shop"}),
        *(("number", id_, {"display_phone_number": f"+{digits}"}) for id_, digits in DISPLAY.items()),
    ]
    for offset, (subject, id_, fields) in enumerate(told):
        event = AccountChanged(
            event_id=str(offset), at_ms=1, waba_id=WABA, subject=subject, id=id_, fields=fields
        )
        known.apply(event, offset + 1)
    return known


FACTS = facts()
