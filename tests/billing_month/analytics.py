"""Meta's own count of the month, as `pricing_analytics` and `conversation_analytics` answer: messages in, a node per account out.

Source: Meta, WhatsApp Business Platform, analytics. Volumes count what was delivered, by day of the account's zone; free volume names no tier.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from tests.billing_month.rules import instant
from tests.billing_month.truth import Message
from tests.billing_month.world import BY_ID

_TYPES = {
    "regular": "REGULAR",
    "rate_unknown": "REGULAR",
    "free_entry_point": "FREE_ENTRY_POINT",
    "free_customer_service": "FREE_CUSTOMER_SERVICE",
}
"""Of messages; the free tier of conversations is FREE_TIER, that of messages customer service as all that is free."""


def analytics(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """One node for each account, every dimension asked for."""
    volumes: dict[tuple[str, ...], int] = defaultdict(int)
    micros: dict[tuple[str, ...], int] = defaultdict(int)
    for message in messages:
        charge = message.counted
        if charge is None or not charge.units:
            continue
        free_tier = "FREE_TIER" if charge.unit == "conversation" else "FREE_CUSTOMER_SERVICE"
        point: tuple[str, ...] = (
            message.account.waba_id,
            charge.unit,
            charge.day,
            message.number,
            message.country,
            charge.column.upper(),
            _TYPES.get(charge.type, free_tier),
            "" if charge.free else (charge.tier[0] if charge.tier else "0:MAX"),
        )
        volumes[point] += charge.units
        micros[point] += charge.micros
    nodes: dict[str, dict[str, Any]] = {waba_id: {"id": waba_id} for waba_id in BY_ID}
    for point in sorted(volumes):
        waba_id, unit, day, *dimensions = point
        zone, on = BY_ID[waba_id].zone, date.fromisoformat(day)
        told: dict[str, Any] = {
            "start": instant(zone, on) // 1000,
            "end": instant(zone, on + timedelta(days=1)) // 1000,
        }
        told |= (_message if unit == "message" else _conversation)(dimensions, volumes[point])
        told["cost"] = float(Decimal(micros[point]).scaleb(-6))
        field = "pricing_analytics" if unit == "message" else "conversation_analytics"
        nodes[waba_id].setdefault(field, {"data": [{"data_points": []}]})["data"][0]["data_points"].append(
            told
        )
    return list(nodes.values())


def _message(dimensions: list[str], volume: int) -> dict[str, Any]:
    number, country, category, type_, tier = dimensions
    told = {
        "phone_number": number,
        "country": country,
        "pricing_type": type_,
        "pricing_category": category,
        "volume": volume,
    }
    return told | ({"tier": tier} if tier else {})


def _conversation(dimensions: list[str], volume: int) -> dict[str, Any]:
    number, country, category, type_, _ = dimensions
    return {
        "phone_number": number,
        "country": country,
        "conversation_type": type_,
        "conversation_direction": "BUSINESS_INITIATED",
        "conversation_category": category,
        "conversation": volume,
    }
