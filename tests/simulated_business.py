"""A business whose messages go by the fake Meta, and what router and ledger make of its webhooks: no Kafka needed."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from deploy.local.paths import REPOSITORY
from services.billing.ledger import LedgerFold, Remembered
from shared.accounts import AccountFacts
from shared.events import ChargePredicted, ConversationUse, Decision, Price, SendEvent, UserRef, encode
from shared.logs import hasher
from shared.pricing import PriceBook
from shared.stream.fold import Grants
from shared.times import rfc3339
from shared.topics import BILLING_CHARGES, SEND_EVENTS, Topic
from tests.unit.simulator.bench import N1, A, Bench, template

PRICES = {"marketing": "0.1365", "utility": "0.0550"}
CATEGORY = {"promo": "marketing", "order_update": "utility"}


@dataclass
class SimulatedBusiness:
    """Sends by the simulator; `records` are what router and ledger would have published of it, in order."""

    bench: Bench
    facts: AccountFacts
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


async def with_rates(bench: Bench) -> None:
    """Let the fake Meta charge by message, as the card does."""
    await bench.sim("POST", "/options", {"pricing": "2026-10-01"})
    rates = [{"category": category, "amount": amount} for category, amount in PRICES.items()]
    await bench.sim("PUT", "/rates", {"rates": rates})


async def plant(business: SimulatedBusiness) -> dict[str, list[str]]:
    """Messages that the fake Meta counts otherwise than its webhooks tell, each on a day of its own; kind of the difference → wamids."""
    bench = business.bench
    await business.send("promo")
    lost = await business.send("promo", unsaid=["delivered"])
    await bench.advance(86_400)
    not_counted = await business.send("order_update", priced=False, counted_as={"volume": 0})
    await bench.advance(86_400)
    elsewhere = await business.send("order_update", priced=False, counted_as={"category": "marketing"})
    await bench.advance(86_400)
    await bench.advance(86_400 - bench.clock.time() % 86_400 - 60)
    late = await business.send("promo", counted_as={"days": 1})
    return {
        "webhook_lost": [lost],
        "not_counted_by_meta": [not_counted],
        "recategorised_without_word": [elsewhere],
        "other_day": [late],
    }


PLANTED_MICROS = 136_500 - 55_000 + (136_500 - 55_000)
"""What Meta counts more than is billed, after `plant`."""


def kinds(report: dict[str, Any]) -> dict[str, list[str]]:
    return {
        of["kind"]: [
            message["wamid"] for difference in of["differences"] for message in difference["messages"]
        ]
        for of in report["kinds"]
    }


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
