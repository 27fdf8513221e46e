"""Pricing and conversation analytics of an account: deliveries, rates and a `fields` expression in, Meta's answer out. Pure.

Source: Meta, WhatsApp Business Platform, analytics: parameters and data points; days are those of the account's time zone.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import phonenumbers
from pydantic import BaseModel, ConfigDict, Field

from services.simulator.accounts import Waba
from services.simulator.errors import GraphError
from services.simulator.ledger import Delivery

_CALL = re.compile(r"(pricing_analytics|conversation_analytics)((?:\.\w+\([^()]*\))*)")
_PARAMETER = re.compile(r"\.(\w+)\(([^()]*)\)")
_COST_DIGITS = Decimal("0.0001")


class Rate(BaseModel):
    """What a charged unit costs in the account's currency; a country's own rate goes before that of all (None)."""

    model_config = ConfigDict(extra="forbid")

    country: str | None = None
    category: str
    amount: Decimal = Field(ge=0)
    tier: str = Field("0:MAX", pattern=r"^\d+:(\d+|MAX)$")
    """Holds from the first to the last charged unit of a month, both included."""


class Asked(NamedTuple):
    """A call of one kind of analytics with its parameters as text."""

    field: Literal["pricing_analytics", "conversation_analytics"]
    parameters: dict[str, str]


class _Kind(NamedTuple):
    unit: str
    volume: str
    """The name of the metric in a data point; asked for in capitals."""
    dimensions: Mapping[str, Callable[[Waba, Delivery, str], tuple[str, str]]]


def _display(waba: Waba, delivery: Delivery, tier: str) -> tuple[str, str]:
    shown = next((n.display_phone_number for n in waba.numbers if n.id == delivery.phone_number_id), "")
    return "phone_number", "".join(c for c in shown if c.isdigit())


def _type(delivery: Delivery) -> str:
    kind = delivery.type.upper()
    if delivery.unit == "message":
        return "FREE_CUSTOMER_SERVICE" if kind == "FREE_TIER" else kind
    return kind if kind in ("REGULAR", "FREE_ENTRY_POINT") else "FREE_TIER"


_KINDS = {
    "pricing_analytics": _Kind(
        "message",
        "volume",
        {
            "PHONE": _display,
            "COUNTRY": lambda waba, d, tier: ("country", d.country),
            "PRICING_CATEGORY": lambda waba, d, tier: ("pricing_category", d.category.upper()),
            "PRICING_TYPE": lambda waba, d, tier: ("pricing_type", _type(d)),
            "TIER": lambda waba, d, tier: ("tier", tier),
        },
    ),
    "conversation_analytics": _Kind(
        "conversation",
        "conversation",
        {
            "PHONE": _display,
            "COUNTRY": lambda waba, d, tier: ("country", d.country),
            "CONVERSATION_CATEGORY": lambda waba, d, tier: ("conversation_category", d.category.upper()),
            "CONVERSATION_TYPE": lambda waba, d, tier: ("conversation_type", _type(d)),
            "CONVERSATION_DIRECTION": lambda waba, d, tier: (
                "conversation_direction",
                "USER_INITIATED" if d.category == "service" else "BUSINESS_INITIATED",
            ),
        },
    ),
}


def asked(fields: str) -> Asked | None:
    """The call that a `fields` expression makes; None if it asks for no analytics."""
    found = _CALL.fullmatch(fields.strip())
    if found is None:
        return None
    name: Any = found[1]
    return Asked(name, dict(_PARAMETER.findall(found[2])))


def answer(
    call: Asked, waba: Waba, deliveries: Iterable[Delivery], rates: tuple[Rate, ...]
) -> dict[str, Any] | GraphError:
    """The account's node with the data points, or what Meta objects to."""
    kind, given = _KINDS[call.field], call.parameters
    start, end, granularity = given.get("start", ""), given.get("end", ""), given.get("granularity", "")
    dimensions, metrics = _list(given.get("dimensions")), _list(given.get("metric_types"))
    allowed_metrics = {"COST", kind.volume.upper()}
    if not start.isdigit() or not end.isdigit() or int(start) >= int(end):
        return GraphError(100, "(#100) Param start and end must be UNIX timestamps, start before end.")
    if granularity not in ("HALF_HOUR", "DAILY", "MONTHLY"):
        return GraphError(100, "(#100) Param granularity must be one of {HALF_HOUR, DAILY, MONTHLY}.")
    if unknown := [name for name in dimensions if name not in kind.dimensions]:
        return GraphError(
            100,
            f"(#100) Param dimensions[0] must be one of {{{', '.join(kind.dimensions)}}}, not {unknown[0]}.",
        )
    if unknown := [name for name in metrics if name not in allowed_metrics]:
        return GraphError(100, f"(#100) Param metric_types has no {unknown[0]}.")
    wanted = set(metrics) or allowed_metrics
    numbers, countries = set(_list(given.get("phone_numbers"))), set(_list(given.get("country_codes")))
    points: dict[tuple[tuple[str, Any], ...], list[Any]] = {}
    zone = ZoneInfo(waba.timezone)
    for delivery, tier, cost in _priced(waba, kind.unit, deliveries, rates, zone):
        named = dict(kind.dimensions[name](waba, delivery, tier) for name in dimensions)
        outside = not int(start) <= delivery.at < int(end)
        if (
            outside
            or (numbers and _display(waba, delivery, tier)[1] not in numbers)
            or (countries and delivery.country not in countries)
        ):
            continue
        if not tier:
            named.pop("tier", None)
        first, last = _bucket(delivery.at, granularity, zone)
        sums = points.setdefault((("start", first), ("end", last), *named.items()), [0, Decimal(0)])
        sums[0], sums[1] = sums[0] + 1, sums[1] + cost
    data = [
        dict(key)
        | ({kind.volume: volume} if kind.volume.upper() in wanted else {})
        | ({"cost": float(cost.quantize(_COST_DIGITS))} if "COST" in wanted else {})
        for key, (volume, cost) in sorted(points.items(), key=lambda point: str(point[0]))
    ]
    return {call.field: {"data": [{"data_points": data}]}, "id": waba.id}


def country_of(wa_id: str) -> str:
    """The user's country as Meta knows it, territories by themselves; the calling code's where the number tells no more."""
    number = phonenumbers.parse(f"+{wa_id}", None)
    return (
        phonenumbers.region_code_for_number(number)
        or phonenumbers.region_code_for_country_code(number.country_code or 0)
        or "ZZ"
    )


def _priced(
    waba: Waba, unit: str, deliveries: Iterable[Delivery], rates: tuple[Rate, ...], zone: ZoneInfo
) -> Iterator[tuple[Delivery, str, Decimal]]:
    """Each delivery of the account with its tier (empty where it is free) and its cost, counted in order."""
    charged: dict[tuple[str, str, str], int] = {}
    for delivery in sorted(
        (d for d in deliveries if d.waba_id == waba.id and d.unit == unit), key=lambda d: d.at
    ):
        if _type(delivery) != "REGULAR":
            yield delivery, "", delivery.cost or Decimal(0)
            continue
        month = f"{datetime.fromtimestamp(delivery.at, UTC).astimezone(zone):%Y-%m}"
        place = (month, delivery.country, delivery.category)
        nth = charged[place] = charged.get(place, 0) + 1
        rate = _rate(rates, delivery, nth)
        cost = delivery.cost if delivery.cost is not None else rate.amount if rate else Decimal(0)
        yield delivery, rate.tier if rate else "0:MAX", cost


def _rate(rates: tuple[Rate, ...], delivery: Delivery, nth: int) -> Rate | None:
    fitting = [
        rate
        for rate in rates
        if rate.category in (delivery.category, delivery.category.removesuffix("_lite"))
        and rate.country in (None, delivery.country)
        and _holds(rate.tier, nth)
    ]
    return max(fitting, key=lambda rate: rate.country is not None, default=None)


def _holds(tier: str, nth: int) -> bool:
    first, _, last = tier.partition(":")
    return int(first) <= nth and (last == "MAX" or nth <= int(last))


def _bucket(at: float, granularity: str, zone: ZoneInfo) -> tuple[int, int]:
    """The first second of the delivery's half hour, day or month, and of the next one."""
    if granularity == "HALF_HOUR":
        return int(at) // 1800 * 1800, int(at) // 1800 * 1800 + 1800
    midnight = (
        datetime.fromtimestamp(at, UTC)
        .astimezone(zone)
        .replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    )
    if granularity == "DAILY":
        after = midnight + timedelta(days=1)
        return int(midnight.timestamp()), int(after.timestamp())
    first = midnight.replace(day=1)
    after = (first + timedelta(days=32)).replace(day=1)
    return int(first.timestamp()), int(after.timestamp())


def _list(text: str | None) -> list[str]:
    """The words of `["A","B"]`, quoted or not; Meta takes both."""
    inner = (text or "").strip().removeprefix("[").removesuffix("]")
    return [word.strip().strip("\"'") for word in inner.split(",") if word.strip()]
