"""The gauges of the tallies: sums over accounts, each in its own zone's month and day, and the worst free tier."""

from datetime import UTC, datetime
from typing import Any, cast

from redis.asyncio import Redis

from services.billing.settings import TalliesSettings
from services.billing.tallies.counting import Counting
from services.billing.tallies.figures import Figures
from shared.accounts import AccountFacts
from shared.clock import ManualClock
from shared.events import AccountChanged
from shared.lifecycle import Service
from shared.metrics import (
    FREE_TIER_USED,
    MONTH_CONVERSATIONS,
    MONTH_SPENT_MICROS,
    MONTH_UNITS,
    TODAY_SPENT_MICROS,
)
from shared.stream.source import Source
from tests.unit.billing.test_free_tier import REGIMES
from tests.unit.billing.test_tallies import entry
from tests.unit.billing.test_tallies_http import Shown

LATE_IN_NOVEMBER = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)


def value(metric: Any) -> float:
    """What a gauge shows."""
    ((sample,),) = [one.samples for one in metric.collect()]
    return float(sample.value)


async def shown_of(entries: list[dict[str, Any]]) -> None:
    """Count these entries and set the gauges; account W1 is of UTC, W2 of Tokyo, where it is December."""
    facts = AccountFacts()
    for nth, (waba_id, zone) in enumerate((("W1", "UTC"), ("W2", "Asia/Tokyo")), start=1):
        fields = {"timezone": zone}
        facts.apply(
            AccountChanged(
                event_id=f"e{nth}", at_ms=nth, waba_id=waba_id, subject="account", id=waba_id, fields=fields
            ),
            nth,
        )
    counting, redis = Counting({}), Shown()
    for nth, changes in enumerate(entries):
        counting.take(nth % 4, entry(**changes), Source(nth % 4, nth, 0))
    for line, (_, row) in counting.encode_touched().items():
        redis.hashes.setdefault(line.hash_key("wa", 1), {})[line.field.encode()] = row
        redis.known.add(f"{line.waba_id}|{line.month}".encode())
    settings = TalliesSettings()
    figures = Figures(
        Service("tallies", settings),
        settings,
        cast(Redis, redis),
        ManualClock(LATE_IN_NOVEMBER),
        facts=lambda: facts,
        regimes=REGIMES,
        partitions=lambda: 4,
    )
    await figures.round()


async def test_units_conversations_and_money_are_of_each_accounts_current_month_and_day() -> None:
    await shown_of(
        [
            {"day": "2026-11-30", "conversations": 1},
            {"day": "2026-11-29"},
            {"day": "2026-11-29", "free": True, "amount_micros": 0, "type": "free_entry_point"},
            {"day": "2026-11-30", "waba_id": "W2"},
            {"day": "2026-12-01", "month": "2026-12", "waba_id": "W2"},
        ]
    )
    assert value(MONTH_UNITS.labels("utility", "message", "paid")) == 3
    assert value(MONTH_UNITS.labels("utility", "message", "free")) == 1
    assert value(MONTH_CONVERSATIONS.labels("utility", "paid")) == 1
    assert value(MONTH_SPENT_MICROS.labels("utility", "USD")) == 3 * 55_000
    assert value(TODAY_SPENT_MICROS.labels("utility", "USD")) == 2 * 55_000


async def test_what_nobody_foresaw_is_shown_as_other_and_a_correction_takes_back() -> None:
    await shown_of(
        [
            {"category": "group_marketing", "currency": "XXX"},
            {"category": "marketing"},
            {"category": "marketing", "entry": "correction", "counts": -1, "amount_micros": -55_000},
        ]
    )
    assert value(MONTH_UNITS.labels("other", "message", "paid")) == 1
    assert value(MONTH_SPENT_MICROS.labels("other", "other")) == 55_000
    assert value(MONTH_UNITS.labels("marketing", "message", "paid")) == 0
    assert value(MONTH_UNITS.labels("utility", "message", "paid")) == 0


async def test_the_free_tier_shown_is_that_of_the_number_that_has_used_most() -> None:
    free = {"category": "service", "free": True, "type": "free_tier", "amount_micros": 0}
    await shown_of(
        [
            {**free, "counts": 250},
            {**free, "counts": 250},
            {**free, "counts": 300, "phone_number_id": "N2"},
        ]
    )
    assert value(FREE_TIER_USED) == 0.5
