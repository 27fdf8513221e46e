"""`wam reconcile` on a real Kafka: the simulator delivers, prices and counts; the ledger's own fold makes the entries of its webhooks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio

from deploy.local.stack import LocalStack
from shared import kafka
from shared.account_reader import read_once
from shared.stream.source import SOURCE_HEADER, source_header
from tests.conftest import Prefix
from tests.integration.test_console import Operator, Ran
from tests.simulated_business import PLANTED_MICROS, SimulatedBusiness, kinds, plant, with_rates
from tests.unit.simulator.bench import N1, TOKEN, Bench, running_bench

__all__ = ["running_bench"]

FILE = f"""
accounts:
  - id: W1
    name: Nordlicht
    regime: "2026-10-01"
    payment_method: valid
    numbers:
      - {{id: "{N1}", display_phone_number: "+1 555 025 3483"}}
"""


@dataclass
class Deployment:
    """A business, and an operator at the Kafka that its events are on."""

    business: SimulatedBusiness
    operator: Operator

    async def publish(self) -> None:
        """Write all records; the last one twice, as after a crash between publication and acknowledgement."""
        settings, records = self.operator.settings, self.business.records
        producer = kafka.producer(settings)
        await producer.start()
        try:
            for offset, (topic, value) in [*enumerate(records), (len(records) - 1, records[-1])]:
                headers = [(SOURCE_HEADER, source_header(0, offset, 0))]
                name = kafka.name_of(topic, settings)
                await producer.send_and_wait(name, value, partition=0, headers=headers)
        finally:
            await producer.stop()

    async def reconcile(self, *more: str) -> tuple[Ran, dict[str, Any]]:
        """`wam reconcile`; its JSON."""
        out = str(self.operator.folder / "out")
        ran = await self.operator.wam("reconcile", "W1", "--month", "2026-12", "--json", "--out", out, *more)
        return ran, json.loads(ran.out) if ran.out else {}


@pytest_asyncio.fixture
async def deployment(stack: LocalStack, prefix: Prefix, tmp_path: Path, bench: Bench) -> Deployment:
    operator = Operator(stack, prefix, tmp_path)
    operator.env |= {
        "WA_GRAPH_URL": f"http://127.0.0.1:{bench.simulator.port}",
        "WA_ACCESS_TOKEN": TOKEN,
    }
    await kafka.create_topics(operator.settings)
    applied = await operator.wam("apply", "-", "--yes", typed=FILE)
    assert applied.code == 0, applied.err
    await with_rates(bench)
    return Deployment(SimulatedBusiness(bench, await read_once(operator.settings)), operator)


async def test_a_month_that_meta_counts_as_it_told_it_has_nothing_to_explain(deployment: Deployment) -> None:
    for name in ("promo", "order_update", "promo"):
        await deployment.business.send(name)
    await deployment.publish()
    ran, report = await deployment.reconcile()
    assert (ran.code, report["kinds"]) == (0, []), ran
    (total,) = report["totals"]
    assert total["billed_micros"] == total["predicted_micros"] == total["meta_micros"] == 2 * 136_500 + 55_000
    out = deployment.operator.folder / "out"
    assert "agree</b>, cell by cell" in (out / "report.html").read_text()
    again, same = await deployment.reconcile("--analytics", str(out / "analytics.json"))
    assert (again.code, same["totals"]) == (0, report["totals"])


async def test_planted_differences_are_found_and_named_and_all_is_explained(deployment: Deployment) -> None:
    planted = await plant(deployment.business)
    await deployment.publish()
    ran, report = await deployment.reconcile()
    assert (ran.code, kinds(report)) == (0, planted), ran
    (total,) = report["totals"]
    assert total["difference_micros"] == total["explained_micros"] == PLANTED_MICROS


async def test_what_nobody_sent_is_unexplained_and_the_command_says_so(deployment: Deployment) -> None:
    await deployment.business.send("promo")
    await deployment.publish()
    extra = {"phone_number_id": N1, "country": "FR", "category": "marketing"}
    await deployment.business.bench.sim("POST", "/deliveries", extra)
    ran, report = await deployment.reconcile()
    assert (ran.code, kinds(report)) == (1, {"unexplained": []})


async def test_an_expired_token_and_an_account_that_nobody_knows_are_told(deployment: Deployment) -> None:
    await deployment.business.send("promo")
    await deployment.publish()
    deployment.operator.env["WA_ACCESS_TOKEN"] = "expired"
    ran, _ = await deployment.reconcile()
    assert (ran.code, "Renew the access token" in ran.err) == (1, True), ran
    unknown = await deployment.operator.wam("reconcile", "W9", "--month", "2026-12")
    assert (unknown.code, "W9" in unknown.err) == (2, True), unknown
