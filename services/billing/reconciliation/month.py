"""A month's messages, Meta's counts and what was never heard of in; every difference out."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from services.billing.reconciliation.by_analytics import Sides, differing, explain
from services.billing.reconciliation.cells import (
    Amount,
    Cell,
    Cells,
    Counted,
    Group,
    MetaCells,
    Unheard,
    window,
)
from services.billing.reconciliation.differences import Difference, Reconciled
from services.billing.reconciliation.messages import Messages
from shared.accounts import AccountFacts
from shared.times import to_ms

A = TypeVar("A", Amount, Counted)

MOST_SUSPECTS = 200
"""Messages of a cell that are looked at, if not more of them are missing."""


def missing_units(messages_billed: Cells, meta: MetaCells, month: str) -> bool:
    """Whether Meta counts something that the ledger has not: only then is it worth looking for deliveries nobody heard of."""
    first, last = window(month)
    return any(
        first <= cell.day <= last
        and meta.get(group, {}).get(cell, Counted()).volume
        > messages_billed.get(group, {}).get(cell, Amount()).volume
        for group in meta
        for cell in meta[group]
    )


def reconcile(
    messages: Messages,
    meta: MetaCells | None,
    unheard: Sequence[Unheard],
    facts: AccountFacts,
    month: str,
) -> Reconciled:
    """Find and explain every difference of the month.

    The day before and the day after may be in, on both sides: a message that Meta counts there is then found. A day that Meta's answers do
    not have is left out.
    """
    days = window(month)
    billed = messages.billed()
    found = list(messages.told_by_webhooks())
    if meta is not None:
        found += _by_analytics(messages, billed, meta, unheard, facts, days)
    return Reconciled(
        month,
        _within(messages.predicted(), days),
        _within(billed, days),
        _within(messages.priced(), days),
        None if meta is None else _within(meta, days),
        tuple(d for d in found if any(_in(effect.cell, days) for effect in d.effects)),
    )


def _by_analytics(
    messages: Messages,
    billed: Cells,
    meta: MetaCells,
    unheard: Sequence[Unheard],
    facts: AccountFacts,
    days: tuple[str, str],
) -> Iterator[Difference]:
    told = {cell.day for cells in meta.values() for cell in cells}
    for group in sorted(billed.keys() | meta.keys()):
        account = facts.account(group.waba_id)
        timezone = account.timezone if account is not None else "UTC"
        ours = {c: a for c, a in billed.get(group, {}).items() if _in(c, days) or c.day in told}
        theirs = meta.get(group, {})
        suspects = {}
        for cell in differing(ours, theirs):
            missing = ours.get(cell, Amount()).volume - theirs.get(cell, Counted()).volume
            most = max(MOST_SUSPECTS, missing + 1)
            suspects[cell] = messages.suspects(group, cell, most, _midnights(cell.day, timezone))
        lost = [message for message in unheard if message.group == group]
        yield from explain(group, Sides(ours, theirs, suspects, lost, timezone))


def _midnights(day: str, timezone: str) -> tuple[int, int]:
    first, zone = date.fromisoformat(day), ZoneInfo(timezone)
    begin, end = (datetime.combine(d, time.min, zone) for d in (first, first + timedelta(days=1)))
    return to_ms(begin), to_ms(end)


def _within(cells: Mapping[Group, Mapping[Cell, A]], days: tuple[str, str]) -> dict[Group, dict[Cell, A]]:
    within = {group: {c: a for c, a in of.items() if _in(c, days)} for group, of in cells.items()}
    return {group: of for group, of in within.items() if of}


def _in(cell: Cell, days: tuple[str, str]) -> bool:
    return days[0] <= cell.day <= days[1]
