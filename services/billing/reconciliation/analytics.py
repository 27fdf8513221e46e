"""Meta's pricing and conversation analytics: what to ask for, and cells out of the answers. Pure.

Source: Meta, WhatsApp Business Platform, analytics. Volumes count what was delivered; costs are approximate, decimals in the account's
currency, and no invoice.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from services.billing.reconciliation.cells import Cell, Counted, Group, Tier, cell_of
from shared.accounts import AccountFacts
from shared.pricing import Unit

FIELDS: Final[Mapping[Unit, str]] = {"message": "pricing_analytics", "conversation": "conversation_analytics"}
_DIMENSIONS: Final[Mapping[Unit, tuple[str, ...]]] = {
    "message": ("COUNTRY", "PHONE", "PRICING_CATEGORY", "PRICING_TYPE", "TIER"),
    "conversation": ("COUNTRY", "PHONE", "CONVERSATION_CATEGORY", "CONVERSATION_TYPE"),
}
_METRICS: Final[Mapping[Unit, tuple[str, ...]]] = {
    "message": ("COST", "VOLUME"),
    "conversation": ("COST", "CONVERSATION"),
}
_MICRO_DIGITS: Final = 6
_USUAL_DIGITS: Final = 4
"""Of Meta's costs, as of its cards (Meta, analytics; Meta, rate cards)."""
_FLOAT_NOISE: Final = Decimal("1e-9")
"""Sums of floats have further decimals that say nothing: 0.5700000000000001."""
_ENOUGH_COSTS: Final = 20
"""Fewer may all be round by chance."""

Answers = Mapping[str, list[dict[str, Any]]]
"""By account: the nodes Meta answered, as they came but for their decimals, which are `Decimal`."""


class UnreadableAnalytics(ValueError):
    """Not analytics as Meta's answers have them; the text says where."""


@dataclass(frozen=True, slots=True)
class MetaCounts:
    """What all answers come to, and what is odd about them, in words."""

    cells: Mapping[Group, Mapping[Cell, Counted]]
    notes: tuple[str, ...]


def fields_of(unit: Unit, start: datetime, end: datetime) -> str:
    """`fields` of the call: every number and country of an account, day by day, from `start` to before `end` (aware)."""
    return (
        f"{FIELDS[unit]}.start({int(start.timestamp())}).end({int(end.timestamp())}).granularity(DAILY)"
        f".phone_numbers([]).country_codes([]).metric_types({_list(_METRICS[unit])})"
        f".dimensions({_list(_DIMENSIONS[unit])})"
    )


def ranges(days: tuple[date, date], chunk_days: int, timezone: str) -> Iterator[tuple[datetime, datetime]]:
    """The days (first, last) in pieces of so many, from midnight to midnight of the account's zone."""
    first, last = days
    zone = ZoneInfo(timezone)
    while first <= last:
        after = min(first + timedelta(days=chunk_days), last + timedelta(days=1))
        yield datetime.combine(first, time.min, zone), datetime.combine(after, time.min, zone)
        first = after


def loads(text: bytes | str, where: str) -> dict[str, list[dict[str, Any]]]:
    """Read answers that were saved: one node of Meta's, or a list of them; by account.

    Raises:
        UnreadableAnalytics: no JSON, or a node without id or analytics; `where` begins the text.
    """
    try:
        read = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        raise UnreadableAnalytics(f"{where}: not JSON: {error}") from None
    answers: dict[str, list[dict[str, Any]]] = {}
    for number, node in enumerate(read if isinstance(read, list) else [read]):
        if not isinstance(node, dict) or not isinstance(node.get("id"), str):
            raise UnreadableAnalytics(
                f"{where}: answer {number}: an object with the account's id is expected"
            )
        if not any(name in node for name in FIELDS.values()):
            raise UnreadableAnalytics(f"{where}: answer {number}: none of {', '.join(FIELDS.values())}")
        answers.setdefault(node["id"], []).append(node)
    return answers


def dumps(answers: Answers) -> str:
    """The answers as `loads` reads them."""
    nodes = [node for of_account in answers.values() for node in of_account]
    return json.dumps(nodes, indent=1, default=float, ensure_ascii=False) + "\n"


def counted(answers: Answers, facts: AccountFacts) -> MetaCounts:
    """All cells of the answers.

    How far a cost may be off: for each data point half a unit of the last decimal that any cost of the account's answers has (Meta rounds
    there), and a millionth per unit. Where Meta names a number that the account does not have, the number's own digits stand for its id.

    Raises:
        UnreadableAnalytics: a data point without what it must have.
    """
    cells: dict[Group, dict[Cell, Counted]] = {}
    notes: dict[str, None] = {}
    for waba_id, nodes in answers.items():
        account = facts.account(waba_id)
        zone = ZoneInfo(account.timezone if account else "UTC")
        currency = account.currency if account else "USD"
        numbers = _numbers(facts, waba_id)
        points = [(unit, point) for node in nodes for unit, point in _points(waba_id, node)]
        rounding = _rounding(cost for _, point in points if isinstance(cost := point.get("cost"), Decimal))
        for unit, point in points:
            at = datetime.fromtimestamp(int(point["start"]), UTC).astimezone(zone)
            if at.time() != time.min:
                notes[
                    f"Account {waba_id}: Meta's days begin at {at:%H:%M} of {account.timezone if account else 'UTC'}: "
                    "messages near midnight count on another day."
                ] = None
            display = "".join(c for c in str(point.get("phone_number") or "") if c.isdigit())
            number = numbers.get(display, display)
            if number == display:
                notes[
                    f"Account {waba_id}: Meta counts for number {display or '(none)'}, which is not known."
                ] = None
            group = Group(waba_id, number, unit, currency)
            cell, amount = _counted(waba_id, unit, point, at.date().isoformat(), rounding)
            of_group = cells.setdefault(group, {})
            of_group[cell] = _sum(of_group.get(cell, Counted()), amount)
    return MetaCounts(cells, tuple(notes))


def _counted(
    waba_id: str, unit: Unit, point: Mapping[str, Any], day: str, rounding: int
) -> tuple[Cell, Counted]:
    prefix = "pricing" if unit == "message" else "conversation"
    category, type_ = point.get(f"{prefix}_category"), point.get(f"{prefix}_type")
    volume = point.get("volume" if unit == "message" else "conversation")
    if not isinstance(category, str) or not isinstance(type_, str) or not isinstance(volume, int):
        raise UnreadableAnalytics(
            f"account {waba_id}: a data point of {day} without category, type or volume: ask for all dimensions and metrics"
        )
    micros = _micros(point.get("cost") or 0)
    tier = Tier(str(point.get("tier") or ""), volume, micros)
    return cell_of(day, category, point.get("country"), type_), Counted(
        volume, micros, rounding + volume, (tier,)
    )


def _sum(one: Counted, other: Counted) -> Counted:
    """A tier may come in several data points (Marketing Lite beside marketing)."""
    tiers: dict[str, Tier] = {}
    for tier in (*one.tiers, *other.tiers):
        before = tiers.get(tier.name, Tier(tier.name, 0, 0))
        tiers[tier.name] = Tier(tier.name, before.volume + tier.volume, before.micros + tier.micros)
    return Counted(
        one.volume + other.volume,
        one.micros + other.micros,
        one.tolerance_micros + other.tolerance_micros,
        tuple(tiers.values()),
    )


def _points(waba_id: str, node: Mapping[str, Any]) -> Iterator[tuple[Unit, Mapping[str, Any]]]:
    """The data points of a node; Meta wraps them in `data`, one to a list."""
    for unit, name in FIELDS.items():
        analytics = node.get(name)
        if analytics is None:
            continue
        parts = analytics.get("data", [analytics]) if isinstance(analytics, dict) else None
        if not isinstance(parts, list):
            raise UnreadableAnalytics(f"account {waba_id}: {name} without data")
        for part in parts:
            points = part.get("data_points", []) if isinstance(part, dict) else None
            if not isinstance(points, list) or not all(isinstance(p, dict) and "start" in p for p in points):
                raise UnreadableAnalytics(f"account {waba_id}: {name}: data points without a start")
            for point in points:
                yield unit, point


def _numbers(facts: AccountFacts, waba_id: str) -> dict[str, str]:
    """Digits as displayed → id: analytics name a number as people dial it."""
    return {
        digits: id_
        for (subject, owner, id_) in facts.known()
        if subject == "number" and owner == waba_id and (number := facts.number(id_)) is not None
        if (digits := "".join(c for c in number.display_phone_number if c.isdigit()))
    }


def _rounding(costs: Iterable[Decimal]) -> int:
    """Half a unit of the last decimal that any of the costs has, in millionths; of few costs at most that of the usual four decimals."""
    digits = [-int(cost.quantize(_FLOAT_NOISE).normalize().as_tuple().exponent) for cost in costs]
    last = max(digits, default=_USUAL_DIGITS)
    if len(digits) < _ENOUGH_COSTS:
        last = max(last, _USUAL_DIGITS)
    return 0 if last >= _MICRO_DIGITS else 10 ** (_MICRO_DIGITS - max(last, 0)) // 2


def _micros(cost: object) -> int:
    return round(Decimal(str(cost)).scaleb(_MICRO_DIGITS))


def _list(words: Iterable[str]) -> str:
    return "[" + ",".join(f'"{word}"' for word in words) + "]"
