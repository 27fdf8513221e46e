"""A plausible ledger: for the benches of the tallies. Pure.

Four accounts with five numbers each; one entry a second, a third of them free, two in a hundred corrections.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from shared.events import LedgerEntry, PredictedCost

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
MARKETS = ("Germany", "India", "Brazil", "Mexico", "Indonesia", "Spain", "Italy", "Nigeria")
CATEGORIES = ("utility", "utility", "marketing", "service", "service", "authentication")


def entry(number: int) -> LedgerEntry:
    """The nth entry."""
    category = CATEGORIES[number % len(CATEGORIES)]
    free, corrects = number % 3 == 0, number % 50 == 49
    market, amount = MARKETS[number * 7 % 61 % len(MARKETS)], 0 if free else 55_000
    delivered = BEGAN + timedelta(seconds=number)
    at = delivered.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    wamid = f"wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjVGQzM4{number:012}"
    pricing = {"billable": not free, "pricing_model": "PMP", "category": category}
    return LedgerEntry(
        event_id=f"{wamid}:correction:1" if corrects else f"{wamid}:charge",
        entry="correction" if corrects else "charge",
        at=at,
        month=at[:7],
        waba_id=f"10229012934039{number % 4}",
        phone_number_id=f"10654035224292{number % 20:02}",
        user_ref=f"{number * 2654435761 % 2**64:016x}",
        wamid=wamid,
        request_id=f"order-{number}",
        conversation_id=None,
        unit="message",
        category=category,
        market=market,
        regime="2026-10-01",
        rate_card="usd_2026-10-01",
        type="free_customer_service" if free else "regular",
        free=free,
        counts=0 if corrects else 1,
        amount_micros=-1_000 if corrects else amount,
        currency="USD",
        basis="meta",
        tags={"cost_center": "logistics"},
        delivered_at=at,
        day=at[:10],
        country="DE",
        conversations=int(number % 4 == 0),
        predicted=PredictedCost(category=category, type="regular", amount_micros=amount),
        difference_micros=0,
        meta_pricing=msgspec.Raw(msgspec.json.encode(pricing)),
    )
