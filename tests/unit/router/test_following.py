"""A request that is to follow another one: it goes once that one is delivered, and not at all if that one never is."""

from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from shared.events import Decision, SendAccepted, SendFailed, SendUncertain, TemplateRef
from shared.topics import SEND_COMMANDS
from tests.unit.router.make import HOUR, KEY, NOW, USER, accepted, events, received, request, status, world
from tests.unit.router.test_waiting import DAY, cancel, told
from tests.unit.router.world import World


def chain(**more: Any) -> World:
    """r1 is on its way, and r2 is to follow it."""
    made = world()
    made.play(KEY, request("r1"), NOW)
    made.play(KEY, request("r2", "order_update", after_request_id="r1", **more), NOW)
    return made


def commands(made: World) -> list[str]:
    return [out.id for out in made.out if out.topic is SEND_COMMANDS and out.type == "SendMessage"]


def refusal(made: World) -> tuple[str, str | None]:
    event = [e for e in made.send_events() if e.request_id == "r2"][-1]
    assert event.decision is not None
    assert event.error is not None
    return event.decision.reason, event.error.message


def failed(command: str, reason: str = "x") -> SendFailed:
    return SendFailed(
        event_id="f", at_ms=NOW, command_id=command, origin="policy", reason=reason, retryable=False
    )


def test_it_waits_until_the_other_is_delivered_not_only_accepted_or_sent() -> None:
    made = chain()
    made.play(KEY, accepted(), NOW)
    made.play(KEY, status("sent"), NOW)
    made.fire(NOW + DAY)
    assert commands(made) == ["r1#1"]
    made.play(KEY, status("delivered", at=NOW + DAY), NOW + DAY)
    made.fire(NOW + DAY)
    assert commands(made) == ["r1#1", "r2#1"]


def test_one_that_is_delivered_already_is_not_waited_for_even_once_it_is_read() -> None:
    made = world()
    made.play(KEY, request("r1"), NOW)
    made.play(KEY, status("read"), NOW)
    made.play(KEY, request("r2", "order_update", after_request_id="r1"), NOW)
    assert commands(made) == ["r1#1", "r2#1"]


@pytest.mark.parametrize(
    "ending",
    [
        [failed("r1#1")],
        [failed("r1#1", "expired")],
        [cancel("r1", NOW), failed("r1#1", "cancelled")],
        [accepted(), status("failed", error_code=131026)],
    ],
)
def test_it_is_refused_once_the_other_has_failed_or_was_taken_back(ending: list[Any]) -> None:
    made = chain()
    for event in ending:
        made.play(KEY, event, NOW + 1)
    made.fire(NOW + 1000)
    assert told(made, "r2") == [("defer", "ok"), ("reject", "predecessor_failed")]
    assert refusal(made) == ("predecessor_failed", "r1 was refused, cancelled or failed")


def test_it_waits_for_a_message_of_unknown_outcome_and_is_refused_when_that_is_given_up() -> None:
    made = world()
    made.play(KEY, request("r1", "login_code"), NOW)
    made.play(KEY, request("r2", "order_update", after_request_id="r1"), NOW)
    made.play(KEY, SendUncertain(event_id="u", at_ms=NOW, command_id="r1#1", cause="timeout"), NOW)
    made.fire(NOW + 14 * 60_000)
    assert told(made, "r2") == [("defer", "ok")]
    made.fire(NOW + 16 * 60_000)
    assert told(made, "r2")[-1] == ("reject", "predecessor_failed")


@pytest.mark.parametrize("first", [{"template": "promo", "expires_ms": NOW}, {"template": None}])
def test_it_is_refused_where_the_other_was(first: dict[str, Any]) -> None:
    made = world()
    made.play(KEY, request("r1", **first), NOW)
    made.play(KEY, request("r2", "order_update", after_request_id="r1"), NOW)
    assert told(made, "r2") == [("reject", "predecessor_failed")]


def test_it_is_refused_when_the_other_waits_in_vain() -> None:
    made = world()
    made.play(KEY, request("r1", not_before_ms=NOW + HOUR), NOW)
    made.play(KEY, request("r2", "order_update", after_request_id="r1"), NOW)
    made.play(KEY, cancel("r1", NOW + 1), NOW + 1)
    made.fire(NOW + 2)
    assert told(made, "r2") == [("defer", "ok"), ("reject", "predecessor_failed")]


def test_where_nobody_knows_the_other_it_is_refused_and_told_so() -> None:
    made = world()
    made.play(KEY, request("r2", after_request_id="elsewhere"), NOW)
    assert refusal(made) == ("predecessor_failed", "no request elsewhere to this receiver is known")


@pytest.mark.parametrize("first", [[], [request("r1", None)]])
def test_the_business_can_have_it_sent_in_any_case(first: list[Any]) -> None:
    made = world()
    for event in first:
        made.play(KEY, event, NOW)
    made.play(KEY, request("r2", "order_update", after_request_id="r1", after_failed="send"), NOW)
    assert told(made, "r2") == [("allow", "ok")]


def test_it_keeps_its_own_expiry_while_it_waits() -> None:
    made = chain(expires_ms=NOW + HOUR)
    made.play(KEY, accepted(), NOW)
    made.fire(NOW + HOUR)
    assert told(made, "r2") == [("defer", "ok"), ("reject", "request_expired")]


def reaction(sent: bool = True) -> World:
    """r1 is a reaction, of which Meta says `sent` and no more, and r2 is to follow it."""
    made = world()
    made.play(KEY, received(), NOW)
    made.play(KEY, replace(request("r1", None), type="reaction"), NOW)
    made.play(KEY, request("r2", None, after_request_id="r1"), NOW)
    made.play(KEY, accepted(), NOW)
    assert commands(made) == ["r1#1"]
    if sent:
        made.play(KEY, status("sent"), NOW + 1000)
        made.fire(NOW + 1000)
    return made


def test_a_reaction_has_arrived_once_it_is_sent() -> None:
    assert commands(reaction()) == ["r1#1", "r2#1"]


def test_who_follows_a_reaction_that_was_sent_before_need_not_wait() -> None:
    made = reaction()
    made.play(KEY, request("r3", None, after_request_id="r1"), NOW + HOUR)
    assert commands(made)[-1] == "r3#1"


def test_a_reaction_that_fails_after_all_lets_nobody_follow() -> None:
    made = reaction(sent=False)
    made.play(KEY, status("failed", error_code=131009), NOW + 1000)
    made.fire(NOW + 1000)
    assert told(made, "r2")[-1] == ("reject", "predecessor_failed")


def test_the_fallback_that_goes_out_instead_of_a_reaction_must_be_delivered() -> None:
    made = world()
    asked = request("r1", None, fallback=Raw(b"{}"), fallback_ref=TemplateRef("order_update", "en"))
    made.play(KEY, replace(asked, type="reaction"), NOW)
    made.play(KEY, request("r2", "order_update", after_request_id="r1"), NOW)
    made.play(KEY, accepted(), NOW)
    made.play(KEY, status("sent"), NOW + 1000)
    made.fire(NOW + 1000)
    assert commands(made) == ["r1#1"]


def test_a_read_mark_has_arrived_once_meta_has_taken_it() -> None:
    made = world()
    made.play(KEY, received(), NOW)
    made.play(KEY, request("r1", None, marks="wamid.in"), NOW)
    made.play(KEY, request("r2", None, after_request_id="r1"), NOW)
    assert commands(made) == ["r1#1"]
    made.play(KEY, SendAccepted(event_id="a", at_ms=NOW, command_id="r1#1", wamid="", user=USER), NOW)
    made.fire(NOW)
    assert commands(made) == ["r1#1", "r2#1"]


def test_it_waits_thirty_days_at_most() -> None:
    made = chain()
    made.play(KEY, accepted(), NOW)
    made.fire(NOW + 30 * DAY - 1)
    assert told(made, "r2") == [("defer", "ok")]
    made.fire(NOW + 30 * DAY)
    assert refusal(made) == ("predecessor_failed", "r1 was not delivered in 30 days")


def test_a_chain_of_three_goes_in_order_and_breaks_where_one_fails() -> None:
    made = chain()
    made.play(KEY, request("r3", "order_update", after_request_id="r2"), NOW)
    made.play(KEY, status("delivered", at=NOW + 1), NOW + 1)
    made.fire(NOW + 1)
    assert commands(made) == ["r1#1", "r2#1"]
    made.play(KEY, failed("r2#1"), NOW + 2)
    made.fire(NOW + 2)
    assert told(made, "r3") == [("defer", "ok"), ("reject", "predecessor_failed")]


def test_what_changes_while_it_waits_is_checked_when_it_goes() -> None:
    made = world()
    made.play(KEY, received(), NOW)
    made.play(KEY, request("r1"), NOW)
    made.play(KEY, request("r2", None, after_request_id="r1"), NOW)
    made.play(KEY, accepted(), NOW)
    made.play(KEY, status("delivered", at=NOW + 2 * DAY), NOW + 2 * DAY)
    made.fire(NOW + 2 * DAY)
    assert told(made, "r2") == [("defer", "ok"), ("reject", "window_closed")]


def test_a_dry_run_tells_that_it_would_wait() -> None:
    made = world()
    made.play(KEY, request("r1"), NOW)
    (dry,) = events(made.play(KEY, request("r2", after_request_id="r1", dry_run=True), NOW))
    assert isinstance(dry.decision, Decision)
    assert (dry.decision.outcome, dry.decision.final) == ("defer", True)


def test_a_silent_replay_comes_to_the_same() -> None:
    made = chain()
    made.play(KEY, status("delivered"), NOW + 1)
    made.fire(NOW + HOUR)
    again = world(paused=True)
    again.replay(made.log)
    assert again.states == made.states
