"""Requests that come again, wait, or can't be read."""

from dataclasses import replace

import msgspec

from services.router.state import State
from shared.events import FieldProblem, RequestMalformed, encode
from shared.topics import SEND_COMMANDS
from tests.unit.router.make import HOUR, KEY, NOW, USER, accepted, events, request, status, steps, world

DAY = 24 * HOUR


def test_the_same_request_gets_the_same_bytes_and_no_second_command() -> None:
    made = world()
    first = made.play(KEY, request(), NOW)
    again = made.play(KEY, request(at=NOW + HOUR), NOW + HOUR)
    assert again == first[:1]


def test_after_a_day_the_answer_is_repeated_in_short_under_its_own_id() -> None:
    made = world()
    first = events(made.play(KEY, request(), NOW))[0]
    again = events(made.play(KEY, request(at=NOW + 2 * DAY), NOW + 2 * DAY))[0]
    assert again.event_id == first.event_id
    assert again.decision is not None
    assert (again.decision.outcome, again.decision.category) == ("allow", "marketing")


def test_after_eight_days_a_request_id_is_new_again() -> None:
    made = world()
    made.play(KEY, request(), NOW)
    later = NOW + 9 * DAY
    out = made.play(KEY, request(at=later), later)
    assert [o.topic is SEND_COMMANDS for o in out] == [False, True]


def test_an_id_whose_message_is_still_under_way_after_eight_days_is_not_new() -> None:
    made = world()
    made.play(KEY, request(), NOW)
    made.play(KEY, accepted(), NOW)
    made.play(KEY, request("r2", at=NOW + 8 * DAY), NOW + 8 * DAY)
    later = NOW + 10 * DAY
    out = made.play(KEY, request(at=later), later)
    decision = events(out)[0].decision
    assert decision is not None
    assert decision.reason == "idempotency_conflict"
    assert steps(made.play(KEY, status("delivered", at=later), later)) == ["delivered"]


def test_another_body_under_the_same_id_is_a_conflict_with_an_id_of_its_own() -> None:
    made = world()
    first = events(made.play(KEY, request(), NOW))[0]
    out = made.play(KEY, request(digest="other"), NOW)
    (conflict,) = events(out)
    assert conflict.decision is not None
    assert conflict.decision.reason == "idempotency_conflict"
    assert conflict.event_id != first.event_id
    assert made.play(KEY, request(digest="other", at=NOW + 5), NOW + 5) == out


def test_a_request_waits_for_its_time_and_is_decided_afresh() -> None:
    made = world()
    (waits,) = events(made.play(KEY, request(not_before_ms=NOW + HOUR), NOW))
    assert waits.decision is not None
    assert (waits.decision.outcome, waits.decision.final) == ("defer", False)
    made.fire(NOW + HOUR)
    decided = made.send_events()[-1]
    assert decided.decision is not None
    assert (decided.decision.outcome, decided.seq, decided.event_id) == ("allow", 2, "r1#1:decided")
    assert sum(o.topic is SEND_COMMANDS for o in made.out) == 1
    again = made.play(KEY, request(not_before_ms=NOW + HOUR, at=NOW + 2 * HOUR), NOW + 2 * HOUR)
    assert events(again)[0] == decided


def test_requests_that_wait_for_each_other_both_go_in_the_end() -> None:
    made = world()
    made.play(KEY, request("a", not_before_ms=NOW + HOUR, after_request_id="c"), NOW)
    made.play(KEY, request("b", after_request_id="a"), NOW)
    made.play(KEY, request("c", after_request_id="b"), NOW)
    for command, at in (("a#1", 2), ("b#1", 3), ("c#1", 4)):
        made.fire(NOW + at * HOUR)
        made.play(KEY, status("delivered", command, NOW + at * HOUR), NOW + at * HOUR)
    assert [out.id for out in made.out if out.topic is SEND_COMMANDS] == ["a#1", "b#1", "c#1"]


def test_two_requests_due_at_once_are_both_decided() -> None:
    made = world()
    for id_ in ("r1", "r2"):
        made.play(KEY, request(id_, not_before_ms=NOW + HOUR), NOW)
    made.fire(NOW + HOUR)
    assert sum(o.topic is SEND_COMMANDS for o in made.out) == 2


def test_a_malformed_request_is_refused_and_leaves_no_state() -> None:
    made = world()
    event = RequestMalformed(
        event_id="r1:malformed",
        at_ms=NOW,
        request_id="r1",
        problems=["message.to: missing"],
        fields=[FieldProblem(path="message.to", expected="missing")],
    )
    (out,) = made.play("malformed:r1", event, NOW)
    assert out.beside_source
    (refusal,) = events((out,))
    assert refusal.decision is not None
    assert refusal.decision.reason == "malformed"
    assert refusal.error is not None
    assert refusal.error.message == "message.to: missing"
    assert refusal.error.fields == event.fields
    assert made.states == {}


def test_a_request_that_is_parked_is_refused_too() -> None:
    made = world()
    value = encode(request())
    (out,) = made.fold.malformed(KEY, value, "KeyError: 'Mars/Olympus'")
    assert steps((out,)) == ["decided"]
    assert made.fold.malformed(KEY, b"{", "not JSON") == ()
    assert made.fold.malformed(KEY, b'{"event":"StatusReceived"}', "x") == ()


def test_a_state_of_an_older_version_is_read_with_defaults() -> None:
    made = world()
    assert made.fold.decode_state(msgspec.msgpack.encode([1, "N1", USER])) == State(1, "N1", USER)


def test_a_silent_replay_decides_nothing_whose_answer_it_cannot_find() -> None:
    made = world(paused=True)
    made.play(KEY, request(expires_ms=NOW + 1000), NOW)
    made.play(KEY, request("r2"), NOW)
    rebuilt = world()
    rebuilt.replay(replace(record, out=()) for record in made.log)
    rebuilt.fire(NOW + 10 * DAY)
    assert rebuilt.out == []
