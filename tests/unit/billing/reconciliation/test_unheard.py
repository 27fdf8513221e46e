"""Which messages were taken and never heard of again, by the send events alone."""

from pathlib import Path
from typing import Any

import pytest

from services.billing.reconciliation.unheard import Unheards
from shared.events import ConversationUse, Decision, Price, SendEvent, UserRef
from shared.pricing import PriceBook
from tests.unit.billing.reconciliation.month import FACTS, NUMBER, WABA

BOOK = PriceBook.load(Path(__file__).parents[4] / "config")
DAYS = ("2026-10-31", "2026-12-01")


def event(kind: str, wamid: str | None = "x", **more: Any) -> SendEvent:
    fields: dict[str, Any] = {
        "event_id": kind, "event": kind, "seq": 1, "at": "2026-11-10T03:00:00.000Z", "request_id": "r", "correlation_id": None,
        "tags": {}, "waba_id": WABA, "phone_number_id": NUMBER, "user": UserRef(user_id="4915112345678"), "wamid": wamid,
    }  # fmt: skip
    return SendEvent(**(fields | more))


def decided(outcome: Any = "allow", regime: str = "2026-10-01", action: Any = "open") -> SendEvent:
    price = Price(
        regime=regime, rate_card="c", market="Germany", type="regular", amount_micros=55_000, currency="USD"
    )
    use = ConversationUse(id=None, action=action, category=None, expires_at=None)
    decision = Decision(
        outcome=outcome, final=True, reason="ok", category="utility", facts_version="1", price=price, conversation=use
    )  # fmt: skip
    return event("decided", None, decision=decision)


def left(*events: SendEvent) -> list[str]:
    waiting = Unheards(BOOK, FACTS, DAYS)
    for one in events:
        waiting.add(one)
    return [message.wamid for message in waiting.left()]


def test_what_was_taken_and_never_delivered_is_left_with_what_it_would_have_been() -> None:
    waiting = Unheards(BOOK, FACTS, DAYS)
    for one in (decided(), event("accepted"), event("sent")):
        waiting.add(one)
    (message,) = waiting.left()
    assert message.group == (WABA, NUMBER, "message", "USD")
    assert message.cell == (
        "2026-11-09",
        "utility",
        "DE",
        "regular",
    )  # 03:00 UTC is the evening before in New York
    assert message.micros == 55_000


@pytest.mark.parametrize("end", ["delivered", "read", "failed", "cancelled"])
def test_what_was_heard_of_is_not_left(end: str) -> None:
    assert left(decided(), event("accepted"), event(end)) == []


def test_what_was_refused_or_not_taken_is_not_left() -> None:
    assert left(decided("reject")) == []
    assert left(decided()) == []


def test_of_two_attempts_the_last_one_is_left() -> None:
    assert left(decided(), event("accepted"), event("resent"), event("accepted", "y")) == ["y"]


def test_events_that_come_twice_change_nothing() -> None:
    batch = (decided(), event("accepted"), event("delivered"))
    assert left(*batch, *batch) == []


def test_where_conversations_are_charged_only_what_would_have_opened_one_counts() -> None:
    assert left(decided(regime="2023-06-01", action="reuse"), event("accepted")) == []
    assert left(decided(regime="2023-06-01"), event("accepted")) == ["x"]


def test_what_was_taken_on_other_days_is_not_of_interest() -> None:
    assert left(decided(), event("accepted", at="2026-09-10T12:00:00.000Z")) == []
