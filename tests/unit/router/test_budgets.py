"""Budgets stop what would take the month's spend above them, and count what was charged in the end."""

from typing import Any

import pytest

from shared.events import SendEvent
from shared.times import parse_rfc3339
from tests.unit.router.make import HOUR, KEY, NOW, accepted, events, received, request, status, world
from tests.unit.router.world import World

DAY = 24 * HOUR
RATE = 55_000
"""Utility to Germany under the rules of 2025-07-01 and 2026-10-01."""


def budgeted(*budgets: dict[str, Any], **account: Any) -> World:
    return world(**({"regime": "2026-10-01", "budgets": list(budgets)} | account))


def ask(made: World, id_: str, template: str = "order_update", at: int = NOW, **more: Any) -> SendEvent:
    return events(made.play(KEY, request(id_, template, at=at, **more), at))[0]


def spent(made: World, scope: str) -> int:
    return made.claims.scopes[scope].used if scope in made.claims.scopes else 0


def outcome(event: SendEvent) -> tuple[str, str]:
    assert event.decision is not None
    return event.decision.outcome, event.decision.reason


def test_the_message_that_would_exceed_the_budget_is_refused() -> None:
    made = budgeted({"amount_micros": 2 * RATE})
    assert [outcome(ask(made, f"r{n}"))[1] for n in range(3)] == ["ok", "ok", "budget_exceeded"]
    assert spent(made, "budget:W1:all:2026-11") == 2 * RATE


def test_a_budget_of_one_category_binds_no_other() -> None:
    made = budgeted({"amount_micros": RATE - 1, "category": "utility"})
    assert outcome(ask(made, "r1")) == ("reject", "budget_exceeded")
    assert outcome(ask(made, "r2", "promo")) == ("allow", "ok")


def test_both_budgets_count_and_the_refused_one_gives_its_part_back() -> None:
    made = budgeted({"amount_micros": 10 * RATE}, {"amount_micros": RATE, "category": "utility"})
    ask(made, "r1")
    assert outcome(ask(made, "r2"))[1] == "budget_exceeded"
    assert spent(made, "budget:W1:all:2026-11") == RATE
    assert spent(made, "budget:W1:utility:2026-11") == RATE


def test_what_fails_gives_its_amount_back() -> None:
    made = budgeted({"amount_micros": RATE})
    ask(made, "r1")
    made.play(KEY, status("failed", error_code=131026), NOW + HOUR)
    assert spent(made, "budget:W1:all:2026-11") == 0
    assert outcome(ask(made, "r2", at=NOW + 2 * HOUR))[1] == "ok"


def test_a_free_message_needs_no_budget() -> None:
    made = budgeted({"amount_micros": 0})
    made.play(KEY, received(), NOW)
    out = events(made.play(KEY, request("r1", None, at=NOW + 1), NOW + 1))[0]
    assert outcome(out) == ("allow", "ok")


def test_the_next_month_begins_with_a_full_budget_and_who_can_wait_waits_for_it() -> None:
    made = budgeted({"amount_micros": RATE}, timezone="Asia/Kolkata")
    ask(made, "r1")
    made.play(KEY, accepted(), NOW)
    waits = ask(made, "r2", expires_ms=NOW + 40 * DAY)
    assert waits.decision is not None
    assert (waits.decision.outcome, waits.decision.not_before_at) == ("defer", "2026-11-30T18:30:00.000Z")
    made.fire(NOW + 28 * DAY + 7 * HOUR)
    final = [e for e in made.send_events() if e.request_id == "r2" and e.event == "decided"][-1]
    assert outcome(final) == ("allow", "ok")
    assert spent(made, "budget:W1:all:2026-12") == RATE


def test_a_conversation_that_opens_though_it_was_to_be_reused_is_spent_too() -> None:
    made = budgeted({"amount_micros": 10**9}, regime="guide")
    first = ask(made, "r1", "promo")
    assert first.decision is not None
    assert first.decision.price is not None
    rate = first.decision.price.amount_micros
    made.play(KEY, accepted("r1#1"), NOW)
    ask(made, "r2", "promo", NOW + HOUR)
    made.play(KEY, accepted("r2#1", NOW + HOUR), NOW + HOUR)
    assert spent(made, "budget:W1:all:2026-11") == rate
    made.play(KEY, status("failed", "r1#1", NOW + 2 * HOUR, error_code=131026), NOW + 2 * HOUR)
    assert spent(made, "budget:W1:all:2026-11") == 0
    made.play(KEY, status("delivered", "r2#1", NOW + 3 * HOUR), NOW + 3 * HOUR)
    assert spent(made, "budget:W1:all:2026-11") == rate


def test_a_dry_run_is_told_of_the_budget_and_spends_nothing() -> None:
    made = budgeted({"amount_micros": RATE})
    assert outcome(ask(made, "d1", dry_run=True)) == ("allow", "ok")
    ask(made, "r1")
    assert outcome(ask(made, "d2", dry_run=True)) == ("reject", "budget_exceeded")
    assert spent(made, "budget:W1:all:2026-11") == RATE


@pytest.mark.parametrize(
    ("delivered_at", "month", "amount"),
    [("2026-09-30T23:59:00Z", "2026-09", 0), ("2026-10-01T00:00:00Z", "2026-10", RATE)],
)
def test_a_message_is_charged_by_the_rules_of_the_day_it_is_delivered(
    delivered_at: str, month: str, amount: int
) -> None:
    asked_at = parse_rfc3339("2026-09-30T23:50:00Z")
    made = budgeted({"amount_micros": 10**9}, regime="calendar")
    made.play(KEY, received(at=asked_at - HOUR), asked_at - HOUR)
    first = ask(made, "r1", at=asked_at)
    assert first.decision is not None
    assert first.decision.price is not None
    assert first.decision.price.amount_micros == 0
    made.play(KEY, accepted(at=asked_at), asked_at)
    at = parse_rfc3339(delivered_at)
    delivered = events(made.play(KEY, status("delivered", at=at), at))[-1]
    assert delivered.charge is not None
    assert (delivered.charge.month, delivered.charge.amount_micros) == (month, amount)
    assert spent(made, f"budget:W1:all:{month}") == amount
