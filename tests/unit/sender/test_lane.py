"""One partition's dispatch, its outside world in memory."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from time import monotonic
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from services.sender import sending
from services.sender.answers import Accepted, Answer, NoAnswer, NotSent, Refused
from services.sender.breakers import Part
from services.sender.dispatch import Dispatcher
from services.sender.entry import claimed, decode_entry, encode_entry, queued, tombstone
from services.sender.intake import CANCELLED, EXPIRY, UNREPORTED, queue
from services.sender.journal import DELAYED, LINED, PAIRS, Verdict, line_member
from services.sender.lane import Lane
from services.sender.shares import Shares
from shared.events import AccountChanged, CancelMessage, Category, SendFailed, SendMessage, SendUncertain
from shared.times import HOUR_MS
from tests.unit.sender.fakes import NOW_MS, Office, ScriptedGraph, command


@pytest_asyncio.fixture
async def office() -> AsyncIterator[Office]:
    office = Office()
    yield office
    await office.close()


def serve(office: Office, epoch: int = 1) -> Lane:
    lane = Lane(0, epoch, office.desk)
    office.spawn(lane.run(), "lane")
    return lane


def answers(office: Office, **by_id: Answer) -> None:
    async def answer(command_id: str, body: dict[str, Any]) -> Answer:
        return by_id.get(command_id.partition("#")[0], Accepted(f"wamid.{command_id}", None, None))

    office.graph = ScriptedGraph(answer)
    office.desk.graph = office.graph


async def test_a_command_is_called_once_reported_and_leaves_a_tombstone(office: Office) -> None:
    one = command("r1")
    office.journal.take_in(one, one)
    serve(office)
    await office.until(lambda: decode_entry(office.journal.state["r1#1"]).finished)
    assert office.graph.calls == ["r1#1"]
    assert office.heard.kinds() == {"r1#1": ["SendAccepted"]}
    assert office.heard.keys == [one.conversation_key]
    assert not office.journal.sets[UNREPORTED]
    assert office.journal.sets[EXPIRY]["r1#1"] == one.valid_until_ms + 3_600_000


async def test_a_command_is_posted_to_its_endpoint(office: Office) -> None:
    one = msgspec.structs.replace(command("r1", category="marketing"), endpoint="marketing_messages")
    office.journal.take_in(one)
    serve(office)
    await office.until(lambda: decode_entry(office.journal.state["r1#1"]).finished)
    assert office.graph.endpoints == ["marketing_messages"]


async def test_a_read_mark_is_reported_once_taken_and_holds_up_no_message(office: Office) -> None:
    body = {"to": "+4915112345678", "status": "read", "message_id": "wamid.in"}
    marks = [
        msgspec.structs.replace(
            command(f"m{n}", user="4915112345678", category="service", message=body), marks="wamid.in"
        )
        for n in range(46)
    ]
    office.journal.take_in(*marks, command("r1", user="4915112345678"))
    serve(office)
    await office.until(lambda: "r1#1" in office.graph.calls)
    assert len(office.graph.marks) == 46
    assert office.heard.kinds()["m0#1"] == ["SendAccepted"]


def read_mark(request: str, user: str, at_ms: int = NOW_MS) -> SendMessage:
    body = {"status": "read", "message_id": "wamid.in", "typing_indicator": {"type": "text"}}
    one = command(request, user=user, category="service", message=body, at_ms=at_ms)
    return msgspec.structs.replace(one, marks="wamid.in")


async def test_a_read_mark_waits_for_no_message_of_its_user(office: Office) -> None:
    office.journal.sets[PAIRS]["1001:4915100000001"] = NOW_MS + 500_000
    office.journal.take_in(*(command(f"r{n}", user="4915100000001", category="service") for n in range(2)))
    lane = serve(office)
    await office.until(lambda: len(office.journal.sets[LINED]) == 2, "the pair is held")
    office.journal.take_in(read_mark("m", "4915100000001", NOW_MS + 1))
    lane.wake.set()
    await office.until(lambda: bool(office.graph.marks))
    assert not office.graph.calls


async def test_read_marks_wait_for_no_messages_of_others(office: Office) -> None:
    _set(office, "account", "10", paused_categories=["service"])
    held = [command(f"r{n:03}", user=f"49151{n:08}", category="service") for n in range(100)]
    office.journal.take_in(*held, *(read_mark(f"m{n}", f"49152{n:08}", NOW_MS + 1) for n in range(3)))
    serve(office)
    await office.until(lambda: len(office.graph.marks) == 3)
    assert not office.graph.calls


async def test_an_answer_does_not_overtake_the_typing_indicator_before_it(office: Office) -> None:
    typed, answered = asyncio.Event(), office.graph.send

    async def send(*args: Any, **kwargs: Any) -> Answer:
        if b"typing_indicator" in args[2]:
            await typed.wait()
        return await answered(*args, **kwargs)

    office.graph.send = send  # type: ignore[method-assign]
    office.journal.take_in(
        command("first", user="4915100000001", category="service", at_ms=NOW_MS - 1),
        read_mark("m", "4915100000001"),
        command("answer", user="4915100000001", category="service", at_ms=NOW_MS + 1),
        command("other", user="4915100000002", category="service", at_ms=NOW_MS + 2),
    )
    serve(office)
    await office.until(lambda: len(office.graph.calls) == 2)
    assert office.graph.calls == ["first#1", "other#1"]
    typed.set()
    await office.until(lambda: "answer#1" in office.graph.calls)
    assert office.graph.marks


async def test_a_read_mark_refused_for_its_pair_comes_back_and_stands_in_nobodys_line(office: Office) -> None:
    refusals = [Refused(400, 131056, None)]
    marked = office.graph.send

    async def send(*args: Any, **kwargs: Any) -> Answer:
        return refusals.pop() if refusals else await marked(*args, **kwargs)

    office.graph.send = send  # type: ignore[method-assign]
    office.journal.take_in(read_mark("m", "4915100000001"))
    lane = serve(office)
    await office.until(lambda: bool(office.journal.sets[DELAYED]))
    assert not refusals
    office.clock.advance(5)
    lane.wake.set()
    await office.until(lambda: len(office.graph.marks) == 1)
    assert not office.journal.sets[LINED]


@pytest.mark.parametrize("lined", [False, True])
async def test_a_read_mark_that_an_older_sender_queued_beside_messages_holds_up_nobody(
    office: Office, lined: bool
) -> None:
    office.journal.take_in(
        read_mark("m", "4915100000001"), command("r", user="4915100000001", category="service")
    )
    sets = office.journal.sets
    del sets[queue("1001", 1)]["m#1|m#1"]
    if lined:
        sets[LINED][line_member("1001", "4915100000001", 1, NOW_MS, "m#1")] = 0
    else:
        sets[queue("1001", 1)]["4915100000001|m#1"] = NOW_MS
    serve(office)
    await office.until(lambda: office.graph.calls == ["r#1"])
    assert len(office.graph.marks) == 1
    await office.until(lambda: not sets[LINED] and not sets[queue("1001", 1)])


async def test_a_tombstone_is_dropped_when_its_time_has_come(office: Office) -> None:
    office.journal.take_in(command("r1"))
    serve(office)
    await office.until(lambda: decode_entry(office.journal.state["r1#1"]).finished)
    office.clock.advance(600 + 3600 + 1)
    await office.until(lambda: not office.journal.state)
    assert not office.journal.sets[EXPIRY]


async def test_one_time_passwords_go_first_and_marketing_last(office: Office) -> None:
    office.journal.take_in(
        command("m", category="marketing"),
        command("u", category="utility"),
        command("s", category="service"),
        command("o", category="authentication"),
    )
    serve(office)
    await office.until(lambda: len(office.graph.calls) == 4)
    assert office.graph.calls == ["o#1", "s#1", "u#1", "m#1"]


async def test_a_user_never_has_two_messages_in_flight_and_gets_them_in_order(office: Office) -> None:
    office.journal.take_in(*(command(f"r{i}", user="4915100000001", at_ms=NOW_MS + i) for i in range(12)))
    serve(office)
    await office.until(lambda: len(office.heard.events) == 12)
    assert office.graph.doubled == []
    assert office.graph.calls == [f"r{i}#1" for i in range(12)]
    assert not office.journal.sets[LINED]


async def test_the_forty_sixth_message_to_a_user_waits_and_nobody_else_does(office: Office) -> None:
    office.journal.take_in(
        *(command(f"a{i:02}", user="4915100000001", at_ms=NOW_MS + i) for i in range(47)),
        command("other", at_ms=NOW_MS + 100),
    )
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 46)
    assert office.graph.calls.count("other#1") == 1
    assert "a45#1" not in office.graph.calls
    office.clock.advance(6.1)
    lane.wake.set()
    await office.until(lambda: "a45#1" in office.graph.calls)
    assert "a46#1" not in office.graph.calls


async def test_a_one_time_password_overtakes_its_user_s_own_line(office: Office) -> None:
    office.journal.take_in(*(command(f"a{i:02}", user="4915100000001", at_ms=NOW_MS + i) for i in range(50)))
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 45)
    await office.until(lambda: lane._numbers["1001"].schedule.next_due_ms() is not None, "the pair is held")
    office.journal.take_in(command("otp", user="4915100000001", category="authentication", at_ms=NOW_MS + 99))
    lane.wake.set()
    office.clock.advance(6.1)
    await office.until(lambda: len(office.graph.calls) == 46)
    assert office.graph.calls[-1] == "otp#1"


async def test_a_refusal_that_may_pass_is_tried_again_after_its_delay(office: Office) -> None:
    answers(office, r1=Refused(500, 131000, "something"))
    office.journal.take_in(command("r1"))
    lane = serve(office)
    await office.until(lambda: bool(office.journal.sets[DELAYED]))
    assert office.heard.events == []
    answers(office)
    office.clock.advance(2.1)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 1)
    assert office.heard.kinds() == {"r1#1": ["SendAccepted"]}


async def test_tries_run_out_as_the_table_says(office: Office) -> None:
    answers(office, r1=Refused(500, 131000, "something"))
    office.journal.take_in(command("r1"))
    lane = serve(office)
    for tries in range(1, 4):
        await office.until(partial(_waits_again, office, tries))
        office.clock.advance(130)
        lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 1)
    (failed,) = office.heard.events
    assert isinstance(failed, SendFailed)
    assert (failed.code, failed.event_id) == (131000, "r1#1:failed")
    assert len(office.graph.calls) == 4


async def test_no_answer_is_uncertain_and_never_called_again(office: Office) -> None:
    answers(office, r1=NoAnswer("TimeoutError"))
    office.journal.take_in(command("r1"), command("r2"))
    serve(office)
    await office.until(lambda: len(office.heard.events) == 2)
    assert office.heard.kinds() == {"r1#1": ["SendUncertain"], "r2#1": ["SendAccepted"]}
    assert sorted(office.graph.calls) == ["r1#1", "r2#1"]


async def test_an_unreachable_meta_stops_all_calls_and_costs_no_try(office: Office) -> None:
    answers(office, r1=NotSent("ClientConnectorError"))
    office.journal.take_in(command("r1"))
    lane = serve(office)
    await office.until(lambda: len(office.graph.calls) == 1 and not office.journal.sets[UNREPORTED])
    entry = decode_entry(office.journal.state["r1#1"])
    assert (entry.status, entry.attempts) == ("queued", 0)
    assert office.journal.sets[PAIRS][f"1001:{command('r1').user}"] == NOW_MS
    answers(office)
    office.clock.advance(1)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 1)


async def test_a_payment_problem_parks_the_account_until_its_facts_change(office: Office) -> None:
    _set(office, "account", "10", payment_method="valid")
    _set(office, "number", "1001")
    _set(office, "number", "1002", waba="20")
    answers(office, r1=Refused(400, 131042, "payment"))
    office.journal.take_in(command("r1"))
    lane = serve(office)
    await office.until(lambda: len(office.graph.calls) == 1 and not office.journal.sets[UNREPORTED])
    answers(office)
    office.journal.take_in(command("r2"))
    lane.wake.set()
    await office.until(lambda: bool(office.heard.accounts))
    assert office.heard.accounts[0].fields == {
        "payment_method": "failing",
        "payment_failing_until_ms": NOW_MS + HOUR_MS,
    }
    assert office.graph.calls == []
    _set(office, "account", "10", payment_method="valid", name="paid")
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 2)


async def test_a_paid_message_that_goes_out_after_all_tells_that_the_payment_works_again(
    office: Office,
) -> None:
    _set(office, "account", "10", payment_method="failing", payment_failing_until_ms=NOW_MS - 1)
    _set(office, "number", "1001")
    answers(office)
    office.journal.take_in(command("r1", category="service"))
    serve(office)
    await office.until(lambda: len(office.heard.events) == 1)
    assert office.heard.accounts == []
    office.journal.take_in(command("r2", category="utility"))
    serve(office)
    await office.until(lambda: bool(office.heard.accounts))
    assert office.heard.accounts[0].fields == {"payment_method": "valid", "payment_failing_until_ms": None}


async def test_an_expired_command_is_reported_and_not_called(office: Office) -> None:
    office.journal.take_in(command("r1", valid_for_ms=-1))
    serve(office)
    await office.until(lambda: len(office.heard.events) == 1)
    (failed,) = office.heard.events
    assert isinstance(failed, SendFailed)
    assert failed.reason == "expired"
    assert office.graph.calls == []
    await office.until(lambda: not office.journal.sets[queue("1001", 2)])


async def test_a_command_so_late_that_it_may_be_a_repetition_is_uncertain(office: Office) -> None:
    office.journal.take_in(command("r1", valid_for_ms=-3_600_001))
    serve(office)
    await office.until(lambda: len(office.heard.events) == 1)
    assert office.heard.kinds() == {"r1#1": ["SendUncertain"]}


async def test_what_an_earlier_owner_had_claimed_is_uncertain_after_its_grace(office: Office) -> None:
    office.journal.take_in(command("r1"))
    before = decode_entry(office.journal.state["r1#1"])
    office.journal.state["r1#1"] = encode_entry(claimed(before, 1, NOW_MS))
    office.journal.sets[queue("1001", 2)].clear()
    office.journal.sets[UNREPORTED]["r1#1"] = NOW_MS
    office.journal.epoch = office.owner.owned[0] = 2
    lane = serve(office, epoch=2)
    await office.until(lambda: lane.survey is not None)
    assert office.heard.events == []
    office.clock.advance(1.1)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 1)
    (event,) = office.heard.events
    assert isinstance(event, SendUncertain)
    assert event.cause == "crash"
    assert office.graph.calls == []


async def test_commands_of_a_lost_journal_are_reported_uncertain_unless_the_router_has_given_up(
    office: Office,
) -> None:
    office.journal.take_in(command("fresh"), command("old", valid_for_ms=-900_001), recalled=True)
    serve(office)
    await office.until(lambda: "old#1" not in office.journal.state and len(office.heard.events) == 1)
    assert office.heard.kinds() == {"fresh#1": ["SendUncertain"]}
    assert office.graph.calls == []


async def test_a_journal_that_forgot_a_call_does_not_repeat_it(office: Office) -> None:
    office.journal.take_in(command("r1"))
    before = office.journal.state["r1#1"]
    lane = serve(office)
    await office.until(lambda: decode_entry(office.journal.state["r1#1"]).finished)
    office.journal.rewind(command("r1"), before)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 2)
    assert office.graph.calls == ["r1#1"]
    assert office.heard.kinds() == {"r1#1": ["SendAccepted", "SendUncertain"]}


async def test_nothing_is_sent_that_kafka_would_deliver_once_more(office: Office) -> None:
    office.owner.known_to_kafka = 0
    office.journal.take_in(command("r1"))
    lane = serve(office)
    await office.until(lambda: lane.survey is not None)
    await asyncio.sleep(0.02)
    assert office.graph.calls == []
    office.owner.known_to_kafka = 1
    await office.until(lambda: office.graph.calls == ["r1#1"])


async def test_a_lane_whose_epoch_is_gone_claims_nothing_and_says_so(office: Office) -> None:
    office.journal.take_in(command("r1"))
    office.journal.epoch = 7
    lane = serve(office)
    await office.until(lambda: lane.over)
    assert office.owner.doubts == [1]
    assert office.graph.calls == []


@pytest.mark.parametrize(
    ("subject", "id", "stopped", "going"),
    [
        ("account", "10", {"paused": True}, {"paused": False}),
        ("account", "10", {"status": "disabled"}, {"status": "active"}),
        ("number", "1001", {"paused": True}, {"paused": False}),
        ("number", "1001", {"status": "BANNED"}, {"status": "CONNECTED"}),
        ("number", "1001", {"registered": False}, {"registered": True}),
    ],
)
async def test_what_is_stopped_after_its_decision_waits_until_it_may_go(
    office: Office, subject: str, id: str, stopped: dict[str, Any], going: dict[str, Any]
) -> None:
    _set(office, "account", "10", name="a")
    _set(office, "number", "1001", throughput=1000)
    _set(office, "number", "1002", throughput=1000, waba="20")
    _set(office, subject, id, **stopped)
    other = msgspec.structs.replace(command("other", number="1002"), waba_id="20")
    office.journal.take_in(command("r1"), other)
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 1)
    lane.wake.set()
    await office.until(lambda: not lane.wake.is_set())
    assert office.graph.calls == ["other#1"]
    _set(office, subject, id, **going)
    await office.until(lambda: len(office.heard.events) == 2)


@pytest.mark.parametrize(
    ("fields", "held"),
    [
        ({"paused_categories": ["utility"]}, {"utility"}),
        ({"restrictions": {"RESTRICTED_BIZ_INITIATED_MESSAGING": None}}, {"utility", "marketing"}),
        ({"restrictions": {"RESTRICTED_CUSTOMER_INITIATED_MESSAGING": NOW_MS + 60_000}}, {"service"}),
    ],
)
async def test_a_category_that_is_held_back_holds_up_no_other(
    office: Office, fields: dict[str, Any], held: set[str]
) -> None:
    _set(office, "account", "10", **fields)
    categories: tuple[Category, ...] = ("service", "utility", "marketing")
    office.journal.take_in(*(command(c, category=c) for c in categories))
    lane = serve(office)
    free = sorted(f"{c}#1" for c in categories if c not in held)
    await office.until(lambda: sorted(office.graph.calls) == free)
    lane.wake.set()
    await office.until(lambda: not lane.wake.is_set())
    assert sorted(office.graph.calls) == free
    if "restrictions" in fields and None not in fields["restrictions"].values():
        office.clock.advance(60)
    else:
        _set(office, "account", "10", **{name: type(value)() for name, value in fields.items()})
    await office.until(lambda: len(office.heard.events) == 3)


async def test_what_metas_statuses_tell_of_a_number_holds_it_back_for_the_rest_of_its_time(
    office: Office,
) -> None:
    _set(office, "number", "1001", refused={"code": 131048, "at_ms": NOW_MS - HOUR_MS})
    _set(office, "number", "1002", refused={"code": 131048, "at_ms": NOW_MS - 4 * HOUR_MS})
    office.journal.take_in(
        command("r1", valid_for_ms=24 * HOUR_MS), command("r2", number="1002", valid_for_ms=24 * HOUR_MS)
    )
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 1)
    assert office.graph.calls == ["r2#1"]
    assert office.desk.permits.open_circuits("phone_number", "quality") == 1
    office.clock.advance(3 * 3600)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 2)


async def test_what_statuses_told_of_is_not_over_because_meta_takes_one_more_message(
    office: Office,
) -> None:
    _set(office, "number", "1001", refused={"code": 131048, "at_ms": NOW_MS}, throughput=1000)
    office.journal.take_in(*(command(f"r{i}", valid_for_ms=24 * HOUR_MS) for i in range(3)))
    lane = serve(office)
    await office.until(lambda: office.desk.permits.open_circuits("phone_number", "quality") == 1)
    office.clock.advance(4 * 3600)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 1)
    lane.wake.set()
    await office.until(lambda: not lane.wake.is_set())
    assert len(office.graph.calls) == 1
    later = {"code": 131048, "at_ms": office.desk.now_ms()}  # and the status of that one says it again
    _set(office, "number", "1001", refused=later, at_ms=office.desk.now_ms())
    office.clock.advance(3600)
    lane.wake.set()
    await office.until(lambda: not lane.wake.is_set())
    assert len(office.graph.calls) == 1
    office.clock.advance(3 * 3600)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 2)
    office.clock.advance(30)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 3)


async def test_what_statuses_told_of_is_over_when_an_operator_says_so(office: Office) -> None:
    _set(office, "number", "1001", refused={"code": 131048, "at_ms": NOW_MS})
    office.journal.take_in(command("r1"))
    serve(office)
    await office.until(lambda: office.desk.permits.open_circuits("phone_number", "quality") == 1)
    _set(office, "number", "1001", refused=None)
    await office.until(lambda: len(office.heard.events) == 1)


async def test_what_statuses_told_of_an_account_holds_its_numbers_of_every_token(office: Office) -> None:
    _set(office, "account", "10", refused={"code": 131031, "at_ms": NOW_MS})
    _set(office, "number", "1001")
    _set(office, "number", "1002", token="other")
    office.journal.take_in(command("r1"), command("r2", number="1002"))
    lane = serve(office)
    await office.until(lambda: office.desk.permits.open_circuits("waba", "account") == 2)
    lane.wake.set()
    await office.until(lambda: not lane.wake.is_set())
    assert not office.graph.calls


async def test_a_number_that_moves_leaves_the_old_account_s_troubles_behind(office: Office) -> None:
    moved = False

    async def answer(command_id: str, body: dict[str, Any]) -> Answer:
        return Accepted(f"wamid.{command_id}", None, None) if moved else Refused(403, 10, "no permission")

    office.graph = office.desk.graph = ScriptedGraph(answer)
    _set(office, "account", "10")
    _set(office, "account", "20", waba="20")
    _set(office, "number", "1001")
    office.journal.take_in(command("r1"))
    lane = serve(office)
    await office.until(lambda: office.desk.permits.open_circuits("waba", "permission") == 1)
    moved = True
    _set(office, "number", "1001", waba="20", at_ms=NOW_MS + 1, display_phone_number="+49 30")
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 1)


async def test_what_an_answer_says_of_the_account_is_said_of_the_one_that_the_number_has_now(
    office: Office,
) -> None:
    async def answer(command_id: str, body: dict[str, Any]) -> Answer:
        return Refused(400, 131042, "payment")

    office.graph = office.desk.graph = ScriptedGraph(answer)
    for waba in ("10", "20"):
        _set(office, "account", waba, waba=waba, payment_method="valid")
        _set(office, "number", "1001", waba=waba, at_ms=NOW_MS + int(waba))
    office.journal.take_in(command("r1"))
    serve(office)
    await office.until(lambda: bool(office.heard.accounts))
    assert [(event.waba_id, event.id) for event in office.heard.accounts] == [("20", "20")]


async def test_a_circuit_that_an_answer_opened_is_not_tried_for_each_old_status(office: Office) -> None:
    async def answer(command_id: str, body: dict[str, Any]) -> Answer:
        return Refused(403, 368, "policy")

    office.graph = office.desk.graph = ScriptedGraph(answer)
    _set(office, "account", "10")
    office.journal.take_in(*(command(f"r{n}") for n in range(30)))
    lane = serve(office)
    await office.until(lambda: len(office.graph.calls) == 1)
    for nth in range(10):
        at_ms = NOW_MS - HOUR_MS + 10_000 * nth
        _set(office, "account", "10", refused={"code": 368, "at_ms": at_ms}, at_ms=NOW_MS + nth)
        lane.wake.set()
        await office.until(lambda: not lane.wake.is_set())
        await office.until(lambda: not office.desk.in_flight)
    assert len(office.graph.calls) <= 2, "one try, since the facts say of refusals for the first time"


@pytest.mark.parametrize(("first", "second"), [("service", "utility"), ("utility", "service")])
async def test_a_category_that_is_held_back_holds_up_no_other_of_the_same_user(
    office: Office, first: Category, second: Category
) -> None:
    who = "CUSTOMER" if first == "service" else "BIZ"
    _set(office, "account", "10", restrictions={f"RESTRICTED_{who}_INITIATED_MESSAGING": None})
    office.journal.take_in(
        command("held", user="4915111111111", category=first),
        command("free", user="4915111111111", category=second, at_ms=NOW_MS + 1),
        command("after", user="4915111111111", category=second, at_ms=NOW_MS + 2),
    )
    lane = serve(office)
    await office.until(lambda: office.graph.calls == ["free#1", "after#1"])
    _set(office, "account", "10", restrictions={})
    office.clock.advance(60)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 3)


async def test_paid_messages_wait_while_the_payment_is_believed_to_fail(office: Office) -> None:
    _set(office, "account", "10", payment_method="failing", payment_failing_until_ms=NOW_MS + 60_000)
    office.journal.take_in(command("paid"), command("free", category="service"))
    lane = serve(office)
    await office.until(lambda: office.graph.calls == ["free#1"])
    office.clock.advance(60)
    lane.wake.set()
    await office.until(lambda: office.graph.calls == ["free#1", "paid#1"])


async def test_a_number_that_gets_another_token_while_it_tries_lets_the_others_try(office: Office) -> None:
    answer = asyncio.Event()

    async def slow(command_id: str, body: dict[str, Any]) -> Answer:
        await answer.wait()
        return Accepted(f"wamid.{command_id}", None, None)

    office.graph = office.desk.graph = ScriptedGraph(slow)
    _set(office, "number", "1001")
    _set(office, "number", "1002")
    office.desk.permits._breakers.open(Part("waba", "10/default"), "auth", NOW_MS, 1000)
    office.clock.advance(1)
    office.journal.take_in(command("r1"))
    lane = serve(office)
    await office.until(lambda: len(office.graph.calls) == 1)
    _set(office, "number", "1001", token="other")
    answer.set()
    await office.until(lambda: len(office.heard.events) == 1)
    office.journal.take_in(command("r2", number="1002"))
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 2)


async def test_a_template_that_is_paused_after_its_decision_waits_and_goes_when_it_may(
    office: Office,
) -> None:
    _set(office, "template", "a/de", paused=True)
    message = {"type": "template", "template": {"name": "a", "language": {"code": "de"}}}
    office.journal.take_in(command("a1", message=message), command("b1"))
    lane = serve(office)
    await office.until(lambda: office.graph.calls == ["b1#1"] and bool(office.journal.sets[DELAYED]))
    office.clock.advance(60)
    lane.wake.set()
    await office.until(lambda: office.journal.sets[DELAYED] == {"a1#1": NOW_MS + 120_000})
    _set(office, "template", "a/de", paused=False)
    office.clock.advance(60)
    lane.wake.set()
    await office.until(lambda: office.graph.calls == ["b1#1", "a1#1"])


async def test_a_paused_template_waits_and_other_templates_go(office: Office) -> None:
    def template(name: str) -> dict[str, Any]:
        return {"type": "template", "template": {"name": name, "language": {"code": "de"}}}

    answers(office, a1=Refused(400, 132015, "paused"))
    office.journal.take_in(command("a1", message=template("a")))
    lane = serve(office)
    await office.until(lambda: len(office.graph.calls) == 1)
    calls = office.graph.calls
    office.journal.take_in(command("a2", message=template("a")), command("b1", message=template("b")))
    lane.wake.set()
    await office.until(lambda: "b1#1" in calls and set(office.journal.sets[DELAYED]) == {"a1#1", "a2#1"})
    assert "a2#1" not in calls


async def test_the_backlog_counts_all_that_a_number_has_to_send_its_lines_and_pauses_too(
    office: Office,
) -> None:
    def template(name: str) -> dict[str, Any]:
        return {"type": "template", "template": {"name": name, "language": {"code": "de"}}}

    answers(office, a1=Refused(400, 132015, "paused"))
    office.journal.take_in(command("a1", message=template("a")))
    lane = serve(office)
    assert lane.backlog() is None, "nobody has looked yet"
    await office.until(lambda: len(office.graph.calls) == 1)
    _hold(office, "1002", 60_000)
    office.journal.take_in(
        *(command(f"a{n}", message=template("a")) for n in (2, 3)),
        *(command(f"o{n}", number="1002") for n in range(10)),
        *(command(f"l{n}", number="1002", user="4915100000001") for n in range(5)),
    )
    lane.wake.set()

    def loads() -> dict[str, int]:
        note = lane.backlog()
        return {} if note is None else {number: load.messages for number, load in note.loads.items()}

    await office.until(lambda: loads() == {"1001": 3, "1002": 15} and bool(office.journal.sets[LINED]))
    note = lane.backlog()
    assert note is not None
    assert (note.offset, note.loads["1002"].per_s) == (18, 80)


async def test_a_hundred_thousand_waiting_commands_cost_a_window_of_memory(office: Office) -> None:
    _set(office, "number", "1001", throughput=2)
    office.journal.take_in(*(command(f"r{i}", user=f"49151{i:08}") for i in range(20_000)))
    lane = serve(office)
    await office.until(lambda: lane.survey is not None and len(office.graph.calls) >= 1)
    schedule = lane._numbers["1001"].schedule
    assert len(schedule.window(2)) <= 256


@pytest.mark.slow
async def test_calls_without_an_answer_hold_up_their_number_and_no_other(office: Office) -> None:
    never = asyncio.Event()

    async def answer(command_id: str, body: dict[str, Any]) -> Answer:
        if len(office.graph.calls) > 6:
            await never.wait()
        return Accepted(f"wamid.{command_id}", None, None)

    _set(office, "number", "1001", throughput=3)
    office.graph = office.desk.graph = ScriptedGraph(answer)
    office.journal.take_in(*(command(f"r{i}", user=f"49151{i:08}") for i in range(20)))
    serve(office)
    await office.until(lambda: len(office.graph.flying) == 3)
    office.journal.take_in(command("elsewhere", number="1002"))
    await office.until(lambda: "elsewhere#1" in office.graph.calls)
    assert sum(decode_entry(v).status == "claimed" for v in office.journal.state.values()) == 4


async def test_a_number_begins_with_one_call(office: Office) -> None:
    never = asyncio.Event()

    async def hang(command_id: str, body: dict[str, Any]) -> Answer:
        await never.wait()
        return Accepted(f"wamid.{command_id}", None, None)

    _set(office, "number", "1001", throughput=1000)
    office.graph = office.desk.graph = ScriptedGraph(hang)
    office.journal.take_in(*(command(f"r{i}", user=f"49151{i:08}") for i in range(20)))
    office.journal.take_in(command("elsewhere", number="1002"))
    serve(office)
    await office.until(lambda: len(office.graph.calls) == 2)
    assert "elsewhere#1" in office.graph.calls
    assert sum(decode_entry(v).status == "claimed" for v in office.journal.state.values()) == 2
    never.set()
    await office.until(lambda: len(office.heard.events) == 21)
    assert len(office.graph.calls) == 21


async def test_a_command_taken_back_before_its_call_fails_as_cancelled(office: Office) -> None:
    _hold(office, "1001", 5000)
    office.journal.take_in(command("r1"), command("r2"), _take_back("r1"))
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 1)
    (event,) = office.heard.events
    assert isinstance(event, SendFailed)
    assert (event.command_id, event.reason, event.retryable) == ("r1#1", "cancelled", False)
    office.clock.advance(6)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 2)
    assert office.graph.calls == ["r2#1"]


async def test_nothing_of_a_backlog_goes_out_that_is_taken_back_before_it_can_be_ended(
    office: Office,
) -> None:
    commands = [command(f"r{i}", user=f"49151{i:08}", category="marketing") for i in range(600)]
    office.journal.take_in(*commands, *(_take_back(f"r{i}") for i in range(600)))
    serve(office)
    await office.until(lambda: len(office.heard.events) == 600)
    assert {e.reason for e in office.heard.events if isinstance(e, SendFailed)} == {"cancelled"}
    assert not office.graph.calls
    await office.until(lambda: not office.journal.sets[CANCELLED])


async def test_hundreds_of_old_tombstones_are_dropped_in_one_round_trip(office: Office) -> None:
    finished = encode_entry(tombstone(queued(command("old"))))
    for nth in range(190):
        office.journal.state[f"old{nth}#1"] = finished
        office.journal.sets[EXPIRY][f"old{nth}#1"] = NOW_MS - 1
    serve(office)
    await office.until(lambda: not office.journal.sets[EXPIRY])
    assert not office.journal.state
    assert office.journal.round_trips == 1


async def test_time_that_runs_out_while_the_claim_is_asked_for_again_is_noticed(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "CLAIM_FRESH_S", -1.0)
    write = office.journal.write

    async def long(*args: Any) -> Verdict:
        office.clock.advance(700)
        return await write(*args)

    monkeypatch.setattr(office.journal, "write", long)
    office.journal.take_in(command("r1", valid_for_ms=600_000))
    serve(office)
    await office.until(lambda: len(office.heard.events) == 1)
    assert [e.reason for e in office.heard.events if isinstance(e, SendFailed)] == ["expired"]
    assert not office.graph.calls


async def test_a_connection_that_comes_too_late_costs_no_try_and_holds_nobody_back(office: Office) -> None:
    answers(office, r1=NotSent("too_late", reached=True))
    office.journal.take_in(command("r1"))
    lane = serve(office)
    await office.until(lambda: len(office.graph.calls) == 1)
    answers(office)
    lane.wake.set()
    await office.until(lambda: len(office.heard.events) == 1)
    assert office.heard.kinds() == {"r1#1": ["SendAccepted"]}
    assert office.desk.permits.open_circuits("platform", "unreachable") == 0


async def test_a_command_taken_back_after_its_call_keeps_its_outcome(office: Office) -> None:
    answer = asyncio.Event()

    async def slow(command_id: str, body: dict[str, Any]) -> Answer:
        await answer.wait()
        return Accepted("wamid.1", None, None)

    office.graph = office.desk.graph = ScriptedGraph(slow)
    office.journal.take_in(command("r1"))
    lane = serve(office)
    await office.until(lambda: office.graph.calls == ["r1#1"])
    office.journal.take_in(_take_back("r1"), _take_back("never-came"))
    lane.wake.set()
    await office.until(lambda: bool(lane.survey and lane.survey.cancelled))
    answer.set()
    await office.until(lambda: not office.journal.sets[CANCELLED])
    assert office.heard.kinds() == {"r1#1": ["SendAccepted"]}


async def test_a_command_taken_back_while_it_waits_for_another_try_ends(office: Office) -> None:
    answers(office, r1=Refused(500, 131000, "something"))
    office.journal.take_in(command("r1"))
    lane = serve(office)
    await office.until(lambda: _waits_again(office, 1))
    office.journal.take_in(_take_back("r1"))
    lane.wake.set()
    await office.until(lambda: office.heard.kinds() == {"r1#1": ["SendFailed"]})
    assert not office.journal.sets[DELAYED]


async def test_what_a_number_cannot_send_in_four_hours_is_turned_away_least_urgent_first(
    office: Office,
) -> None:
    _set(office, "number", "1001", throughput=1)
    _hold(office, "1001", 3_600_000)
    office.journal.take_in(
        *(command(f"m{i}", user=f"49151{i:08}", category="marketing") for i in range(14_399)),
        *(command(f"u{i}", user=f"49152{i:08}") for i in range(3)),
    )
    lane = serve(office)
    await office.until(lambda: len(office.heard.events) == 2)
    assert {e.command_id for e in office.heard.events} == {"m14397#1", "m14398#1"}  # type: ignore[union-attr]
    failed = [e for e in office.heard.events if isinstance(e, SendFailed)]
    assert {(e.reason, e.retryable, e.retry_ms) for e in failed} == {("backlog", True, NOW_MS + 4 * HOUR_MS)}
    lane.wake.set()
    await office.until(lambda: lane.survey is not None and lane.survey.unsent["marketing"][0] == 14_397)
    assert len(office.heard.events) == 2


async def test_nothing_is_turned_away_because_a_number_is_slow_for_a_moment(office: Office) -> None:
    _set(office, "number", "1001", throughput=1000)
    _hold(office, "1001", 3_600_000)
    office.desk.inbound = lambda number: 999
    office.journal.take_in(*(command(f"m{i}", user=f"49151{i:08}") for i in range(14_500)))
    lane = serve(office)
    await office.until(lambda: lane.survey is not None)
    lane.wake.set()
    await office.until(lambda: not lane.wake.is_set())
    assert lane.survey is not None
    assert lane.survey.unsent["utility"][0] == 14_500
    assert not office.heard.events


async def test_a_number_that_was_another_process_s_waits_for_its_last_second_to_be_over(
    office: Office,
) -> None:
    office.owner.alone = False
    office.journal.take_in(command("r1"))
    began = monotonic()
    serve(office)
    await office.until(lambda: bool(office.graph.calls))
    assert monotonic() - began >= 1.0


async def test_accounts_come_to_equal_shares_of_a_busy_process(office: Office) -> None:
    answered = asyncio.Semaphore(0)

    async def slow(command_id: str, body: dict[str, Any]) -> Answer:
        await answered.acquire()
        return Accepted(f"wamid.{command_id}", None, None)

    def in_flight(account: str) -> int:
        return sum(user.startswith(f"100{account}") for user in office.graph.flying)

    office.graph = office.desk.graph = ScriptedGraph(slow)
    office.desk.shares = Shares(40)
    for number, waba in (("1001", "10"), ("1002", "20")):
        _set(office, "number", number, waba, throughput=1000)
        office.desk.permits._congestion._window(number).size = 1000
    office.desk.permits._congestion._all.size = 1000
    office.journal.take_in(*(command(f"a{i:03}", user=f"49151{i:08}") for i in range(100)))
    lane = serve(office)
    await office.until(lambda: in_flight("1") == 36)  # the rest is kept for what can't wait
    office.journal.take_in(
        *(command(f"b{i:03}", number="1002", waba="20", user=f"49152{i:08}") for i in range(100)),
        command("otp", number="1002", waba="20", category="authentication"),
    )
    lane.wake.set()
    await office.until(lambda: "otp#1" in office.graph.calls)
    for _ in range(60):
        done = len(office.heard.events)
        answered.release()
        await office.until(lambda done=done: len(office.heard.events) == done + 1)  # type: ignore[misc]
    await office.until(lambda: len(office.graph.flying) == 36)
    assert abs(in_flight("1") - in_flight("2")) <= 4


def _hold(office: Office, number: str, for_ms: int) -> None:
    office.desk.permits._breakers.open(Part("phone_number", number), "number", NOW_MS, for_ms)


def _take_back(request: str) -> CancelMessage:
    return CancelMessage(
        event_id=f"{request}:cancel", at_ms=NOW_MS, command_id=f"{request}#1", phone_number_id="1001"
    )


def _waits_again(office: Office, tries: int) -> bool:
    return len(office.graph.calls) == tries and bool(office.journal.sets[DELAYED])


def _set(office: Office, subject: Any, id: str, waba: str = "10", at_ms: int = NOW_MS, **fields: Any) -> None:
    event = AccountChanged(event_id=id, at_ms=at_ms, waba_id=waba, subject=subject, id=id, fields=fields)
    office.facts.apply(event, office.facts.revision + 1)


async def test_the_intake_rests_while_calls_are_under_way_and_only_then(office: Office) -> None:
    dispatcher = Dispatcher(office.desk, drain_s=1.0, max_waiting=1000)
    assert dispatcher.rest(0.02) == 0
    office.desk.shares.begin("W1")
    assert dispatcher.rest(0.02) == pytest.approx(0.02)
    assert dispatcher.rest(5.0) == pytest.approx(0.1)
