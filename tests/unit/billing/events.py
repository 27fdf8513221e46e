"""Send events as the router publishes them, for the ledger's tests."""

from typing import Any

import msgspec

from shared.events import ChargePredicted, SendEvent, UserRef
from shared.times import parse_rfc3339, rfc3339

WABA = "W1"
NUMBER = "N1"
GERMAN = "4915112345678"
NOON = "2026-11-20T12:00:00.000Z"


def charge(**changes: Any) -> ChargePredicted:
    """A predicted charge: a utility message to Germany in the regime of 2026-10."""
    fields: dict[str, Any] = {
        "counted": True,
        "unit": "message",
        "conversation_id": None,
        "category": "utility",
        "market": "Germany",
        "regime": "2026-10-01",
        "rate_card": "usd_2026-10-01",
        "month": "2026-11",
        "type": "regular",
        "amount_micros": 55_000,
        "currency": "USD",
    }
    return ChargePredicted(**(fields | changes))


def event(
    name: str,
    *,
    wamid: str | None = "wamid.1",
    seq: int = 3,
    request_id: str | None = "R1",
    predicted: ChargePredicted | None = None,
    pricing: dict[str, Any] | None = None,
    status: str | None = None,
    conversation: str | None = None,
    after_s: int = 0,
    user: str = GERMAN,
) -> SendEvent:
    """One send event; `pricing` and `conversation` go into Meta's status object."""
    meta: dict[str, Any] = {"id": wamid, "status": status or ("delivered" if name == "priced" else name)}
    if pricing is not None:
        meta["pricing"] = pricing
    if conversation is not None:
        meta["conversation"] = {"id": conversation}
    return SendEvent(
        event_id=f"{wamid}:{name}",
        event=name,  # type: ignore[arg-type]
        seq=seq,
        at=rfc3339(parse_rfc3339(NOON) + after_s * 1000),
        request_id=request_id,
        correlation_id=None,
        tags={"cost_center": "logistics"},
        waba_id=WABA,
        phone_number_id=NUMBER,
        user=UserRef(user_id=user),
        wamid=wamid,
        charge=predicted,
        meta=msgspec.Raw(msgspec.json.encode(meta)),
    )


def pmp(category: str, *, billable: bool = True, type: str | None = None) -> dict[str, Any]:
    """Meta's pricing under per-message pricing."""
    kind = type or ("regular" if billable else "free_customer_service")
    return {"billable": billable, "pricing_model": "PMP", "type": kind, "category": category}
