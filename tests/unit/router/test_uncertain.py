"""Messages of which nobody knows whether they went out: a status tells, or they are sent once more, or given up; an operator may settle them."""

from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from services.router.heard import SETTLED_MS, Heard
from shared.events import (
    PreferenceChanged,
    SendEvent,
    SendFailed,
    SendUncertain,
    UncertainSettled,
    decode_command,
)
from shared.topics import SEND_COMMANDS
from shared.uncertain import LOOK_AGAIN_MS, WAIT_MS, of_member
from tests.unit.router.make import (
    HOUR,
    KEY,
    NOW,
    USER,
    accepted,
    events,
    fact,
    received,
    request,
    state,
    status,
    steps,
    world,
)
from tests.unit.router.test_waiting import DAY, MINUTE, OTHER, ask, cancel, decision
from tests.unit.router.world import World

LOOK = NOW + WAIT_MS
UNTIL = NOW + 4 * HOUR
"""Until when a template may be sent that is decided at NOW."""


def doubt(command: str = "r1#1", at: int = NOW) -> SendUncertain:
    return SendUncertain(event_id="u", at_ms=at, command_id=command, cause="read timeout")


def settled(
    verdict: Any, command: str = "r1#1", at: int = NOW + MINUTE, note: str | None = None
) -> UncertainSettled:
    return UncertainSettled(
        event_id="s", at_ms=at, phone_number_id="N1", user=USER, command_id=command, verdict=verdict, by="Mia", note=note
    )  # fmt: skip


def failed(command: str, reason: str = "x", origin: Any = "meta") -> SendFailed:
    return SendFailed(
        event_id="f", at_ms=NOW, command_id=command, origin=origin, reason=reason, retryable=False
    )


def webhooks_come(made: World, number: str = "N1", sent: int = NOW + 1, came: int = NOW + MINUTE) -> None:
    made.fold.resending.heard.note(number, sent, came)


def lost(webhooks: bool = True, template: str | None = "order_update", **account: Any) -> World:
    """A message of unknown outcome, in a world where statuses of later messages come or not."""
    made = world(**account)
    made.play(KEY, request("r1", template), NOW)
    made.play(KEY, doubt(), NOW)
    if webhooks:
        webhooks_come(made)
    return made


def commands(made: World) -> list[str]:
    return [out.id for out in made.out if out.topic is SEND_COMMANDS]


def told(made: World, request_id: str = "r1") -> list[str]:
    return [e.event for e in made.send_events() if e.request_id == request_id]


def last(made: World) -> SendEvent:
    return made.send_events()[-1]


def reason(event: SendEvent) -> str | None:
    return event.error.reason if event.error is not None else None


def message(event: SendEvent) -> str | None:
    return event.error.message if event.error is not None else None


def spent(made: World, scope: str) -> int:
    return sum(place.weight for place in made.claims.scopes[scope].places.values())


# --- a status tells


def test_a_status_resolves_it_and_nothing_is_sent_again() -> None:
    made = lost()
    made.play(KEY, status("sent", at=NOW + MINUTE), NOW + MINUTE)
    made.fire(NOW + DAY)
    assert told(made) == ["decided", "uncertain", "accepted", "sent"]
    assert commands(made) == ["r1#1"]


def test_the_business_is_told_when_it_is_looked_at_next() -> None:
    made = lost()
    error = last(made).error
    assert error is not None
    assert (error.reason, error.message, error.retry_at) == (
        "outcome_unknown", "read timeout", "2026-11-02T12:15:00.000Z",
    )  # fmt: skip


# --- the timer


@pytest.mark.parametrize("template", ["order_update", "promo", None])
def test_it_is_sent_once_more_when_statuses_of_later_messages_come(template: str | None) -> None:
    made = world()
    made.play(KEY, received(), NOW)
    made.play(KEY, request("r1", template), NOW)
    made.play(KEY, doubt(), NOW)
    webhooks_come(made)
    made.fire(LOOK - 1)
    assert commands(made) == ["r1#1"]
    made.fire(LOOK)
    assert commands(made) == ["r1#1", "r1#2"]
    assert (last(made).event, last(made).event_id, last(made).seq) == ("resent", "r1#2:resent", 3)
    first, second = (decode_command(out.value) for out in made.out if out.topic is SEND_COMMANDS)
    assert (second.message, second.user, second.category) == (first.message, first.user, first.category)


def test_a_one_time_password_is_never_sent_again() -> None:
    made = lost(template="login_code")
    made.fire(NOW + DAY)
    assert commands(made) == ["r1#1"]
    assert (told(made), reason(last(made))) == (["decided", "uncertain", "failed"], "uncertain_unresolved")


def test_without_statuses_of_later_messages_it_is_looked_at_again_and_given_up_when_its_time_is_over() -> (
    None
):
    made = lost(webhooks=False)
    made.fire(UNTIL - 1)
    assert told(made) == ["decided", "uncertain"]
    made.fire(UNTIL)
    assert reason(last(made)) == "uncertain_webhooks_missing"
    webhooks_come(made, came=UNTIL)
    made.fire(UNTIL + DAY)
    assert commands(made) == ["r1#1"]


@pytest.mark.parametrize("missing", [{"sent": NOW}, {"number": "N2"}, {"came": LOOK - SETTLED_MS + 1}])
def test_statuses_of_earlier_messages_of_other_numbers_or_just_come_prove_nothing(
    missing: dict[str, Any],
) -> None:
    made = lost(webhooks=False)
    webhooks_come(made, **missing)
    made.fire(LOOK)
    assert commands(made) == ["r1#1"]


def test_once_the_webhooks_are_back_it_is_sent_at_the_next_look() -> None:
    made = lost(webhooks=False)
    made.fire(NOW + HOUR)
    webhooks_come(made, sent=NOW + HOUR, came=NOW + HOUR)
    made.fire(NOW + HOUR + LOOK_AGAIN_MS - 1)
    assert commands(made) == ["r1#1"]
    made.fire(NOW + HOUR + LOOK_AGAIN_MS)
    assert commands(made) == ["r1#1", "r1#2"]


def test_it_is_never_sent_after_its_own_expiry() -> None:
    made = world()
    made.play(KEY, request("r1", "order_update", expires_ms=NOW + 10 * MINUTE), NOW)
    made.play(KEY, doubt(), NOW)
    webhooks_come(made)
    made.fire(NOW + DAY)
    assert commands(made) == ["r1#1"]
    assert reason(last(made)) == "uncertain_unresolved"


def test_the_second_attempt_is_valid_no_longer_than_the_first() -> None:
    made = lost()
    made.fire(LOOK)
    second = decode_command(made.out[-1].value)
    assert (second.command_id, second.valid_until_ms) == ("r1#2", UNTIL)


def test_the_second_attempt_is_the_last_one() -> None:
    made = lost()
    made.fire(LOOK)
    made.play(KEY, doubt("r1#2", LOOK + MINUTE), LOOK + MINUTE)
    webhooks_come(made, sent=LOOK + HOUR, came=LOOK + 2 * MINUTE)
    made.fire(NOW + DAY)
    assert commands(made) == ["r1#1", "r1#2"]
    assert told(made) == ["decided", "uncertain", "resent", "uncertain", "failed"]
    assert [e.seq for e in made.send_events()] == [1, 2, 3, 4, 5]
    assert reason(last(made)) == "uncertain_unresolved"


def test_a_command_of_which_the_sender_says_nothing_is_not_sent_again() -> None:
    made = world()
    made.play(KEY, request("r1", "order_update"), NOW)
    webhooks_come(made, sent=NOW + 5 * HOUR)
    made.fire(NOW + DAY)
    assert (commands(made), told(made)) == (["r1#1"], ["decided", "failed"])


# --- what has changed meanwhile


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (fact("account", "W1", paused=True), "paused_by_operator"),
        (fact("template", "promo/en", status="PAUSED"), "template_paused"),
        (fact("template", "promo/en", status="DISABLED"), "template_disabled"),
        (fact("account", "W1", payment_method="missing"), "payment_method_missing"),
    ],
)
def test_what_may_not_go_out_any_more_is_not_sent_again_and_told_why(change: Any, why: str) -> None:
    made = lost(template="promo")
    made.know(change)
    made.fire(LOOK)
    assert commands(made) == ["r1#1"]
    assert reason(last(made)) == "uncertain_not_allowed"
    assert message(last(made)) == why


def test_who_opted_out_meanwhile_gets_no_second_message() -> None:
    made = lost(template="promo")
    said = PreferenceChanged(event_id="p", at_ms=NOW + 1, phone_number_id="N1", user=USER, opted_out=True)
    made.play(KEY, said, NOW + 1)
    made.fire(LOOK)
    assert message(last(made)) == "opted_out"


def test_a_window_that_has_closed_lets_no_second_free_form_out() -> None:
    made = world()
    made.play(KEY, received(at=NOW - DAY + 20 * MINUTE), NOW)
    made.play(KEY, request("r1", None), NOW)
    made.play(KEY, doubt(at=NOW + 6 * MINUTE), NOW + 6 * MINUTE)
    webhooks_come(made, sent=NOW + 7 * MINUTE, came=NOW + 8 * MINUTE)
    made.fire(NOW + DAY)
    assert commands(made) == ["r1#1"]


# --- places


def test_the_second_attempt_takes_no_place_twice() -> None:
    made = lost(regime="2025-07-01", messaging_limit=1, budgets=[{"amount_micros": 55_000}])
    made.fire(LOOK)
    assert commands(made) == ["r1#1", "r1#2"]
    assert made.claims.members("tier:W1") == {USER}
    assert spent(made, "budget:W1:all:2026-11") == 55_000
    made.play(KEY, status("delivered", "r1#2", LOOK + MINUTE), LOOK + MINUTE)
    assert spent(made, "budget:W1:all:2026-11") == 55_000


def test_a_second_attempt_that_fails_gives_the_budget_back_but_not_the_place_of_who_may_have_been_written_to() -> (
    None
):
    made = lost(regime="2025-07-01", messaging_limit=1, budgets=[{"amount_micros": 55_000}])
    made.fire(LOOK)
    made.play(KEY, failed("r1#2"), LOOK + MINUTE)
    assert told(made)[-1] == "failed"
    assert spent(made, "budget:W1:all:2026-11") == 0
    assert decision(ask(made, "r2", OTHER, LOOK + 2 * MINUTE)).reason == "tier_limit_reached"


def test_the_free_place_goes_over_to_the_second_attempt_and_back_when_that_fails() -> None:
    made = world()
    made.play(KEY, received(), NOW)
    made.play(KEY, request("r1", None), NOW)
    made.play(KEY, doubt(), NOW)
    webhooks_come(made)
    made.fire(LOOK)
    assert len(made.claims.members("free:W1:2026-11")) == 1
    made.play(KEY, failed("r1#2"), LOOK + MINUTE)
    assert made.claims.members("free:W1:2026-11") == set()


def test_a_second_attempt_in_another_month_leaves_the_first_ones_budget() -> None:
    start = NOW + 28 * DAY + 11 * HOUR + 50 * MINUTE  # 23:50 of November
    made = world(regime="2025-07-01", budgets=[{"amount_micros": 55_000}])
    made.play(KEY, request("r1", "order_update", at=start), start)
    made.play(KEY, doubt(at=start), start)
    webhooks_come(made, sent=start + 1, came=start + MINUTE)
    made.fire(start + WAIT_MS)
    assert commands(made) == ["r1#1", "r1#2"]
    assert spent(made, "budget:W1:all:2026-11") == 0
    assert spent(made, "budget:W1:all:2026-12") == 55_000


def test_a_second_attempt_in_another_category_is_noted_in_the_budgets_as_it_is_charged() -> None:
    budgets = [{"amount_micros": 200_000}, {"amount_micros": 60_000, "category": "utility"}]
    made = lost(regime="2025-07-01", budgets=budgets)
    made.know(fact("template", "order_update/en", category="marketing"))
    made.fire(LOOK)
    assert spent(made, "budget:W1:utility:2026-11") == 0
    made.play(KEY, status("delivered", "r1#2", LOOK + MINUTE), LOOK + MINUTE)
    assert spent(made, "budget:W1:all:2026-11") == 136_500
    assert [e.charge.amount_micros for e in made.send_events() if e.charge is not None] == [136_500]


def test_what_may_not_go_out_any_more_gives_back_all_but_the_place_of_who_may_have_been_written_to() -> None:
    made = lost(messaging_limit=1, regime="2025-07-01", budgets=[{"amount_micros": 55_000}])
    made.know(
        fact(
            "account", "W1", budgets=[{"amount_micros": 55_000}, {"amount_micros": 1, "category": "utility"}]
        )
    )
    made.fire(LOOK)
    assert message(last(made)) == "budget_exceeded"
    assert spent(made, "budget:W1:all:2026-11") == 0
    assert decision(ask(made, "r2", OTHER, LOOK + MINUTE)).reason == "tier_limit_reached"


# --- both went out


def test_where_both_have_gone_out_it_says_so_and_charges_both() -> None:
    made = lost(regime="2025-07-01", budgets=[{"amount_micros": 1_000_000}])
    made.fire(LOOK)
    made.play(KEY, accepted("r1#2", LOOK + MINUTE), LOOK + MINUTE)
    made.play(KEY, status("delivered", "r1#2", LOOK + MINUTE), LOOK + MINUTE)
    late = events(made.play(KEY, status("delivered", "r1#1", NOW + HOUR), NOW + HOUR))
    assert [(e.event, reason(e)) for e in late] == [("accepted", "duplicate"), ("delivered", None)]
    charges = [e.charge.amount_micros for e in made.send_events() if e.charge is not None]
    assert charges == [55_000, 55_000]
    assert spent(made, "budget:W1:all:2026-11") == 110_000
    assert [e.seq for e in made.send_events()] == list(range(1, 8))


def test_two_free_messages_take_two_free_places() -> None:
    made = world(regime="2026-10-01")
    made.play(KEY, received(), NOW)
    made.play(KEY, request("r1", None), NOW)
    made.play(KEY, doubt(), NOW)
    webhooks_come(made)
    made.fire(LOOK)
    for command in ("r1#1", "r1#2"):
        made.play(KEY, status("delivered", command, LOOK + MINUTE), LOOK + MINUTE)
    assert len(made.claims.members("free:N1:2026-11")) == 2


def test_where_the_first_is_read_before_the_second_is_taken_both_are_still_told() -> None:
    made = lost()
    made.fire(LOOK)
    made.play(KEY, status("read", "r1#1", LOOK + MINUTE), LOOK + MINUTE)
    out = made.play(KEY, accepted("r1#2", LOOK + 2 * MINUTE), LOOK + 2 * MINUTE)
    assert [(e.event, reason(e)) for e in events(out)] == [("accepted", "duplicate")]


def test_when_the_first_turns_out_to_have_gone_the_second_is_called_back_and_nobody_need_know() -> None:
    made = lost()
    made.fire(LOOK)
    made.play(KEY, status("sent", "r1#1", LOOK + MINUTE), LOOK + MINUTE)
    assert commands(made) == ["r1#1", "r1#2", "r1#2:cancel"]
    assert made.play(KEY, failed("r1#2", "cancelled", "policy"), LOOK + MINUTE) == ()
    made.play(KEY, status("delivered", "r1#1", LOOK + MINUTE), LOOK + MINUTE)
    assert told(made) == ["decided", "uncertain", "resent", "accepted", "sent", "delivered"]
    made.fire(NOW + DAY)
    assert told(made)[-1] == "delivered"


def test_a_second_attempt_of_unknown_outcome_is_not_told_as_failed_when_the_first_has_gone() -> None:
    made = lost()
    made.fire(LOOK)
    made.play(KEY, status("sent", "r1#1", LOOK + MINUTE), LOOK + MINUTE)
    made.play(KEY, doubt("r1#2", LOOK + 2 * MINUTE), LOOK + 2 * MINUTE)
    made.fire(NOW + DAY)
    assert told(made)[-1] == "uncertain"
    assert made.uncertain == {}


def test_a_first_attempt_that_meta_could_not_deliver_changes_nothing_for_the_second() -> None:
    made = lost()
    made.fire(LOOK)
    assert (
        steps(made.play(KEY, status("failed", "r1#1", LOOK + MINUTE, error_code=131026), LOOK + MINUTE)) == []
    )
    out = made.play(KEY, status("delivered", "r1#2", LOOK + MINUTE), LOOK + MINUTE)
    assert [(e.event, reason(e)) for e in events(out)] == [("accepted", None), ("delivered", None)]


def test_a_message_given_up_counts_after_all_when_a_status_comes() -> None:
    made = lost(template="login_code")
    made.fire(NOW + HOUR)
    late = events(made.play(KEY, status("delivered", at=NOW + HOUR), NOW + HOUR))
    assert [event.event for event in late] == ["accepted", "delivered"]
    assert late[1].charge is not None


# --- taken back


def test_what_waits_at_the_sender_is_called_back_and_its_places_are_free_again() -> None:
    made = world(regime="2025-07-01", messaging_limit=1, budgets=[{"amount_micros": 55_000}])
    made.play(KEY, request("r1", "order_update"), NOW)
    (order,) = made.play(KEY, cancel("r1", NOW + 1), NOW + 1)
    assert (order.topic, order.key, order.type, order.id) == (
        SEND_COMMANDS,
        "N1",
        "CancelMessage",
        "r1#1:cancel",
    )
    assert made.play(KEY, cancel("r1", NOW + 2), NOW + 2) == ()
    (event,) = events(made.play(KEY, failed("r1#1", "cancelled", "policy"), NOW + 3))
    assert (event.event, event.event_id, reason(event)) == ("cancelled", "r1#1:cancelled", "cancelled")
    assert decision(ask(made, "r2", OTHER, NOW + 4, template="order_update")).outcome == "allow"


def test_what_went_out_first_keeps_its_outcome_and_the_canceller_is_told() -> None:
    made = world()
    made.play(KEY, request("r1"), NOW)
    made.play(KEY, cancel("r1", NOW + 1), NOW + 1)
    out = events(made.play(KEY, status("delivered"), NOW + 1000))
    assert [(e.event, reason(e)) for e in out] == [("accepted", "cancel_too_late"), ("delivered", None)]


def test_a_message_of_unknown_outcome_that_is_taken_back_is_not_sent_again() -> None:
    made = lost()
    (answer,) = events(made.play(KEY, cancel("r1", NOW + 1), NOW + 1))
    assert answer == made.send_events()[0]
    made.fire(LOOK)
    assert (commands(made), reason(last(made))) == (["r1#1"], "uncertain_unresolved")


def test_one_taken_back_and_then_of_unknown_outcome_is_not_sent_again() -> None:
    made = world()
    made.play(KEY, request("r1"), NOW)
    made.play(KEY, cancel("r1", NOW + 1), NOW + 1)
    made.play(KEY, doubt(at=NOW + 2), NOW + 2)
    webhooks_come(made, sent=NOW + 3)
    made.fire(NOW + DAY)
    assert [id_ for id_ in commands(made) if "cancel" not in id_] == ["r1#1"]


# --- held by Meta


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("held_for_quality_assessment", "held_for_quality_assessment"),
        ("paused", "held_paused"),
        ("accepted", None),
    ],
)
@pytest.mark.parametrize("end", ["sent", "failed"])
def test_what_meta_holds_waits_for_days_until_meta_says(word: str, why: str | None, end: str) -> None:
    made = world()
    made.play(KEY, request("r1"), NOW)
    taken = events(made.play(KEY, accepted_as(word), NOW))
    assert [(e.event, reason(e)) for e in taken] == [("accepted", None)] + ([("held", why)] if why else [])
    made.fire(NOW + 5 * DAY)
    assert steps(made.play(KEY, status(end, at=NOW + 5 * DAY, error_code=132015), NOW + 5 * DAY)) == [end]
    assert [b.seq - a.seq for a, b in pairwise(made.send_events())] == [1] * (len(made.send_events()) - 1)


def accepted_as(word: str) -> Any:
    return replace(accepted(), message_status=word)


# --- the operator


def test_an_operator_says_that_it_went_out_and_later_statuses_count() -> None:
    made = lost()
    (event,) = events(made.play(KEY, settled("sent", note="seen on the phone"), NOW + MINUTE))
    assert (event.event, reason(event), message(event)) == (
        "accepted", "settled_by_operator", "Mia: seen on the phone",
    )  # fmt: skip
    made.fire(NOW + DAY)
    out = events(made.play(KEY, status("delivered", at=NOW + DAY), NOW + DAY))
    assert [(e.event, e.wamid) for e in out] == [("delivered", "wamid.r1#1")]
    assert commands(made) == ["r1#1"]


def test_an_operator_says_that_it_did_not_go_out_and_all_its_places_are_free() -> None:
    made = lost(messaging_limit=1)
    (event,) = events(made.play(KEY, settled("not_sent"), NOW + MINUTE))
    assert (event.event, reason(event)) == ("failed", "settled_by_operator")
    assert decision(ask(made, "r2", OTHER, NOW + 2 * MINUTE)).outcome == "allow"
    made.fire(NOW + DAY)
    assert told(made) == ["decided", "uncertain", "failed"]


@pytest.mark.parametrize("template", ["order_update", "login_code"])
def test_an_operator_has_it_sent_again_whatever_its_category_and_the_webhooks(template: str) -> None:
    made = lost(webhooks=False, template=template)
    (event,) = events(made.play(KEY, settled("resend"), NOW + MINUTE))
    assert (event.event, reason(event)) == ("resent", "settled_by_operator")
    assert commands(made) == ["r1#1", "r1#2"]
    made.play(KEY, doubt("r1#2", NOW + 2 * MINUTE), NOW + 2 * MINUTE)
    made.play(KEY, settled("resend", "r1#2", NOW + 3 * MINUTE), NOW + 3 * MINUTE)
    assert commands(made) == ["r1#1", "r1#2", "r1#3"]


def test_an_operator_cannot_have_sent_what_may_not_go_out() -> None:
    made = lost(webhooks=False)
    made.know(fact("account", "W1", paused=True))
    (event,) = events(made.play(KEY, settled("resend"), NOW + MINUTE))
    assert (event.event, reason(event)) == ("failed", "uncertain_not_allowed")


@pytest.mark.parametrize("verdict", ["sent", "not_sent", "resend"])
def test_what_is_not_open_any_more_is_not_settled(verdict: str) -> None:
    made = lost()
    made.play(KEY, status("sent"), NOW + 1)
    assert made.play(KEY, settled(verdict), NOW + MINUTE) == ()
    assert made.play(KEY, settled(verdict, "r9#1"), NOW + MINUTE) == ()


# --- the index, and replays


def test_operators_find_it_while_it_is_open_with_when_it_is_looked_at_next() -> None:
    made = lost(webhooks=False)
    (member,) = made.uncertain
    found = of_member(member.encode())
    assert (found.phone_number_id, found.user, found.request_id, found.attempt) == ("N1", USER, "r1", 1)
    assert (found.category, found.cause, found.since_ms, found.valid_until_ms) == (
        "utility", "read timeout", NOW, UNTIL,
    )  # fmt: skip
    assert made.uncertain[member] == LOOK
    made.fire(LOOK)
    assert made.uncertain == {member: LOOK + LOOK_AGAIN_MS}
    made.fire(UNTIL)
    assert made.uncertain == {}


@pytest.mark.parametrize("webhooks", [True, False])
@pytest.mark.parametrize("change", [{}, {"paused": True}])
def test_a_silent_replay_comes_to_the_same_whatever_is_known_of_webhooks_by_then(
    webhooks: bool, change: dict[str, Any]
) -> None:
    made = lost(webhooks)
    made.play(KEY, request("r2", "order_update", at=NOW + MINUTE), NOW + MINUTE)
    made.play(KEY, doubt("r2#1", NOW), NOW + MINUTE)
    made.play(KEY, request("r3", "order_update", at=NOW + MINUTE, not_before_ms=LOOK), NOW + MINUTE)
    made.know(*([fact("account", "W1", **change)] if change else []))
    made.fire(NOW + HOUR)
    made.play(KEY, status("delivered", "r1#1", NOW + HOUR), NOW + HOUR)
    made.fire(NOW + DAY)
    again = world(paused=True)
    webhooks_come(again)
    silenced = again.replay(made.log)
    assert again.states == made.states
    assert again.timers == made.timers
    assert again.uncertain == made.uncertain
    said = [[o.value for o in r.out if o.topic is not SEND_COMMANDS] for r in made.log]
    assert [[o.value for o in out if o.topic is not SEND_COMMANDS] for out in silenced] == said


def test_two_messages_due_at_once_are_both_sent_again_one_after_the_other() -> None:
    made = lost()
    made.play(KEY, request("r2", "order_update"), NOW)
    made.play(KEY, doubt("r2#1"), NOW)
    made.fire(LOOK)
    assert commands(made) == ["r1#1", "r2#1", "r1#2"]
    made.fire(LOOK + 1000)
    assert commands(made) == ["r1#1", "r2#1", "r1#2", "r2#2"]


def test_nothing_of_a_message_is_kept_for_another_attempt_once_meta_has_answered() -> None:
    made = world()
    made.play(KEY, request("r1"), NOW)
    kept = state(made)
    assert kept is not None
    assert b"promo" in kept.lives[0].request
    made.play(KEY, accepted(), NOW)
    kept = state(made)
    assert kept is not None
    assert kept.lives[0].request == b""


# --- what is heard of webhooks


def test_what_came_counts_once_it_came_long_enough_ago_and_newer_statuses_do_not_hide_it() -> None:
    heard = Heard()
    for minute in range(60):
        heard.note("N1", NOW + minute * MINUTE, NOW + minute * MINUTE)
        latest = NOW + minute * MINUTE - SETTLED_MS
        assert heard.later_than("N1", latest - MINUTE - 1, NOW + minute * MINUTE) == (minute >= 5)
        assert not heard.later_than("N1", latest, NOW + minute * MINUTE)
    assert heard.latest() == {"N1": (NOW + 59 * MINUTE, NOW + 59 * MINUTE)}
    assert not heard.later_than("N2", 0, NOW + DAY)
