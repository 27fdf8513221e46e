"""Entries of the ledger for the books' tests."""

from typing import Any

from shared.events import LedgerEntry


def entry(number: int, **changes: Any) -> LedgerEntry:
    """The charge of the nth message."""
    fields: dict[str, Any] = {
        "event_id": f"wamid.{number}:charge",
        "entry": "charge",
        "at": "2026-11-20T12:00:00.000Z",
        "month": "2026-11",
        "waba_id": "W1",
        "phone_number_id": "N1",
        "user_ref": "0123456789abcdef",
        "wamid": f"wamid.{number}",
        "request_id": f"R{number}",
        "conversation_id": None,
        "unit": "message",
        "category": "utility",
        "market": "Germany",
        "regime": "2026-10-01",
        "rate_card": "usd_2026-10-01",
        "type": "regular",
        "free": False,
        "counts": 1,
        "amount_micros": 55_000,
        "currency": "USD",
        "basis": "predicted",
        "tags": {},
        "country": "DE",
        "conversations": 1,
    }
    return LedgerEntry(**(fields | changes))
