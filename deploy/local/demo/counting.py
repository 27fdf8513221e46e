"""The end of the story: billing's tallies beside what the fake Meta counted, and the money beside what was promised."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from deploy.local.demo.played import Counted, Facts, Played
from deploy.local.demo.stage import Stage
from services.console.tally import Tally as MonthTally
from services.console.tally import amounts
from shared.events import SendEvent

ACCOUNTS = ("shop", "cafe")


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
            for totals in month.totals.values():
                spent.update(totals.micros)
            meta = {
                row["category"]: (row["free"], row["paid"])
                for row in counts["tally"]
                if row["waba_id"] == account.id and row["month"] == month.month
            }
            stage.counted += _lines(account.name, month, meta)
            ours = {category: (totals.free, totals.paid) for category, totals in month.totals.items()}
            played.facts[who] = _written(ours)
            played.facts[f"{who} at Meta"] = (
                "the same" if _written(ours) == _written(meta) else _written(meta)
            )
        played.facts |= _facts(stage.business.send_events(), spent, counts)
        entries = stage.business.ledger()
        played.came_back.append(
            f"{len(entries)} ledger entries; {counts['delivered']} messages delivered at Meta"
        )
        return played


def _facts(events: Iterable[SendEvent], spent: Counter[str], counts: dict[str, int]) -> Facts:
    events = list(events)
    promised: Counter[str] = Counter()
    allowed = {e.request_id for e in events if e.decision is not None and _goes_out(e)}
    delivered = {e.request_id for e in events if e.event == "delivered"}
    for request_id, price in {
        e.request_id: e.decision.price for e in events if e.decision and e.decision.price and _goes_out(e)
    }.items():
        if request_id in delivered:
            promised[price.currency] += price.amount_micros
    lives = Counter(e.event_id for e in events if e.event != "decided")
    return {
        "amount": "the sum of the promised prices"
        if spent == promised
        else f"{dict(spent)}, promised {dict(promised)}",
        "calls": "one for each message that was allowed"
        if counts["calls"] == len(allowed)
        else f"{counts['calls']} calls for {len(allowed)} allowed messages",
        "told twice": sum(times - 1 for times in lives.values()),
    }


def _goes_out(event: SendEvent) -> bool:
    decision, request_id = event.decision, event.request_id or ""
    return decision is not None and decision.outcome == "allow" and not request_id.startswith("demo-ask-")


def _lines(account: str, month: MonthTally, meta: dict[str, tuple[int, int]]) -> list[Counted]:
    lines = []
    for category in sorted({*month.totals, *meta}):
        totals = month.totals.get(category)
        free, paid = meta.get(category, (0, 0))
        lines.append(
            Counted(
                account,
                month.month,
                category,
                totals.free if totals else 0,
                totals.paid if totals else 0,
                amounts(totals) if totals else "—",
                f"{free} free, {paid} paid",
            )
        )
    return lines


def _written(counts: dict[str, tuple[int, int]]) -> str:
    return ", ".join(
        f"{category} {free} free {paid} paid" for category, (free, paid) in sorted(counts.items())
    )
