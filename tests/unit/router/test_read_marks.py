"""Read marks: decided at once, outside of windows, prices and limits; over with Meta's answer."""

import msgspec
import pytest

from shared.events import SendAccepted, SendEvent, SendFailed, SendMessage, SendUncertain, decode_command
from shared.stream.fold import Outgoing
from shared.topics import SEND_COMMANDS
from shared.uncertain import WAIT_MS
from tests.unit.router.make import (
    HOUR,
    KEY,
    NOW,
    USER,
    events,
    fact,
    received,
    request,
    state,
    status,
    steps,
    world,
)
from tests.unit.router.world import World

BODY = msgspec.Raw(
    b'{"messaging_product":"whatsapp","to":"+4915110000010","status":"read","message_id":"wamid.in"}'
)


def marked(made: World, id_: str = "m1", at: int = NOW) -> tuple[Outgoing, ...]:
    asked = request(id_, None, at, message=BODY, digest=id_, marks="wamid.in")
    return made.play(KEY, msgspec.structs.replace(asked, type="read_mark"), at)


def commands(out: tuple[Outgoing, ...]) -> list[SendMessage]:
    return [decode_command(o.value) for o in out if o.topic is SEND_COMMANDS]


def taken(made: World, command: str = "m1#1", at: int = NOW + 1000) -> list[SendEvent]:
    done = SendAccepted(event_id=f"{command}:accepted", at_ms=at, command_id=command, wamid="", user=USER)
    return events(made.play(KEY, done, at))


def test_a_read_mark_is_allowed_at_once_without_window_price_or_place() -> None:
    made = world(payment_method="missing", messaging_limit=0)
    out = marked(made)
    [event] = events(out)
    decision = event.decision
    assert decision is not None
    assert (decision.outcome, decision.reason, decision.category) == ("allow", "ok", "service")
    assert (decision.price, decision.conversation, decision.tier, decision.free_left) == (
        None,
        None,
        None,
        None,
    )
    [command] = commands(out)
    assert (command.priority, command.marks, command.endpoint) == (1, "wamid.in", "messages")
    assert command.valid_until_ms == NOW + 4 * HOUR
    assert bytes(command.message) == bytes(BODY)


def test_its_life_ends_with_metas_answer() -> None:
    made = world()
    marked(made)
    [event] = taken(made)
    assert (event.event, event.request_id, event.wamid, event.seq) == ("accepted", "m1", None, 2)
    after = state(made)
    assert after is not None
    assert after.lives == ()
    assert [(stone.wamid, stone.request) for stone in after.ended] == [(b"", "m1")]
    assert taken(made) == []
    assert made.play(KEY, status("delivered", "m1#1"), NOW + 2000) == ()


def test_a_repeated_one_is_answered_again_and_sent_once() -> None:
    made = world()
    first = marked(made)
    again = marked(made)
    assert [o.value for o in again] == [first[0].value]


def test_one_of_unknown_outcome_ends_as_failed_with_its_reason() -> None:
    made = world()
    marked(made)
    lost = SendUncertain(event_id="m1#1:uncertain", at_ms=NOW + 1, command_id="m1#1", cause="TimeoutError")
    [event] = events(made.play(KEY, lost, NOW + 1))
    assert event.event == "failed"
    assert event.error is not None
    assert (event.error.reason, event.error.origin) == ("read_mark_unanswered", "transport")
    assert taken(made) == []


def test_one_of_which_nobody_hears_ends_by_itself() -> None:
    made = world()
    marked(made)
    made.fire(NOW + 4 * HOUR + WAIT_MS)
    assert [event.event for event in made.send_events()] == ["decided", "failed"]
    after = state(made)
    assert after is not None
    assert after.lives == ()


def test_one_that_meta_refuses_fails_with_metas_reason() -> None:
    made = world()
    marked(made)
    refused = SendFailed(
        event_id="m1#1:failed", at_ms=NOW, command_id="m1#1", origin="meta", reason="request_wrong", retryable=False, code=100
    )  # fmt: skip
    [event] = events(made.play(KEY, refused, NOW))
    assert event.error is not None
    assert (event.event, event.error.code) == ("failed", 100)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"status": "disabled"}, "account_restricted"), ({"paused": True}, "paused_by_operator")],
)
def test_an_account_that_may_do_nothing_marks_nothing(fields: dict[str, object], reason: str) -> None:
    [event] = events(marked(world(**fields)))
    assert event.decision is not None
    assert (event.decision.outcome, event.decision.reason) == ("reject", reason)


def test_a_restriction_of_messages_does_not_hold_back_a_mark() -> None:
    restrictions = {
        "RESTRICTED_BIZ_INITIATED_MESSAGING": None,
        "RESTRICTED_CUSTOMER_INITIATED_MESSAGING": None,
    }
    assert commands(marked(world(restrictions=restrictions)))


def test_a_message_in_flight_shares_no_conversation_with_a_mark() -> None:
    made = world()
    made.play(KEY, received(), NOW)
    marked(made)
    [event] = events(made.play(KEY, request("r1", None), NOW))
    assert event.decision is not None
    assert event.decision.conversation is not None
    assert event.decision.conversation.action == "open"


def test_an_answer_can_wait_for_the_mark() -> None:
    made = world()
    made.play(KEY, received(), NOW)
    marked(made)
    asked = request("r1", None, after_request_id="m1", expires_ms=NOW + HOUR)
    assert [event.decision and event.decision.outcome for event in events(made.play(KEY, asked, NOW))] == [
        "defer"
    ]
    taken(made)
    made.fire(NOW + 2000)
    assert steps(tuple(made.out))[-1] == "decided"
    assert len(commands(tuple(made.out))) == 2


def test_a_silent_replay_comes_to_the_same_state() -> None:
    made = world()
    made.play(KEY, received(), NOW)
    marked(made)
    made.play(KEY, request("r1", None), NOW)
    taken(made, at=NOW + 5)
    states, log = dict(made.states), list(made.log)
    made.states.clear()
    made.timers.clear()
    made.know(fact("account", "W1", paused=True))
    made.replay(log)
    assert made.states == states
