"""The reconciliation against the fake Meta over HTTP: what it asks is answered, what is planted there is found."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from deploy.local.paths import REPOSITORY
from services.billing.reconciliation.at_meta import AnalyticsAtMeta
from services.billing.reconciliation.reconciling import Asked, Reconciling
from services.billing.reconciliation.report import Report, as_objects
from shared.accounts import AccountFacts
from shared.error_table import ErrorTable
from shared.events import (
    AccountChanged,
    LedgerEntry,
    SendEvent,
    decode_ledger_entry,
    decode_send_event,
)
from shared.graph_calls import GraphCalls, GraphRefused, GraphUnavailable
from shared.pricing import PriceBook
from shared.tokens import Tokens
from shared.topics import BILLING_CHARGES, SEND_EVENTS
from tests.simulated_business import PLANTED_MICROS, SimulatedBusiness, kinds, plant, with_rates
from tests.unit.simulator.bench import N1, TOKEN, Bench, running_bench

__all__ = ["running_bench"]

CONFIG = REPOSITORY / "config"
TABLE = ErrorTable.load(CONFIG / "errors.yaml")
NOW = datetime(2027, 1, 4, tzinfo=UTC)


def facts() -> AccountFacts:
    known = AccountFacts()
    account = {"name": "Nordlicht", "regime": "2026-10-01"}
    known.apply(
        AccountChanged(event_id="1", at_ms=1, waba_id="W1", subject="account", id="W1", fields=account), 1
    )
    number = {"display_phone_number": "+1 555 025 3483"}
    known.apply(
        AccountChanged(event_id="2", at_ms=1, waba_id="W1", subject="number", id=N1, fields=number), 2
    )
    return known


class Published:
    """What is on the topics, without them."""

    def __init__(self, business: SimulatedBusiness) -> None:
        self._records = business.records

    async def entries(self) -> AsyncIterator[LedgerEntry]:
        for topic, value in self._records:
            if topic == BILLING_CHARGES:
                yield decode_ledger_entry(value)

    async def send_events(self) -> AsyncIterator[SendEvent]:
        for topic, value in self._records:
            if topic == SEND_EVENTS:
                yield decode_send_event(value)


@pytest_asyncio.fixture
async def business(bench: Bench) -> SimulatedBusiness:
    await with_rates(bench)
    return SimulatedBusiness(bench, facts())


async def reconciled(
    business: SimulatedBusiness, folder: Path, token: str = TOKEN, url: str = "", *, ask_meta: bool = True
) -> Report:
    published = Published(business)
    url = url or f"http://127.0.0.1:{business.bench.simulator.port}"
    calls = GraphCalls(url, "v23.0", timeout_s=10, connect_timeout_s=5)
    await calls.start()
    try:
        reconciling = Reconciling(
            business.facts,
            PriceBook.load(CONFIG),
            published,
            published.send_events,
            AnalyticsAtMeta(calls, TABLE, first_wait_s=0.01),
            Tokens(SecretStr(token), None),
        )
        return await reconciling.run(
            Asked(("W1",), "2026-12", None, None, folder, "cost_center", ask_meta), NOW
        )
    finally:
        await calls.stop()


async def test_a_month_that_meta_counts_as_it_told_it_agrees(
    business: SimulatedBusiness, tmp_path: Path
) -> None:
    for name in ("promo", "order_update"):
        await business.send(name)
    report = await reconciled(business, tmp_path)
    (total,) = report.totals
    assert (report.kinds, total.meta_micros, total.billed_micros) == ((), 191_500, 191_500)


async def test_planted_differences_are_found_and_named(business: SimulatedBusiness, tmp_path: Path) -> None:
    planted = await plant(business)
    report = await reconciled(business, tmp_path)
    assert kinds(as_objects(report)) == planted
    (total,) = report.totals
    assert (total.difference_micros, total.explained_micros, report.unexplained) == (
        PLANTED_MICROS,
        PLANTED_MICROS,
        0,
    )


async def test_without_asking_meta_predicted_and_billed_are_compared_alone(
    business: SimulatedBusiness, tmp_path: Path
) -> None:
    await plant(business)
    report = await reconciled(business, tmp_path, ask_meta=False)
    (total,) = report.totals
    assert (report.kinds, total.meta_micros, total.billed_micros) == ((), None, 2 * 136_500 + 2 * 55_000)
    assert "were not compared" in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "analytics.json").exists()


async def test_conversations_are_reconciled_with_conversation_analytics(
    business: SimulatedBusiness, tmp_path: Path
) -> None:
    """The account turns to conversations: Meta is asked for both kinds, and nothing of the messages is lost."""
    await business.send("promo")
    await business.bench.sim(
        "POST",
        "/deliveries",
        {"phone_number_id": N1, "country": "DE", "category": "marketing", "unit": "conversation"},
    )
    guide = AccountChanged(
        event_id="3", at_ms=2, waba_id="W1", subject="account", id="W1", fields={"regime": "guide"}
    )
    business.facts.apply(guide, 3)
    report = await reconciled(business, tmp_path)
    assert kinds(as_objects(report)) == {"unexplained": []}
    assert report.kinds[0].differences[0].group.unit == "conversation"


async def test_a_refusal_that_passes_is_asked_again_and_another_is_not(
    business: SimulatedBusiness, tmp_path: Path
) -> None:
    await business.send("promo")
    with pytest.raises(GraphRefused):
        await reconciled(business, tmp_path, token="expired")
    await business.bench.sim("POST", "/options", {"management_calls": 1})
    with pytest.raises(GraphRefused) as refused:
        await reconciled(business, tmp_path)
    assert refused.value.answer.code == 80008


async def test_a_meta_that_does_not_answer_is_told_and_writes_nothing(
    business: SimulatedBusiness, tmp_path: Path
) -> None:
    await business.send("promo")
    with pytest.raises(GraphUnavailable):
        await reconciled(business, tmp_path / "out", url="http://127.0.0.1:1")
    assert not (tmp_path / "out").exists()
