"""Who gets no marketing, since when, on whose word; and that this outlives the log."""

from itertools import permutations
from typing import Any

import msgspec
import pytest

from services.router.state import RENEW_MS, Preference, State, encode_state
from shared.events import (
    ConversationEvent,
    MessageReceived,
    PreferenceChanged,
    ReceiverVerified,
    SendFailed,
    TimerFired,
    UserPreference,
    decode_user_preference,
    encode,
)
from shared.stream.fold import Grants
from shared.topics import CONVERSATION_EVENTS, KEEP_MS, PREFERENCES
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
from tests.unit.router.world import World

DAY = 24 * HOUR


def word(at: int = NOW, *, out: bool = True, **more: Any) -> PreferenceChanged:
    return PreferenceChanged(
        event_id=f"p{at}", at_ms=at, phone_number_id="N1", user=USER, opted_out=out, **more
    )


def wrote(text: str, at: int = NOW, wamid: str | None = None) -> MessageReceived:
    raw = msgspec.json.encode({"type": "text", "text": {"body": text}})
    return msgspec.structs.replace(received(wamid or f"wamid.{at}", at), message=msgspec.Raw(raw))


def told(made: World) -> list[UserPreference]:
    return [decode_user_preference(out.value) for out in made.out if out.topic is PREFERENCES]


def reason(made: World, id_: str = "r1", at: int = NOW) -> str:
    decision = events(made.play(KEY, request(id_, at=at), at))[0].decision
    assert decision is not None
    return decision.reason


def kept(made: World) -> Preference:
    found = state(made)
    assert found is not None
    assert found.preference is not None
    return found.preference


def test_a_stop_word_is_an_opt_out_with_the_word_and_the_message_as_evidence() -> None:
    made = world()
    made.play(KEY, wrote("Stop!"), NOW)
    assert kept(made) == Preference(True, NOW, "stop_word", "Stop!", f"wamid.{NOW}", None, NOW)
    (event,) = told(made)
    assert (event.marketing, event.source, event.evidence, event.reference) == (
        "out",
        "stop_word",
        "Stop!",
        f"wamid.{NOW}",
    )
    assert event.user.user_id == USER
    assert reason(made) == "opted_out"


def test_a_stop_word_holds_for_the_very_next_request_of_the_log() -> None:
    made = world()
    step = made.fold.fold(None, wrote("STOP"), made.facts, Grants())
    assert step.state is not None
    assert step.state.opted_out


def test_a_start_word_brings_back_who_had_opted_out_and_is_no_consent_of_anyone_else() -> None:
    made = world()
    made.play(KEY, wrote("start"), NOW)
    assert told(made) == []
    made.play(KEY, wrote("stop", NOW + 1), NOW + 1)
    made.play(KEY, wrote("Start", NOW + 2), NOW + 2)
    assert [event.marketing for event in told(made)] == ["out", "in"]
    assert reason(made, at=NOW + 3) == "ok"


def test_an_accounts_own_words_count_and_those_it_switched_off_do_not() -> None:
    made = world(stop_words={"Kein Interesse": "stop", "STOP": "ignore"})
    made.play(KEY, wrote("stop"), NOW)
    assert told(made) == []
    made.play(KEY, wrote("kein interesse", NOW + 1), NOW + 1)
    assert [event.evidence for event in told(made)] == ["kein interesse"]


def test_a_message_that_comes_twice_is_one_word() -> None:
    made = world()
    for _ in range(2):
        made.play(KEY, wrote("STOP"), NOW)
    assert len(told(made)) == 1
    assert [out.topic for out in made.out].count(CONVERSATION_EVENTS) == 1


def test_metas_refusal_is_an_opt_out_with_its_detail_and_the_message() -> None:
    made = world()
    made.play(KEY, request(), NOW)
    made.play(KEY, accepted(), NOW)
    failed = status("failed", error_code=131050, error_text="User has stopped marketing")
    assert "failed" in steps(made.play(KEY, failed, NOW + 1000))
    (event,) = told(made)
    assert (event.source, event.evidence, event.reference) == (
        "error_131050",
        "User has stopped marketing",
        "wamid.r1#1",
    )


def test_metas_refusal_of_the_call_itself_is_one_too() -> None:
    made = world()
    made.play(KEY, request(), NOW)
    refused = SendFailed(
        event_id="f", at_ms=NOW + 1, command_id="r1#1", origin="meta", reason="opted_out", retryable=False,
        code=131050, message="stopped",
    )  # fmt: skip
    made.play(KEY, refused, NOW + 1)
    assert [(e.source, e.reference) for e in told(made)] == [("error_131050", "r1#1")]


def test_metas_refusal_counts_for_a_message_that_was_given_up_before() -> None:
    made = world()
    made.play(KEY, request(), NOW)
    later = NOW + 6 * HOUR
    made.play(KEY, status("failed", at=later, error_code=131050), later)
    assert reason(made, "r2", later + HOUR) == "opted_out"


def test_a_list_and_an_operator_bring_their_evidence_along() -> None:
    made = world()
    made.play(
        KEY, word(NOW, out=False, source="import", evidence="form 12", reference="a.csv:7", by="kim"), NOW
    )
    made.play(KEY, word(NOW + 1, source="operator", evidence="by phone", by="lee"), NOW + 1)
    assert [(e.marketing, e.source, e.evidence, e.reference, e.by) for e in told(made)] == [
        ("in", "import", "form 12", "a.csv:7", "kim"),
        ("out", "operator", "by phone", None, "lee"),
    ]


WORDS = [
    word(NOW, out=True, evidence="a"),
    word(NOW, out=False, evidence="b"),
    word(NOW + 5, out=False, evidence="c"),
    word(NOW - 5, out=True, evidence="d"),
    word(NOW + 9, out=True, evidence="e"),
    word(NOW + 9, out=False, evidence="f"),
]


@pytest.mark.parametrize("order", list(permutations(range(len(WORDS))))[::37])
def test_the_last_word_by_its_own_time_wins_in_whatever_order_they_come(order: tuple[int, ...]) -> None:
    made = world()
    for index in order:
        made.play(KEY, WORDS[index], NOW + 20)
    assert (kept(made).at_ms, kept(made).opted_out, kept(made).evidence) == (NOW + 9, True, "e")


def test_the_same_word_twice_is_told_once_whatever_file_it_comes_from() -> None:
    made = world()
    for file in ("a.csv:1", "b.csv:9"):
        made.play(KEY, word(out=False, source="import", reference=file, noted_ms=NOW), NOW)
    assert [event.reference for event in told(made)] == ["a.csv:1"]


def test_an_opt_in_with_old_evidence_is_kept_for_ever_too() -> None:
    made = world()
    made.play(KEY, word(NOW - 400 * DAY, out=False, source="import", noted_ms=NOW), NOW)
    made.fire(NOW + 200 * DAY)
    assert kept(made).at_ms == NOW - 400 * DAY


@pytest.mark.parametrize(
    "first",
    [
        word(source="meta", evidence="stop", noted_ms=NOW),
        word(NOW - 400 * DAY, source="import", reference="a.csv:7", noted_ms=NOW),
        word(NOW - 400 * DAY),
        wrote("STOP"),
    ],
    ids=["meta", "import", "written by a version before", "stop word"],
)
def test_an_opt_out_outlives_the_log_though_the_state_is_lost_after_any_time(
    first: ConversationEvent,
) -> None:
    made = world()
    made.play(KEY, first, NOW)
    known = kept(made)
    for days in range(20, 400, 19):
        now = NOW + days * DAY
        made.fire(now)
        rebuilt = world()
        rebuilt.replay(record for record in made.log if record.now_ms > now - KEEP_MS)
        found = kept(rebuilt)
        assert msgspec.structs.replace(found, noted_ms=0) == msgspec.structs.replace(known, noted_ms=0)
        assert reason(rebuilt, at=now) == "opted_out"
    assert len(told(made)) == 1, "what is only renewed is not told again"


def test_that_a_receiver_is_verified_outlives_the_log_too() -> None:
    made = world()
    made.play(KEY, ReceiverVerified(event_id="v", at_ms=NOW, phone_number_id="N1", user=USER), NOW)
    for days in range(20, 200, 19):
        now = NOW + days * DAY
        made.fire(now)
        rebuilt = world()
        rebuilt.replay(record for record in made.log if record.now_ms > now - KEEP_MS)
        found = state(rebuilt)
        assert found is not None
        assert found.verified
        assert rebuilt.states == made.states


def test_a_kept_word_is_renewed_once_in_two_weeks_and_no_more() -> None:
    made = world()
    made.play(KEY, word(noted_ms=NOW), NOW)
    made.fire(NOW + 10 * RENEW_MS)
    assert [out.topic for out in made.out].count(CONVERSATION_EVENTS) == 10
    assert sum(isinstance(record.event, TimerFired) for record in made.log) == 10


def test_a_replay_takes_the_word_from_the_log_and_not_from_todays_words() -> None:
    made = world()
    made.play(KEY, wrote("STOP"), NOW)
    rebuilt = world(stop_words={"STOP": "ignore"})
    rebuilt.replay(made.log)
    assert rebuilt.states[KEY] == made.states[KEY]
    strict = world(stop_words={"hello": "stop"})
    harmless = world()
    harmless.play(KEY, wrote("hello"), NOW)
    strict.replay(harmless.log)
    assert strict.states[KEY] == harmless.states[KEY]


def test_a_state_of_the_version_before_is_read_and_its_opt_out_kept() -> None:
    new = encode_state(State(1, "N1", USER, opted_out=True, preference_ms=NOW))
    fields = [field.name for field in msgspec.structs.fields(State)]
    old = msgspec.msgpack.encode(msgspec.msgpack.decode(new)[: fields.index("preference")])
    made = world()
    made.states[KEY] = old
    assert reason(made, at=NOW + 1) == "opted_out"
    made.fire(NOW + RENEW_MS)
    assert kept(made) == Preference(True, NOW, "meta", noted_ms=NOW + RENEW_MS)


def test_the_version_before_still_finds_the_opt_out_where_it_was() -> None:
    made = world()
    made.play(KEY, word(), NOW)
    fields = [field.name for field in msgspec.structs.fields(State)]
    values = msgspec.msgpack.decode(made.states[KEY])
    assert (values[fields.index("opted_out")], values[fields.index("preference_ms")]) == (True, NOW)


def test_an_event_of_the_version_before_is_read() -> None:
    old = b'{"event":"PreferenceChanged","event_id":"p","at_ms":1,"phone_number_id":"N1","user":"4915110000010","opted_out":true}'
    made = world()
    made.play(KEY, made.fold.decode(old), NOW)
    assert kept(made).source == "meta"
    assert encode(made.fold.decode(old)) == old


def test_a_category_that_an_operator_paused_is_refused_and_the_others_go_on() -> None:
    made = world(paused_categories=["marketing"])
    assert reason(made) == "paused_by_operator"
    decision = events(made.play(KEY, request("r2", template="order_update"), NOW))[0].decision
    assert decision is not None
    assert decision.reason == "ok"
    made.know(msgspec.structs.replace(fact("account", "W1", paused_categories=[]), at_ms=NOW + 1))
    assert reason(made, "r3") == "ok"
