"""What Meta refuses for now is decided anew when the error table says so, while the request still matters; else it fails, and is told when to come again."""

from typing import Any

import pytest
from msgspec import structs
from msgspec.structs import replace

from services.router.fold import RouterFold
from services.router.meta_errors import MetaErrors
from services.router.uncertain import Resending
from services.sender.answers import Refused
from services.sender.judge import End, expired, judge
from shared.error_table import ErrorTable
from shared.events import SendEvent, SendFailed, SendUncertain, decode_command
from shared.ids import conversation_key
from shared.times import rfc3339
from shared.topics import SEND_COMMANDS
from shared.uncertain import RESENT, WAIT_MS, Uncertain, member_of, of_member
from tests.unit.router.make import HOUR, KEY, NOW, accepted, events, fact, received, request, status, world
from tests.unit.router.test_waiting import DAY, MINUTE, cancel, decision
from tests.unit.router.world import CONFIG, World, book, words

TABLE = ErrorTable.load(CONFIG / "errors.yaml")
SYNCING, CAPPED, OVERLOADED = 134101, 131049, 131016
ENDLESS = 10**6
"""More tries of the sender than any row of the table has."""


def commands(made: World) -> list[str]:
    return [out.id for out in made.out if out.type == "SendMessage"]


def refuse(made: World, command: str = "r1#1", code: int = SYNCING, at: int = NOW, tries: int = 1) -> None:
    """Let Meta refuse a command, and the sender say what the error table makes of it."""
    sent = next(decode_command(out.value) for out in made.out if out.id == command)
    said = judge(Refused(400, code, "no"), sent, tries, TABLE, at)
    assert isinstance(said, End)
    assert isinstance(said.event, SendFailed)
    made.play(sent.conversation_key, said.event, at)


def refused(code: int = SYNCING, tries: int = 1, **more: Any) -> World:
    """A request that Meta refuses at once."""
    made = world(**more.pop("account", {}))
    made.play(KEY, request("r1", more.pop("template", "promo"), **more), NOW)
    refuse(made, code=code, tries=tries)
    return made


def told(made: World, request_id: str = "r1") -> list[str]:
    return [
        event.event if event.decision is None else f"{event.event} {event.decision.outcome}"
        for event in made.send_events()
        if event.request_id == request_id
    ]


def last(made: World) -> SendEvent:
    return made.send_events()[-1]


def reason(event: SendEvent) -> str | None:
    return event.error.reason if event.error is not None else None


def held(made: World) -> dict[str, int]:
    """What is held of each limit."""
    found = {
        name: sum(place.weight for place in scope.places.values())
        for name, scope in made.claims.scopes.items()
    }
    return {name: weight for name, weight in found.items() if weight}


def test_a_template_that_is_still_syncing_is_sent_when_it_may_be_there() -> None:
    made = refused(expires_ms=NOW + DAY)
    waits = last(made)
    assert (decision(waits).outcome, decision(waits).final) == ("defer", False)
    assert (decision(waits).reason, decision(waits).not_before_at) == (
        "refused_for_now",
        rfc3339(NOW + 10 * MINUTE),
    )
    assert waits.error is not None
    assert (waits.error.origin, waits.error.reason, waits.error.code) == ("meta", "template_syncing", SYNCING)
    assert (waits.error.retryable, waits.error.retry_at) == (True, rfc3339(NOW + 10 * MINUTE))
    made.fire(NOW + 10 * MINUTE - 1)
    assert commands(made) == ["r1#1"]
    made.fire(NOW + 10 * MINUTE)
    made.play(KEY, accepted("r1#2"), NOW + 10 * MINUTE)
    made.play(KEY, status("delivered", "r1#2", NOW + 11 * MINUTE), NOW + 11 * MINUTE)
    assert commands(made) == ["r1#1", "r1#2"]
    assert told(made) == ["decided allow", "decided defer", "decided allow", "accepted", "delivered"]
    mine = made.send_events()
    assert [event.seq for event in mine] == [1, 2, 3, 4, 5]
    assert len({event.event_id for event in mine}) == len(mine)


@pytest.mark.parametrize(
    ("code", "tries", "after"),
    [
        (132069, 1, HOUR),
        (CAPPED, 1, DAY),
        (130429, 8, MINUTE),
        (131056, 5, 256_000),
        (131057, 5, MINUTE),
        (2, 6, 64_000),
        (OVERLOADED, 6, 64_000),
        (133004, 6, 64_000),
        (4, 5, 5 * MINUTE),
        (80007, 5, 5 * MINUTE),
        (80008, 5, 5 * MINUTE),
    ],
)
def test_each_row_that_defers_says_for_how_long(code: int, tries: int, after: int) -> None:
    made = refused(code, tries, expires_ms=NOW + 2 * DAY)
    assert decision(last(made)).not_before_at == rfc3339(NOW + after)
    made.fire(NOW + after - 1)
    assert commands(made) == ["r1#1"]
    made.fire(NOW + after)
    assert commands(made) == ["r1#1", "r1#2"]


def expired_at_the_sender(**more: Any) -> World:
    """A request that found no way out in all the time that its command had."""
    made = world()
    made.play(KEY, request("r1", "promo", **more), NOW)
    sent = next(decode_command(out.value) for out in made.out if out.id == "r1#1")
    late = sent.valid_until_ms + 1
    made.play(KEY, expired("r1#1", late).event, late)
    return made


def test_what_could_not_leave_in_four_hours_is_decided_anew_while_it_matters() -> None:
    made = expired_at_the_sender(expires_ms=NOW + 2 * DAY)
    assert told(made) == ["decided allow", "decided defer"]
    error = last(made).error
    assert error is not None
    again = rfc3339(NOW + 4 * HOUR + MINUTE + 1)
    assert (error.reason, error.retryable, error.retry_at) == ("expired", True, again)
    made.fire(NOW + 4 * HOUR + MINUTE)
    assert commands(made) == ["r1#1"]
    made.fire(NOW + 4 * HOUR + MINUTE + 1)
    assert commands(made) == ["r1#1", "r1#2"]


@pytest.mark.parametrize("expires", [None, NOW + HOUR, NOW + 4 * HOUR + MINUTE])
def test_what_could_not_leave_and_matters_no_more_has_failed(expires: int | None) -> None:
    made = expired_at_the_sender(expires_ms=expires)
    assert told(made) == ["decided allow", "failed"]
    assert reason(last(made)) == "expired"


@pytest.mark.parametrize("expires", [None, NOW + 10 * MINUTE])
def test_one_that_would_not_matter_by_then_fails_and_is_told_when_to_come_again(expires: int | None) -> None:
    made = refused(expires_ms=expires)
    assert told(made) == ["decided allow", "failed"]
    error = last(made).error
    assert error is not None
    assert (error.reason, error.retryable, error.retry_at) == (
        "template_syncing",
        True,
        rfc3339(NOW + 10 * MINUTE),
    )
    made.fire(NOW + DAY)
    assert commands(made) == ["r1#1"]


@pytest.mark.parametrize(("code", "tries"), [(131026, 1), (131000, ENDLESS), (131048, 1)])
def test_what_the_table_does_not_defer_fails_as_ever(code: int, tries: int) -> None:
    made = refused(code, tries, expires_ms=NOW + DAY)
    assert told(made) == ["decided allow", "failed"]
    error = last(made).error
    assert error is not None
    assert error.retry_at is None


def test_rounds_end_with_the_request_and_each_waits_its_time() -> None:
    made = refused(expires_ms=NOW + HOUR)
    for nth in range(2, 7):
        at = NOW + (nth - 1) * 10 * MINUTE
        made.fire(at)
        assert commands(made)[-1] == f"r1#{nth}"
        refuse(made, f"r1#{nth}", at=at)
    assert told(made) == ["decided allow", "decided defer"] * 5 + ["decided allow", "failed"]
    assert (reason(last(made)), held(made)) == ("template_syncing", {})
    made.fire(NOW + DAY)
    assert len(commands(made)) == 6


def test_while_it_waits_it_holds_nothing_and_then_everything_once() -> None:
    budgets = [{"category": None, "amount_micros": 10_000_000}]
    made = world(budgets=budgets)
    made.play(KEY, request("r1", expires_ms=NOW + DAY), NOW)
    before = held(made)
    assert len(before) == 2
    refuse(made)
    assert held(made) == {}
    made.fire(NOW + 10 * MINUTE)
    assert held(made) == before
    made.play(KEY, accepted("r1#2"), NOW + 10 * MINUTE)
    made.play(KEY, status("delivered", "r1#2", NOW + 11 * MINUTE), NOW + 11 * MINUTE)
    assert held(made) == before
    assert [event.charge.counted for event in made.send_events() if event.charge is not None] == [True]


def test_its_place_in_the_free_tier_is_given_back_and_asked_for_again() -> None:
    made = world()
    made.play(KEY, received(), NOW)
    made.play(KEY, request("r1", None, expires_ms=NOW + DAY), NOW)
    before = held(made)
    assert [name.split(":")[0] for name in before] == ["free"]
    refuse(made, code=OVERLOADED, tries=6)
    assert held(made) == {}
    made.fire(NOW + HOUR)
    assert held(made) == before


def test_one_that_waits_is_taken_back_as_any_other() -> None:
    made = refused(expires_ms=NOW + DAY)
    first = made.play(KEY, cancel("r1", NOW + 1), NOW + 1)
    (answer,) = events(first)
    assert (answer.event_id, decision(answer).outcome, decision(answer).reason) == (
        "r1#2:decided",
        "reject",
        "cancelled",
    )
    assert made.play(KEY, cancel("r1", NOW + 2), NOW + 2) == first
    made.fire(NOW + DAY)
    assert commands(made) == ["r1#1"]


def test_one_that_was_taken_back_on_its_way_does_not_wait() -> None:
    made = world()
    made.play(KEY, request("r1", expires_ms=NOW + DAY), NOW)
    made.play(KEY, cancel("r1", NOW + 1), NOW + 1)
    refuse(made, at=NOW + 2)
    assert told(made) == ["decided allow", "failed"]


def test_the_same_request_again_is_told_what_stands() -> None:
    made = refused(expires_ms=NOW + 2 * DAY)
    waits = last(made)
    asked = request("r1", expires_ms=NOW + 2 * DAY)
    assert events(made.play(KEY, asked, NOW + 1)) == [waits]
    made.fire(NOW + 10 * MINUTE)
    goes = last(made)
    assert goes.event_id == "r1#2:decided"
    assert events(made.play(KEY, asked, NOW + HOUR)) == [goes]
    made.fire(NOW + DAY + HOUR)
    (short,) = events(made.play(KEY, asked, NOW + DAY + HOUR))
    assert (short.event_id, decision(short).outcome) == ("r1#2:decided", "allow")
    assert len(commands(made)) == 2


def test_the_whole_decision_is_made_anew() -> None:
    made = refused(expires_ms=NOW + DAY)
    made.know(fact("account", "W1", paused=True))
    made.fire(NOW + HOUR)
    assert (decision(last(made)).outcome, decision(last(made)).reason) == ("defer", "paused_by_operator")
    made.know(fact("account", "W1", paused=False))
    made.fire(NOW + 2 * HOUR)
    assert commands(made) == ["r1#1", "r1#2"]
    made.play(KEY, request("r3", None, expires_ms=NOW + DAY), NOW + 2 * HOUR)
    assert decision(last(made)).reason == "window_closed"


def test_an_answer_whose_window_has_closed_meanwhile_is_refused() -> None:
    made = world()
    made.play(KEY, received(at=NOW - DAY + MINUTE), NOW)
    made.play(KEY, request("r1", None, expires_ms=NOW + DAY), NOW)
    refuse(made, code=OVERLOADED, tries=6)
    made.fire(NOW + HOUR)
    assert told(made) == ["decided allow", "decided defer", "decided reject"]
    assert decision(last(made)).reason == "window_closed"


def test_whom_it_follows_has_arrived_and_is_not_asked_for_again() -> None:
    made = world()
    made.play(KEY, request("r0", "order_update"), NOW)
    made.play(KEY, status("read", "r0#1"), NOW)
    made.play(KEY, request("r1", after_request_id="r0", expires_ms=NOW + 30 * DAY), NOW)
    for nth in range(1, 11):
        refuse(made, f"r1#{nth}", CAPPED, NOW + (nth - 1) * DAY)
        made.fire(NOW + nth * DAY)
    assert commands(made)[-1] == "r1#11"


def test_who_follows_it_waits_on() -> None:
    made = refused(expires_ms=NOW + DAY)
    made.play(KEY, request("r2", "order_update", after_request_id="r1"), NOW + 1)
    made.fire(NOW + 10 * MINUTE)
    assert told(made, "r2") == ["decided defer"]
    made.play(KEY, status("delivered", "r1#2", NOW + 11 * MINUTE), NOW + 11 * MINUTE)
    made.fire(NOW + 11 * MINUTE)
    assert told(made, "r2") == ["decided defer", "decided allow"]


def test_one_that_may_have_gone_out_before_is_not_sent_a_third_time() -> None:
    made = world()
    made.play(KEY, request("r1", expires_ms=NOW + DAY), NOW)
    made.play(KEY, SendUncertain(event_id="u", at_ms=NOW, command_id="r1#1", cause="timeout"), NOW)
    made.fold.resending.heard.note("N1", NOW + 1, NOW + MINUTE)
    made.fire(NOW + WAIT_MS)
    refuse(made, "r1#2", at=NOW + WAIT_MS)
    made.fire(NOW + DAY)
    assert commands(made) == ["r1#1", "r1#2"]
    assert told(made)[-1] == "failed"


def test_one_that_is_lost_after_it_was_put_off_is_still_sent_once_more() -> None:
    made = refused(expires_ms=NOW + DAY, account={"budgets": [{"category": None, "amount_micros": 10**7}]})
    at = NOW + 10 * MINUTE
    made.fire(at)
    before = held(made)
    made.play(KEY, SendUncertain(event_id="u", at_ms=at, command_id="r1#2", cause="timeout"), at)
    assert [of_member(member.encode()).chances for member in made.uncertain] == [1]
    made.fold.resending.heard.note("N1", at + 1, at + MINUTE)
    made.fire(at + WAIT_MS)
    assert commands(made) == ["r1#1", "r1#2", "r1#3"]
    assert held(made) == before
    made.play(KEY, status("delivered", "r1#3", at + HOUR), at + HOUR)
    assert held(made) == before
    assert made.uncertain == {}


def test_without_deferrals_an_open_message_stands_in_the_index_as_the_version_before_wrote_it() -> None:
    open_ = Uncertain("N1", "491", "r1#1", "utility", "timeout", 1, 2)
    assert member_of(open_) == '["N1","491","r1#1","utility","timeout",1,2,false]'
    later = structs.replace(open_, command_id="r1#3", deferrals=2)
    assert of_member(member_of(later).encode()) == later
    assert later.chances == 1


def test_a_read_mark_fails_and_is_told_when_to_come_again() -> None:
    made = world()
    made.play(KEY, received(), NOW)
    made.play(KEY, request("r1", None, marks="wamid.in", expires_ms=NOW + DAY), NOW)
    refuse(made, code=OVERLOADED, tries=6)
    assert told(made) == ["decided allow", "failed"]
    error = last(made).error
    assert error is not None
    assert error.retry_at == rfc3339(NOW + 64_000)


# --- what Meta had taken already


def capped(**more: Any) -> World:
    """A message that Meta takes, and then holds back from a user who gets enough marketing."""
    made = world()
    made.play(KEY, request("r1", **more), NOW)
    made.play(KEY, accepted(), NOW)
    made.play(KEY, status("failed", error_code=CAPPED, error_text="no"), NOW + 1000)
    return made


def test_what_meta_took_and_held_back_is_sent_anew_a_day_later() -> None:
    made = capped(expires_ms=NOW + 3 * DAY)
    waits = last(made)
    assert (decision(waits).outcome, decision(waits).not_before_at) == ("defer", rfc3339(NOW + DAY + 1000))
    assert (reason(waits), waits.wamid) == ("marketing_capped", "wamid.r1#1")
    assert waits.meta is not None
    assert held(made) == {}
    made.fire(NOW + DAY + 1000)
    assert commands(made) == ["r1#1", "r1#2"]
    made.play(KEY, accepted("r1#2", NOW + DAY + 1000), NOW + DAY + 1000)
    made.play(KEY, status("delivered", "r1#2", NOW + DAY + 2000), NOW + DAY + 2000)
    assert told(made) == [
        "decided allow", "accepted", "decided defer", "decided allow", "accepted", "delivered",
    ]  # fmt: skip


def test_what_was_to_be_taken_back_from_meta_is_not_sent_anew() -> None:
    made = world()
    made.play(KEY, request("r1", expires_ms=NOW + 3 * DAY), NOW)
    made.play(KEY, accepted(), NOW)
    made.play(KEY, cancel("r1", NOW + 1), NOW + 1)
    made.play(KEY, status("failed", error_code=CAPPED), NOW + 1000)
    assert told(made) == ["decided allow", "accepted", "decided allow", "failed"]


def test_the_first_message_is_over_then_whatever_comes_of_it() -> None:
    made = capped(expires_ms=NOW + 3 * DAY)
    before, states = len(made.out), made.states.copy()
    made.play(KEY, status("failed", error_code=CAPPED), NOW + 2000)
    made.play(KEY, status("sent"), NOW + 2000)
    assert (len(made.out), made.states) == (before, states)


@pytest.mark.parametrize("expires", [None, NOW + DAY])
def test_without_time_left_it_fails_and_is_told_when_to_come_again(expires: int | None) -> None:
    made = capped(expires_ms=expires)
    assert told(made) == ["decided allow", "accepted", "failed"]
    error = last(made).error
    assert error is not None
    assert (error.reason, error.retry_at) == ("marketing_capped", rfc3339(NOW + DAY + 1000))


def test_a_status_that_comes_before_the_answer_puts_it_off_too() -> None:
    made = world()
    made.play(KEY, request("r1", expires_ms=NOW + 3 * DAY), NOW)
    made.play(KEY, status("failed", error_code=CAPPED), NOW + 1000)
    made.play(KEY, accepted(), NOW + 2000)
    assert told(made) == ["decided allow", "accepted", "decided defer"]


def test_a_request_is_kept_no_longer_than_it_may_be_needed() -> None:
    made = world()
    made.play(KEY, request("r1", expires_ms=NOW + 3 * DAY), NOW)
    made.play(KEY, request("r2"), NOW)
    for command in ("r1#1", "r2#1"):
        made.play(KEY, accepted(command), NOW)
    kept = {life.command: bool(life.request) for life in made.fold.decode_state(made.states[KEY]).lives}
    assert kept == {"r1#1": True, "r2#1": False}
    made.play(KEY, status("delivered"), NOW + 1000)
    assert not any(life.request for life in made.fold.decode_state(made.states[KEY]).lives)


@pytest.mark.parametrize("expires_ms", [NOW + 3 * HOUR, NOW + 3 * DAY])
def test_nor_after_its_own_time_if_it_is_not_delivered(expires_ms: int) -> None:
    made = world()
    made.play(KEY, request("r1", expires_ms=expires_ms), NOW)
    made.play(KEY, accepted(), NOW)
    made.fire(expires_ms + HOUR)
    assert not any(life.request for life in made.fold.decode_state(made.states[KEY]).lives)


# --- silent replays


@pytest.mark.parametrize("how", ["by the sender", "by a status"])
def test_a_silent_replay_comes_to_the_same_whatever_the_table_says_by_then(how: str) -> None:
    made = refused(expires_ms=NOW + 3 * DAY) if how == "by the sender" else capped(expires_ms=NOW + 3 * DAY)
    made.fire(NOW + 2 * DAY)
    made.play(KEY, accepted("r1#2", NOW + 2 * DAY), NOW + 2 * DAY)
    again = World(RouterFold(book(), MetaErrors({}), words(), Resending(RESENT, made.fold.resending.heard)))
    again.know(fact("account", "W1", regime="guide", messaging_limit=1, paused=True))
    silenced = again.replay(made.log)
    assert (again.states, again.timers) == (made.states, made.timers)
    assert held(again) == held(made)
    told_ = [out.value for record in made.log for out in record.out]
    assert [out.value for outs in silenced for out in outs] == [
        value
        for value, out in zip(told_, (out for record in made.log for out in record.out), strict=True)
        if out.topic is not SEND_COMMANDS
    ]


def test_what_an_earlier_version_let_fail_stays_failed_in_a_replay() -> None:
    made = world()
    made.play(KEY, request("r1"), NOW)
    made.play(KEY, accepted(), NOW)
    made.play(KEY, status("failed", error_code=CAPPED), NOW + 1000)
    patient = [replace_request(record) for record in made.log]
    again = world()
    again.replay(patient)
    assert not again.fold.decode_state(again.states[KEY]).deferred


def replace_request(record: Any) -> Any:
    """The record as if its request had said that it matters for long; what was told of it stays."""
    if record.event.event_id != "r1:requested":
        return record
    return type(record)(
        record.key, replace(record.event, expires_ms=NOW + 9 * DAY), record.now_ms, record.out
    )


def test_another_users_message_is_not_touched() -> None:
    made = world()
    other = conversation_key("N1", "4915110000011")
    made.play(other, request("r9", user="4915110000011", expires_ms=NOW + DAY), NOW)
    made.play(KEY, request("r1", expires_ms=NOW + DAY), NOW)
    refuse(made)
    made.fire(NOW + 10 * MINUTE)
    assert commands(made) == ["r9#1", "r1#1", "r1#2"]
