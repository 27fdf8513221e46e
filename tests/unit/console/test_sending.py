"""What `wam send` publishes, prints and waits for."""

import json

import msgspec
import pytest

from services.console.steps import (
    Step,
    is_last,
    is_refused,
    is_waiting,
    is_wanted,
    template_message,
    text_message,
)
from services.console.tables import event_line
from services.console.tally import Totals, amounts, money
from services.console.view import budgets, shown
from services.ingress.requests import take
from shared.accounts import Budget
from shared.events import Decision, SendError, SendEvent, SendRequested


def event(kind: str, outcome: str = "allow", *, final: bool = True) -> SendEvent:
    decision = Decision(outcome=outcome, final=final, reason="ok", category=None, facts_version="1")  # type: ignore[arg-type]
    return SendEvent(
        event_id="e",
        event=kind,  # type: ignore[arg-type]
        seq=1,
        at="2026-12-01T09:00:00.000Z",
        request_id="r",
        correlation_id=None,
        tags={},
        waba_id=None,
        phone_number_id=None,
        user=None,
        decision=decision if kind == "decided" else None,
    )


@pytest.mark.parametrize(
    ("seen", "until", "last", "refused"),
    [
        (event("decided"), "decided", True, False),
        (event("decided"), "delivered", False, False),
        (event("decided", "defer", final=False), "decided", False, False),
        (event("decided", "reject"), "delivered", True, True),
        (event("held"), "delivered", False, False),
        (event("uncertain"), "delivered", False, False),
        (event("accepted"), "delivered", False, False),
        (event("delivered"), "delivered", True, False),
        (event("read"), "delivered", True, False),
        (event("priced"), "read", False, False),
        (event("failed"), "read", True, True),
        (event("cancelled"), "accepted", True, True),
    ],
)
def test_it_waits_for_the_step_or_a_refusal(seen: SendEvent, until: Step, last: bool, refused: bool) -> None:
    assert (is_last(seen, until), is_refused(seen)) == (last, refused)


def test_only_a_decision_that_is_not_final_waits() -> None:
    assert is_waiting(event("decided", "defer", final=False))
    assert not is_waiting(event("decided", "reject"))
    assert not is_waiting(event("accepted", final=False))


def test_a_cancellation_is_wanted_to_take_the_request_back_and_nothing_else() -> None:
    taken_back = SendEvent(
        **{name: getattr(event("decided", "reject"), name) for name in SendEvent.__struct_fields__}
        | {
            "decision": Decision(
                outcome="reject", final=True, reason="cancelled", category=None, facts_version="1"
            )
        }
    )
    assert is_wanted(taken_back, cancels=True)
    assert is_wanted(event("cancelled"), cancels=True)
    assert not is_wanted(taken_back, cancels=False)
    for came in (event("decided"), event("decided", "reject"), event("delivered")):
        assert not is_wanted(came, cancels=True)


def test_a_refusal_names_the_fields_that_are_wrong() -> None:
    error = SendError(
        origin="policy", reason="malformed", message="message.to: no phone number", fix="Correct it."
    )
    seen = event("decided", "reject")
    fields = {name: getattr(seen, name) for name in seen.__struct_fields__} | {"error": error}
    line = event_line(SendEvent(**fields)).plain
    assert line.endswith("reject reason=ok (message.to: no phone number) → Correct it.")


def test_budgets_are_shown_in_words_and_as_they_are_written() -> None:
    of_month = [Budget(500_000_000, "marketing"), Budget(900_000_000)]
    assert budgets(of_month, "USD") == "500.00 USD of marketing, 900.00 USD in all"
    assert shown(msgspec.to_builtins(of_month)) == (
        "{amount_micros: 500000000, category: marketing}, {amount_micros: 900000000}"
    )


@pytest.mark.parametrize(
    "message",
    [
        text_message("+4915112345678", "hi"),
        template_message("+4915112345678", "promo", "de", []),
        template_message("+4915112345678", "order_update", "de", ["4711", "Ada"]),
    ],
)
def test_what_is_published_is_a_request_that_ingress_takes(message: dict[str, object]) -> None:
    request = {"request_id": "wam-1", "from": "106540352242922", "message": message}
    event = take(json.dumps(request).encode(), 0, None)
    assert isinstance(event, SendRequested)
    assert event.user == "4915112345678"


def test_an_event_of_foreign_origin_cannot_steer_the_terminal() -> None:
    error = SendError(origin="meta", reason="\x1b[2J[red]gone", code=1)
    seen = event("failed")
    line = event_line(
        SendEvent(**{name: getattr(seen, name) for name in seen.__struct_fields__} | {"error": error})
    )
    assert "\x1b" not in line.plain
    assert "[red]gone" in line.plain


@pytest.mark.parametrize(
    ("micros", "written"),
    [
        (0, "0.00 USD"),
        (55_000, "0.055 USD"),
        (1_500_000, "1.50 USD"),
        (-1, "-0.000001 USD"),
        (10**12, "1,000,000.00 USD"),
    ],
)
def test_money_is_written_exactly(micros: int, written: str) -> None:
    assert money(micros, "USD") == written


def test_amounts_of_several_currencies_stand_side_by_side() -> None:
    assert amounts(Totals(0, 1, {"USD": 1_000_000, "EUR": 20_000})) == "0.02 EUR, 1.00 USD"
    assert amounts(Totals(1, 0, {})) == "—"
