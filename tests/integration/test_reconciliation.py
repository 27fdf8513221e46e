"""`wam reconcile` on a real Kafka: the simulator delivers, prices and counts; the ledger's own fold makes the entries of its webhooks."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio

from deploy.local.paths import REPOSITORY
from deploy.local.stack import LocalStack
from services.billing.ledger import LedgerFold, Remembered
from shared import kafka
from shared.account_reader import read_once
from shared.accounts import AccountFacts
from shared.events import ChargePredicted, ConversationUse, Decision, Price, SendEvent, UserRef, encode
from shared.logs import hasher
from shared.pricing import PriceBook
from shared.stream.fold import Grants
from shared.stream.source import SOURCE_HEADER, source_header
from shared.times import rfc3339
from shared.topics import BILLING_CHARGES, SEND_EVENTS, Topic
from tests.conftest import Prefix
from tests.integration.test_console import Operator, Ran
from tests.unit.simulator.bench import N1, TOKEN, A, Bench, running_bench, template

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
PRICES = {"marketing": "0.1365", "utility": "0.0550"}
CATEGORY = {"promo": "marketing", "order_update": "utility"}


@dataclass
class Business:
    """Sends by the simulator, and lets the ledger know what came of it as router and ledger would."""

    bench: Bench
    operator: Operator
    facts: AccountFacts = field(default_factory=AccountFacts)
    folds: dict[str, Remembered | None] = field(default_factory=dict)
    records: list[tuple[Topic, bytes]] = field(default_factory=list)
    fold: LedgerFold = field(
        default_factory=lambda: LedgerFold(PriceBook.load(REPOSITORY / "config"), hasher("key"))
    )

    async def send(self, name: str, *, priced: bool = True, **then: object) -> str:
        """A template message, delivered a second later; what the script plants goes with it. Its wamid."""
        if then:
            await self.bench.sim("POST", "/script", {"then": then})
        status, answer = await self.bench.call(template(name))
        assert status == 200, answer
        wamid: str = answer["messages"][0]["id"]
        self._event("decided", wamid, name, decision=decision(name))
        self._event("accepted", wamid, name)
        await self.bench.advance(1)
        for told in [s for s in self.bench.receiver.statuses() if s["id"] == wamid]:
            if told["status"] == "delivered":
                meta = told if priced else {k: v for k, v in told.items() if k != "pricing"}
                self._event("delivered", wamid, name, charge=charge(name), meta=msgspec.Raw(encode(meta)))
        return wamid

    def _event(self, kind: str, wamid: str, name: str, **more: Any) -> None:
        event = SendEvent(
            event_id=f"{wamid}:{kind}",
            event=kind,  # type: ignore[arg-type]
            seq=len(self.records) + 1,
            at=rfc3339(int(self.bench.clock.time() * 1000)),
            request_id=f"r-{wamid}",
            correlation_id=None,
            tags={"cost_center": "shop"},
            waba_id="W1",
            phone_number_id=N1,
            user=UserRef(user_id=A),
            wamid=wamid if kind != "decided" else None,
            **more,
        )
        self.records.append((SEND_EVENTS, encode(event)))
        step = self.fold.fold(self.folds.get(wamid), event, self.facts, Grants())
        self.folds[wamid] = step.state
        self.records += [(BILLING_CHARGES, out.value) for out in step.out]

    async def publish(self) -> None:
        """Write all records; the ledger's last one twice, as after a crash between commit and acknowledgement."""
        settings = self.operator.settings
        producer = kafka.producer(settings)
        await producer.start()
        written = [*enumerate(self.records), (len(self.records) - 1, self.records[-1])]
        try:
            for offset, (topic, value) in written:
                headers = [(SOURCE_HEADER, source_header(0, offset, 0))]
                name = kafka.name_of(topic, settings)
                await producer.send_and_wait(name, value, partition=0, headers=headers)
        finally:
            await producer.stop()

    async def reconcile(self, *more: str) -> tuple[Ran, dict[str, Any]]:
        """`wam reconcile`; its JSON."""
        ran = await self.operator.wam("reconcile", "W1", "--month", "2026-12", "--json", *more)
        return ran, json.loads(ran.out) if ran.out else {}


def decision(name: str) -> Decision:
    price = Price(
        regime="2026-10-01", rate_card="usd_2026-10-01", market="Germany", type="regular", amount_micros=micros(name), currency="USD",
        rate_category=CATEGORY[name],
    )  # fmt: skip
    return Decision(
        outcome="allow", final=True, reason="ok", category=CATEGORY[name], facts_version="1", price=price,  # type: ignore[arg-type]
        conversation=ConversationUse(id=None, action="open", category=None, expires_at=None),
    )  # fmt: skip


def charge(name: str) -> ChargePredicted:
    return ChargePredicted(
        counted=True, unit="message", conversation_id=None, category=CATEGORY[name], market="Germany", regime="2026-10-01",  # type: ignore[arg-type]
        rate_card="usd_2026-10-01", month="2026-12", type="regular", amount_micros=micros(name), currency="USD",
    )  # fmt: skip


def micros(name: str) -> int:
    return int(PRICES[CATEGORY[name]].replace("0.", "")) * 100


@pytest_asyncio.fixture
async def business(stack: LocalStack, prefix: Prefix, tmp_path: Path, bench: Bench) -> Business:
    operator = Operator(stack, prefix, tmp_path)
    operator.env |= {
        "WA_GRAPH_URL": f"http://127.0.0.1:{bench.simulator.port}",
        "WA_ACCESS_TOKEN": TOKEN,
    }
    await kafka.create_topics(operator.settings)
    applied = await operator.wam("apply", "-", "--yes", typed=FILE)
    assert applied.code == 0, applied.err
    await bench.sim("POST", "/options", {"pricing": "2026-10-01"})
    rates = [{"category": category, "amount": amount} for category, amount in PRICES.items()]
    await bench.sim("PUT", "/rates", {"rates": rates})
    return Business(bench, operator, await read_once(operator.settings))


def kinds(report: dict[str, Any]) -> dict[str, list[str]]:
    return {
        of["kind"]: [
            message["wamid"] for difference in of["differences"] for message in difference["messages"]
        ]
        for of in report["kinds"]
    }


async def test_a_month_that_meta_counts_as_it_told_it_has_nothing_to_explain(business: Business) -> None:
    for name in ("promo", "order_update", "promo"):
        await business.send(name)
    await business.publish()
    ran, report = await business.reconcile("--out", str(business.operator.folder / "out"))
    assert (ran.code, report["kinds"]) == (0, []), ran
    (total,) = report["totals"]
    assert total["billed_micros"] == total["predicted_micros"] == total["meta_micros"] == 2 * 136_500 + 55_000
    page = (business.operator.folder / "out" / "report.html").read_text()
    assert "agree</b>, cell by cell" in page
    saved = str(business.operator.folder / "out" / "analytics.json")
    again, same = await business.reconcile(
        "--analytics", saved, "--out", str(business.operator.folder / "again")
    )
    assert (again.code, same["totals"]) == (0, report["totals"])


async def test_planted_differences_are_found_in_what_meta_answers_and_named(business: Business) -> None:
    await business.send("promo")
    lost = await business.send("promo", unsaid=["delivered"])
    not_counted = await business.send("order_update", priced=False, counted_as={"volume": 0})
    await business.bench.advance(86_400)
    elsewhere = await business.send("order_update", priced=False, counted_as={"category": "marketing"})
    await business.bench.advance(seconds_to_midnight(business.bench) - 60)
    late = await business.send("promo", counted_as={"days": 1})
    await business.publish()
    ran, report = await business.reconcile("--out", str(business.operator.folder / "out"))
    assert kinds(report) == {
        "webhook_lost": [lost],
        "not_counted_by_meta": [not_counted],
        "recategorised_without_word": [elsewhere],
        "other_day": [late],
    }
    assert ran.code == 0, ran
    (total,) = report["totals"]
    assert total["difference_micros"] == total["explained_micros"] == 136_500 - 55_000 + (136_500 - 55_000)


async def test_what_nobody_sent_is_unexplained_and_the_command_says_so(business: Business) -> None:
    await business.send("promo")
    await business.publish()
    extra = {"phone_number_id": N1, "country": "FR", "category": "marketing"}
    await business.bench.sim("POST", "/deliveries", extra)
    ran, report = await business.reconcile("--out", str(business.operator.folder / "out"))
    assert (ran.code, kinds(report)) == (1, {"unexplained": []})


async def test_an_expired_token_and_an_account_that_nobody_knows_are_told(business: Business) -> None:
    await business.send("promo")
    await business.publish()
    business.operator.env["WA_ACCESS_TOKEN"] = "expired"
    ran, _ = await business.reconcile()
    assert (ran.code, "Renew the access token" in ran.err) == (1, True), ran
    unknown = await business.operator.wam("reconcile", "W9", "--month", "2026-12")
    assert (unknown.code, "W9" in unknown.err) == (2, True), unknown


def seconds_to_midnight(bench: Bench) -> float:
    return 86_400 - bench.clock.time() % 86_400
