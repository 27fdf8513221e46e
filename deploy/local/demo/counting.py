"""The end of the story: billing's tallies beside what the fake Meta counted, and the money beside what was promised."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from deploy.local.demo.played import FREE_ENTRY_POINT, Counted, Facts, Played
from deploy.local.demo.stage import DRY_RUN, Stage
from services.console.tally import Tally as Tallied
from services.console.tally import Totals, amounts
from shared.events import Decision, Price, SendEvent

ACCOUNTS: Final = ("shop", "cafe")
PROMISED: Final = "the sum of the promised prices"
ONE_EACH: Final = "one for each message that was allowed"
Counts = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Tally:
    """Everything comes to rest, then both sides are asked."""

    async def play(self, stage: Stage) -> Played:
        await stage.settled()
        counts = await stage.simulator.counts()
        played = Played([f"GET /v1/tallies/{{account}}/{stage.now():%Y-%m}, and the simulator's own ledger"])
        spent: Counter[str] = Counter()
        for who in ACCOUNTS:
            account = stage.accounts.named(who)
            month = await stage.tallies.of_month(account.id, f"{stage.now():%Y-%m}")
            ours, meta = by_category(month), at_meta(counts["tally"], account.id, month.month)
            for totals in ours.values():
                spent.update(totals.micros)
            stage.counted += _lines(account.name, month.month, ours, meta)
            mine, theirs = _written({c: (t.free, t.paid) for c, t in ours.items()}), _written(meta)
            played.facts[who] = mine
            played.facts[f"{who} at Meta"] = "the same" if mine == theirs else theirs
        played.facts |= _facts(stage.business.send_events(), spent, counts["calls"])
        entries, delivered = len(stage.business.ledger()), counts["delivered"]
        played.came_back.append(f"{entries} ledger entries; {delivered} messages delivered at Meta")
        return played


def by_category(month: Tallied) -> dict[str, Totals]:
    """A tally's totals by category; what the free entry point made free stands for itself, as Meta tells it. Pure."""
    sums: dict[str, Totals] = {}
    for row in month.rows:
        category = FREE_ENTRY_POINT if row.type == "free_entry_point" else row.category
        known = sums.get(category, Totals(0, 0, {}))
        micros = Counter(known.micros) + Counter(row.micros)
        sums[category] = Totals(known.free + row.free, known.paid + row.paid, dict(micros))
    return sums


def at_meta(rows: Iterable[Mapping[str, Any]], waba: str, month: str) -> Counts:
    """Free and paid by category, as the simulator counted them for an account's month. Pure."""
    return {
        FREE_ENTRY_POINT if row["category"] == "referral_conversion" else row["category"]: (
            row["free"],
            row["paid"],
        )
        for row in rows
        if (row["waba_id"], row["month"]) == (waba, month)
    }


def _facts(events: list[SendEvent], spent: Counter[str], calls: int) -> Facts:
    """The money beside what the decisions promised, Meta's calls beside them, and whether a step was told twice."""
    prices: dict[str | None, Price | None] = {
        e.request_id: e.decision.price for e in events if e.decision is not None and _goes_out(e, e.decision)
    }
    promised: Counter[str] = Counter()
    for request_id in {e.request_id for e in events if e.event == "delivered"}:
        if (price := prices.get(request_id)) is not None and price.amount_micros:
            promised[price.currency] += price.amount_micros
    told = Counter(e.event_id for e in events if e.event != "decided")
    return {
        "amount": PROMISED if spent == promised else f"{dict(spent)}, promised were {dict(promised)}",
        "calls": ONE_EACH if calls == len(prices) else f"{calls} for {len(prices)} allowed messages",
        "told twice": sum(times - 1 for times in told.values()),
    }


def _goes_out(event: SendEvent, decision: Decision) -> bool:
    return decision.outcome == "allow" and not (event.request_id or "").startswith(DRY_RUN)


def _lines(account: str, month: str, ours: Mapping[str, Totals], meta: Counts) -> list[Counted]:
    nothing = Totals(0, 0, {})
    return [
        Counted(account, month, category, totals.free, totals.paid, amounts(totals), f"{free} / {paid}")
        for category in sorted({*ours, *meta})
        for totals in [ours.get(category, nothing)]
        for free, paid in [meta.get(category, (0, 0))]
    ]


def _written(counts: Counts) -> str:
    return ", ".join(
        f"{category} {free} free {paid} paid" for category, (free, paid) in sorted(counts.items())
    )
