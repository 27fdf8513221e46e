"""Requests that say until when they matter wait for what passes; others are refused at once; those that wait can be taken back."""

from dataclasses import replace
from typing import Any

import pytest

from shared.events import CancelRequested, Decision, SendEvent
from shared.topics import SEND_COMMANDS, SEND_EVENTS
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
    status,
    world,
)
from tests.unit.router.world import World

DAY = 24 * HOUR
MINUTE = 60_000
OTHER = "4915110000011"
THIRD = "4915110000012"


def ask(made: World, id_: str, user: str = USER, at: int = NOW, **more: Any) -> SendEvent:
    """The answer to a request; Meta takes the message at once."""
    out = made.play(f"N1:{user}", request(id_, user=user, at=at, **more), at)
    if SEND_COMMANDS in [o.topic for o in out]:
        made.play(f"N1:{user}", accepted(f"{id_}#1", at, user), at)
    return events(out)[0]


def decision(event: SendEvent) -> Decision:
    assert event.decision is not None
    return event.decision


def last(made: World, request_id: str) -> SendEvent:
    return [e for e in made.send_events() if e.request_id == request_id and e.event == "decided"][-1]


def told(made: World, request_id: str) -> list[tuple[str, str]]:
    """Outcome and reason of every decision on a request, in order."""
    return [
        (decision(e).outcome, decision(e).reason)
        for e in made.send_events()
        if e.request_id == request_id and e.event == "decided"
    ]


def commands(made: World) -> int:
    return [out.topic for out in made.out].count(SEND_COMMANDS)


def cancel(id_: str, at: int, user: str = USER) -> CancelRequested:
    return CancelRequested(
        event_id=f"{id_}:cancel", at_ms=at, request_id=id_, phone_number_id="N1", user=user
    )


def test_beyond_the_limit_a_request_without_an_expiry_is_refused_and_told_when_it_could_pass() -> None:
    made = world(messaging_limit=1)
    ask(made, "r1")
    refused = ask(made, "r2", OTHER, NOW + HOUR)
    assert (decision(refused).outcome, decision(refused).reason) == ("reject", "tier_limit_reached")
    assert refused.error is not None
    assert (refused.error.retryable, refused.error.retry_at) == (True, "2026-11-03T12:00:00.000Z")


def test_one_with_an_expiry_waits_for_the_place_and_takes_it_the_moment_it_is_free() -> None:
    made = world(messaging_limit=1)
    ask(made, "r1")
    waits = ask(made, "r2", OTHER, NOW + HOUR, expires_ms=NOW + 2 * DAY)
    assert (decision(waits).outcome, decision(waits).final) == ("defer", False)
    assert decision(waits).not_before_at == "2026-11-03T12:00:00.000Z"
    made.fire(NOW + DAY - 1)
    assert commands(made) == 1
    made.fire(NOW + DAY)
    assert told(made, "r2") == [("defer", "tier_limit_reached"), ("allow", "ok")]
    assert commands(made) == 2


def test_those_that_wait_are_told_places_in_the_order_of_their_expiries() -> None:
    made = world(messaging_limit=2)
    ask(made, "r1")
    ask(made, "r2", OTHER, NOW + HOUR)
    patient = ask(made, "r3", THIRD, NOW + 2 * HOUR, expires_ms=NOW + 3 * DAY)
    pressing = ask(made, "r4", f"{THIRD[:-1]}3", NOW + 2 * HOUR, expires_ms=NOW + 2 * DAY)
    assert decision(patient).not_before_at == "2026-11-03T12:00:00.000Z"
    assert decision(pressing).not_before_at == "2026-11-03T12:00:00.000Z"
    made.fire(NOW + DAY + HOUR)
    assert told(made, "r3")[-1] == told(made, "r4")[-1] == ("allow", "ok")


def test_a_raised_limit_lets_those_that_wait_go_within_ten_minutes() -> None:
    made = world(messaging_limit=1)
    ask(made, "r1")
    ask(made, "r2", OTHER, NOW + HOUR, expires_ms=NOW + 2 * DAY)
    made.know(fact("account", "W1", messaging_limit=2))
    made.fire(NOW + HOUR + 10 * MINUTE)
    assert told(made, "r2")[-1] == ("allow", "ok")


def test_looking_again_without_news_tells_nothing() -> None:
    made = world(messaging_limit=1)
    ask(made, "r1")
    ask(made, "r2", OTHER, NOW + HOUR, expires_ms=NOW + 2 * DAY)
    made.fire(NOW + 20 * HOUR)
    assert told(made, "r2") == [("defer", "tier_limit_reached")]


def test_one_that_waits_in_vain_ends_in_one_refusal_and_leaves_its_turn_to_others() -> None:
    made = world(messaging_limit=1)
    ask(made, "r1")
    made.know(fact("account", "W1", paused=True))
    ask(made, "r2", OTHER, NOW + HOUR, expires_ms=NOW + 3 * HOUR)
    made.fire(NOW + 4 * HOUR)
    assert told(made, "r2") == [("defer", "paused_by_operator"), ("reject", "request_expired")]
    assert commands(made) == 1


def test_one_that_waits_for_something_else_in_the_end_leaves_its_turn_too() -> None:
    made = world(messaging_limit=1)
    ask(made, "r1")
    ask(made, "r2", OTHER, NOW + HOUR, expires_ms=NOW + 20 * DAY)
    assert len(made.claims.scopes["tier:W1"].waiting) == 1
    made.know(fact("template", "promo/en", status="PAUSED", paused_until_ms=NOW + 10 * DAY))
    made.fire(NOW + 2 * HOUR)
    assert told(made, "r2")[-1] == ("defer", "template_paused")
    made.play(f"N1:{OTHER}", cancel("r2", NOW + 2 * HOUR, OTHER), NOW + 2 * HOUR)
    assert made.claims.scopes["tier:W1"].waiting == {}


def test_a_pause_without_an_end_is_waited_for_as_long_as_the_request_matters() -> None:
    made = world()
    made.know(fact("number", "N1", paused=True))
    waits = ask(made, "r1", expires_ms=NOW + 5 * HOUR)
    assert (decision(waits).reason, decision(waits).not_before_at) == ("paused_by_operator", None)
    made.fire(NOW + 2 * HOUR)
    made.know(fact("number", "N1", paused=False))
    made.fire(NOW + 2 * HOUR + 10 * MINUTE)
    assert told(made, "r1") == [("defer", "paused_by_operator"), ("allow", "ok")]


def test_a_reason_that_never_passes_refuses_at_once_whatever_the_expiry() -> None:
    made = world()
    refused = ask(made, "r1", template=None, expires_ms=NOW + DAY)
    assert (decision(refused).outcome, decision(refused).reason) == ("reject", "window_closed")


def test_a_request_that_waits_is_taken_back_and_never_sent() -> None:
    made = world(messaging_limit=1)
    ask(made, "r1")
    ask(made, "r2", OTHER, NOW + HOUR, expires_ms=NOW + 2 * DAY)
    made.play(f"N1:{OTHER}", cancel("r2", NOW + 2 * HOUR, OTHER), NOW + 2 * HOUR)
    made.fire(NOW + 3 * DAY)
    assert told(made, "r2") == [("defer", "tier_limit_reached"), ("reject", "cancelled")]
    assert last(made, "r2").event_id == "r2#1:decided"
    assert commands(made) == 1
    assert made.claims.scopes["tier:W1"].waiting == {}


def test_a_silent_replay_of_a_cancellation_under_other_facts_comes_to_the_same() -> None:
    made = world()
    made.play(KEY, request("r1", not_before_ms=NOW + HOUR), NOW)
    made.play(KEY, cancel("r1", NOW + 1), NOW + 1)
    again = world()
    again.know(fact("account", "W1", paused=True))
    again.replay(made.log)
    assert again.states == made.states


def test_taking_back_twice_says_the_same_twice() -> None:
    made = world()
    made.play(KEY, request("r1", not_before_ms=NOW + HOUR), NOW)
    first = made.play(KEY, cancel("r1", NOW + 1), NOW + 1)
    assert made.play(KEY, cancel("r1", NOW + 2), NOW + 2) == first


def test_what_has_gone_out_is_not_taken_back_and_told_as_it_was() -> None:
    made = world()
    first = made.play(KEY, request("r1"), NOW)
    made.play(KEY, accepted("r1#1"), NOW)
    assert made.play(KEY, cancel("r1", NOW + 1), NOW + 1) == first[:1]


def test_a_cancellation_is_never_answered_with_the_conflict_of_another_body() -> None:
    made = world()
    made.play(KEY, request("r1"), NOW)
    made.fire(NOW + 2 * DAY)
    made.play(KEY, request("r1", digest="other", at=NOW + 2 * DAY), NOW + 2 * DAY)
    (answer,) = events(made.play(KEY, cancel("r1", NOW + 2 * DAY), NOW + 2 * DAY))
    assert (answer.event_id, decision(answer).reason) == ("r1!cancel:decided", "malformed")


def test_what_nobody_asked_for_cannot_be_taken_back() -> None:
    made = world()
    (answer,) = events(made.play(KEY, cancel("r9", NOW), NOW))
    assert decision(answer).reason == "malformed"
    assert answer.error is not None
    assert "cancel_request_id" in (answer.error.message or "")


def test_a_request_id_is_one_over_all_receivers() -> None:
    made = world()
    ask(made, "r1")
    conflict = ask(made, "r1", OTHER, NOW + HOUR)
    assert (decision(conflict).outcome, decision(conflict).reason) == ("reject", "idempotency_conflict")
    assert commands(made) == 1
    assert made.claims.members("tier:W1") == {USER}
    again = made.play(f"N1:{OTHER}", request("r1", user=OTHER, at=NOW + 2 * HOUR), NOW + 2 * HOUR)
    assert events(again)[0] == conflict


def test_a_conflict_with_another_receivers_request_keeps_no_turn() -> None:
    made = world(messaging_limit=1)
    ask(made, "r1")
    refused = ask(made, "r1", OTHER, NOW + HOUR, expires_ms=NOW + 20 * DAY)
    assert decision(refused).reason == "idempotency_conflict"
    assert made.claims.scopes["tier:W1"].waiting == {}


@pytest.mark.parametrize("later", [HOUR, 2 * DAY])
def test_a_conflict_with_another_receivers_request_never_takes_that_ones_event_id(later: int) -> None:
    made = world()
    ask(made, "r1")
    first = made.play(f"N1:{OTHER}", request("r1", user=OTHER), NOW)
    again = made.play(f"N1:{OTHER}", request("r1", user=OTHER, at=NOW + later), NOW + later)
    assert again[0].id == events(again)[0].event_id == first[0].id != "r1#1:decided"


def test_after_eight_days_another_receiver_may_have_the_id() -> None:
    made = world()
    ask(made, "r1")
    assert decision(ask(made, "r1", OTHER, NOW + 8 * DAY)).outcome == "allow"


def test_a_rebuilt_claims_book_binds_no_id_longer_than_eight_days_from_its_request() -> None:
    made = world()
    ask(made, "r1")
    rebuilt = world()
    rebuilt.replay(replace(record, now_ms=NOW + 20 * DAY) for record in made.log)
    assert decision(ask(rebuilt, "r1", OTHER, NOW + 20 * DAY)).outcome == "allow"


def test_a_dry_run_tells_the_limits_and_takes_nothing() -> None:
    made = world(messaging_limit=1)
    would = decision(ask(made, "d1", dry_run=True))
    assert (would.outcome, would.tier and would.tier.used) == ("allow", 0)
    assert not made.claims.members("tier:W1")
    ask(made, "r1")
    would = decision(ask(made, "d2", OTHER, dry_run=True))
    assert (would.outcome, would.reason) == ("reject", "tier_limit_reached")
    would = decision(ask(made, "d3", OTHER, dry_run=True, expires_ms=NOW + 2 * DAY))
    assert (would.outcome, would.final, would.not_before_at) == ("defer", True, "2026-11-03T12:00:00.000Z")
    made.fire(NOW + 3 * DAY)
    assert told(made, "d3") == [("defer", "tier_limit_reached")]
    assert commands(made) == 1


def test_marketing_leaves_the_reserve_to_the_other_categories() -> None:
    made = world(messaging_limit=10, marketing_reserve_percent=20)
    users = [f"49151100000{n}" for n in range(10, 22)]
    outcomes = [decision(ask(made, f"m{user}", user)).outcome for user in users[:9]]
    assert outcomes == ["allow"] * 8 + ["reject"]
    orders = [decision(ask(made, f"o{user}", user, template="order_update")).outcome for user in users[9:12]]
    assert orders == ["allow", "allow", "reject"]


def test_what_fails_gives_its_place_to_one_that_waits() -> None:
    made = world(messaging_limit=1)
    ask(made, "r1")
    ask(made, "r2", OTHER, NOW + HOUR, expires_ms=NOW + 2 * DAY)
    made.play(KEY, status("failed", at=NOW + 2 * HOUR, error_code=131026), NOW + 2 * HOUR)
    made.fire(NOW + 2 * HOUR + 10 * MINUTE)
    assert told(made, "r2")[-1] == ("allow", "ok")
    assert [o.topic for o in made.out].count(SEND_EVENTS) >= 4


def test_a_payment_that_meta_refused_is_put_to_the_test_again_after_its_hour() -> None:
    made = world()
    made.know(fact("account", "W1", payment_method="failing", payment_failing_until_ms=NOW + HOUR))
    refused = ask(made, "r1")
    assert (decision(refused).reason, decision(refused).not_before_at) == (
        "payment_method_missing",
        "2026-11-02T13:00:00.000Z",
    )
    assert decision(ask(made, "r2", at=NOW + HOUR)).outcome == "allow"
    made.know(fact("account", "W1", payment_method="failing", payment_failing_until_ms=None))
    assert decision(ask(made, "r3", at=NOW + 2 * HOUR)).reason == "payment_method_missing"


def test_a_payment_method_taken_away_is_missing_for_longer_than_metas_refusal_was_believed() -> None:
    made = world()
    made.know(fact("account", "W1", payment_method="failing", payment_failing_until_ms=NOW + HOUR))
    made.know(fact("account", "W1", payment_method="missing"))
    assert decision(ask(made, "r1")).not_before_at is None
    waits = decision(ask(made, "r2", at=NOW + 2 * HOUR, expires_ms=NOW + 3 * HOUR))
    assert (waits.outcome, waits.reason) == ("defer", "payment_method_missing")


def test_a_request_refused_after_weeks_is_still_known_when_it_comes_again() -> None:
    made = world()
    ask(made, "r1", template=None, not_before_ms=NOW + 14 * DAY)
    ask(made, "r2", template=None, at=NOW + HOUR)
    made.fire(NOW + 14 * DAY)
    assert told(made, "r1")[-1] == ("reject", "window_closed")
    made.fire(NOW + 15 * DAY)
    made.play(KEY, received(at=NOW + 15 * DAY), NOW + 15 * DAY)
    ask(made, "r1", template=None, at=NOW + 15 * DAY + 1, not_before_ms=NOW + 14 * DAY)
    assert told(made, "r1")[-1] == ("reject", "window_closed")
    assert commands(made) == 0


def test_a_dry_run_leaves_its_id_to_the_request_itself() -> None:
    made = world()
    dry = ask(made, "r1", dry_run=True, digest="dry")
    assert decision(ask(made, "r1", at=NOW + 1)).outcome == "allow"
    assert ask(made, "r1", at=NOW + 2, dry_run=True, digest="dry") == dry
    assert dry.event_id != "r1#1:decided"
    assert commands(made) == 1


def test_nobody_waits_longer_than_the_log_is_kept() -> None:
    made = world()
    made.know(fact("number", "N1", paused=True))
    ask(made, "r1", expires_ms=NOW + 90 * DAY)
    made.fire(NOW + 30 * DAY - 1)
    assert told(made, "r1") == [("defer", "paused_by_operator")]
    made.fire(NOW + 30 * DAY)
    assert told(made, "r1") == [("defer", "paused_by_operator"), ("reject", "paused_by_operator")]


def test_whoever_may_have_been_written_to_keeps_a_place_until_the_day_is_over() -> None:
    made = world(messaging_limit=1)
    made.play(KEY, request("r1"), NOW)
    made.fire(NOW + 5 * HOUR)
    assert [e.event for e in made.send_events()] == ["decided", "failed"]
    assert decision(ask(made, "r2", OTHER, NOW + 6 * HOUR)).reason == "tier_limit_reached"
    made.play(KEY, status("failed", at=NOW + 7 * HOUR, error_code=131026), NOW + 7 * HOUR)
    assert decision(ask(made, "r3", OTHER, NOW + 8 * HOUR)).outcome == "allow"
