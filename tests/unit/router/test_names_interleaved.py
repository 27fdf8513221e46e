"""Random interleavings of one user's events under several names: what comes of them is what comes of one name."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.events import (
    ConversationEvent,
    MessageReceived,
    PreferenceChanged,
    ReceiverVerified,
    SendMessage,
    SendRequested,
    decode_command,
    decode_send_event,
)
from shared.phone import is_bsuid
from shared.stream.fold import Outgoing
from shared.topics import CONVERSATION_EVENTS, MESSAGES_RECEIVED, SEND_COMMANDS, SEND_EVENTS
from tests.unit.router.make import HOUR, NOW, accepted, received, request, status, world
from tests.unit.router.world import Record, World

NUMBER, REWRITTEN, ID = "4915110000010", "4915110000099", "DE.13491208655302741918"
NAMES = (NUMBER, REWRITTEN, ID)
STATUSES = ("sent", "delivered", "read", "failed")
names = st.sampled_from(NAMES)
moves = st.one_of(
    st.tuples(st.just("message"), names, st.integers(0, 9)),
    st.tuples(st.just("request"), names, st.integers(0, 9)),
    st.tuples(st.just("accepted"), names, st.integers(0, 9)),
    st.tuples(st.just("status"), names, st.tuples(st.integers(0, 9), st.sampled_from(STATUSES))),
    st.tuples(st.just("preference"), names, st.booleans()),
    st.tuples(st.just("verified"), names, st.just(0)),
    st.tuples(st.just("pause"), names, st.sampled_from((1000, HOUR, 20 * HOUR, 9 * 24 * HOUR))),
)


def key(name: str) -> str:
    return f"N1:{name}"


def of(kind: str, name: str, what: Any, at: int) -> ConversationEvent:
    """The event of a move, as it comes under a name."""
    if kind == "message":
        return replace(
            received(f"wamid.{what}", at, waba_id="W1"), user=name, bsuid=name if is_bsuid(name) else None
        )
    if kind == "request":
        to = {"recipient": name} if is_bsuid(name) else {"to": f"+{name}"}
        written = msgspec.Raw(msgspec.json.encode({"type": "text", "text": {"body": "x"}, **to}))
        return request(f"r{what}", None if what % 2 else "promo", at, name, message=written)
    if kind == "accepted":
        return accepted(f"r{what}#1", at, name)
    if kind == "status":
        return replace(status(what[1], f"r{what[0]}#1", at), user=name)
    if kind == "preference":
        return PreferenceChanged(
            event_id="p", at_ms=at, phone_number_id="N1", user=name, opted_out=what, noted_ms=at
        )
    return ReceiverVerified(event_id="v", at_ms=at, phone_number_id="N1", user=name)


def taught(made: World, at: int) -> World:
    """The world, which knows the names from a message with number and id, and from Meta's answer with the number rewritten."""
    made.play(
        key(NUMBER), replace(received(f"wamid.first.{at}", at, waba_id="W1"), user=NUMBER, bsuid=ID), at
    )
    made.play(key(NUMBER), request(f"first.{at}", None, at, NUMBER), at)
    made.play(key(NUMBER), accepted(f"first.{at}#1", at, REWRITTEN), at)
    return made


def business(made: World) -> list[tuple[str, str, Any]]:
    """All that anybody but the router sees; of a command's message what it says, not how it is laid out."""
    told = list[tuple[str, str, Any]]()
    for out in made.out:
        if out.topic is SEND_COMMANDS and out.type == "SendMessage":
            command: SendMessage = decode_command(out.value)
            told.append(
                (
                    out.key,
                    out.id,
                    (msgspec.json.decode(command.message), replace(command, message=msgspec.Raw())),
                )
            )
        elif out.topic is not CONVERSATION_EVENTS:
            told.append((out.key, out.id, out.value))
    return told


def content(made: World) -> tuple[Any, ...]:
    """All that the conversation remembers, but for names; of a kept request what it says, not how it is laid out nor how it came."""
    state = made.fold.decode_state(made.states[key(NUMBER)])
    kept = [msgspec.json.decode(life.request) for life in state.lives if life.request]
    for asked in kept:
        asked.pop("via", None)
    lives = tuple(replace(life, request=b"") for life in state.lives)
    return replace(state, names=(), wake_ms=0, lives=lives), kept


@settings(max_examples=50, deadline=None)
@given(st.lists(moves, max_size=30))
def test_under_any_of_its_known_names_a_user_has_the_conversation_of_one_name(
    played: list[tuple[str, str, Any]],
) -> None:
    at = NOW
    made, plain = taught(world(messaging_limit=2), at), taught(world(messaging_limit=2), at)
    for kind, name, what in played:
        at += what if kind == "pause" else 1000
        if kind == "pause":  # told again, so that the addresses are there whatever time has passed
            taught(made, at)
            taught(plain, at)
            continue
        as_sent = NUMBER if kind == "accepted" else name
        made.play(key(name), of(kind, as_sent, what, at), at)
        plain.play(key(NUMBER), of(kind, NUMBER, what, at), at)
    assert business(made) == business(plain)
    if key(NUMBER) in plain.states:
        assert content(made) == content(plain)
    assert made.claims.scopes == plain.claims.scopes


@dataclass
class Apart(World):
    """The conversations lie in partitions of their own: what one appends to another's log comes there later, each pair's in order."""

    lines: dict[tuple[str, str], deque[Outgoing]] = field(default_factory=dict)

    def _fold(self, key: str, event: ConversationEvent, now_ms: int) -> tuple[Outgoing, ...]:
        out = self._step(key, event, now_ms, None)
        self.log.append(Record(key, event, now_ms, out))
        self.out += out
        for own in out:
            if own.topic is CONVERSATION_EVENTS:
                self.lines.setdefault((key, own.key), deque()).append(own)
        return out

    def come(self, nth: int, now_ms: int) -> bool:
        """Let the first record of the nth line that has any come; False: all have come."""
        waiting = [line for line in self.lines.values() if line]
        if not waiting:
            return False
        own = waiting[nth % len(waiting)].popleft()
        self._fold(own.key, self.fold.decode(own.value), now_ms)
        return True

    def all_come(self, now_ms: int) -> None:
        for nth in range(5000):
            if not self.come(nth, now_ms):
                return
        raise AssertionError("records go round without end")


NEW_NUMBER = "4915110000077"
told_later = st.one_of(
    st.tuples(st.just("message"), names, st.integers(0, 9)),
    st.tuples(st.just("request"), names, st.integers(0, 9)),
    st.tuples(st.just("status"), names, st.tuples(st.integers(0, 9), st.sampled_from(STATUSES))),
    st.tuples(st.just("accepted"), names, st.integers(0, 9)),
    st.tuples(st.just("preference"), names, st.booleans()),
    st.tuples(st.just("verified"), names, st.just(0)),
    st.tuples(st.just("both"), names, st.just(0)),
    st.tuples(st.just("changed"), names, st.just(0)),
    st.tuples(st.just("come"), names, st.integers(0, 9)),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(told_later, max_size=40))
def test_whatever_is_learnt_when_and_in_whatever_order_it_comes_everything_is_told_once_and_ends_in_one_conversation(
    played: list[tuple[str, str, Any]],
) -> None:
    made, at, number = Apart(facts=world(messaging_limit=9).facts), NOW, NUMBER
    sent = dict[tuple[str, Any], tuple[str, ConversationEvent]]()
    words, written, asked = list[tuple[int, bool]](), list[int](), dict[int, str]()

    def play(key_: str, event: ConversationEvent) -> None:
        made.play(key_, event, at)

    for nth, (kind, name, what) in enumerate(played):
        at += 1000
        name = number if name == NUMBER else name
        if kind == "come":
            made.come(what, at)
            continue
        if kind == "both":
            written.append(at)
            play(key(number), replace(received(f"wamid.both.{nth}", at, waba_id="W1"), user=number, bsuid=ID))
            continue
        if kind == "changed":
            if number == NUMBER:
                play(key(NUMBER), _change(at))
                number = NEW_NUMBER
            continue
        if kind in ("accepted", "status"):
            id_ = what if kind == "accepted" else what[0]
            if id_ not in asked:
                continue
            play(key(asked[id_]), of(kind, asked[id_], what, at))
            continue
        event = of(kind, name, what, at)
        if kind in ("message", "request"):
            if (kind, what) in sent:
                play(*sent[kind, what])
                continue
            sent[kind, what] = (key(name), event)
        if kind == "message":
            written.append(at)
        elif kind == "request":
            asked[what] = name
        elif kind == "preference":
            words.append((at, what))
        play(key(name), event)
    at += 1000
    written.append(at)
    play(key(number), replace(received("wamid.end", at, waba_id="W1"), user=number, bsuid=ID))
    play(key(number), request("end", None, at, number))
    made.all_come(at)
    end = next(key_ for key_, lives in _lives(made).items() if "end#1" in lives)
    play(end, accepted("end#1", at, REWRITTEN))
    made.all_come(at)

    states = {k: made.fold.decode_state(value) for k, value in made.states.items()}
    homes = [k for k, state in states.items() if state.address is None]
    assert len(homes) == 1
    (home,) = homes
    state = states[home]
    assert state.window_ms == max(written) + 24 * HOUR
    if words:
        assert state.opted_out == max(words)[1]
    assert state.verified == any(kind == "verified" for kind, *_ in played)
    received_ids = Counter(out.id for out in made.out if out.topic is MESSAGES_RECEIVED)
    assert set(received_ids.values()) == {1}
    commands = Counter(out.id for out in made.out if out.topic is SEND_COMMANDS)
    assert all(n == 1 for n in commands.values())
    steps = Counter(
        out.id for out in made.out if out.topic is SEND_EVENTS and out.type not in ("decided", "priced")
    )
    assert all(n == 1 for n in steps.values())
    for life in state.lives:
        assert life.request == b"" or msgspec.json.decode(life.request, type=SendRequested).user == state.user
    told = len(made.out)
    for key_, event in sent.values():
        play(key_, event)
    made.all_come(at)
    again = made.out[told:]
    assert not [out for out in again if out.topic in (MESSAGES_RECEIVED, SEND_COMMANDS)]
    for out in again:
        if out.topic is SEND_EVENTS:
            assert decode_send_event(out.value).event == "decided", "a request is answered again"
    tier = made.claims.members("tier:W1")
    assert tier <= {state.user}

    rebuilt = Apart(facts=made.facts)
    rebuilt.replay(made.log)
    assert rebuilt.states == made.states


def _lives(made: World) -> dict[str, set[str]]:
    states = {key_: made.fold.decode_state(value) for key_, value in made.states.items()}
    return {key_: {life.command for life in state.lives} for key_, state in states.items()}


def _change(at: int) -> MessageReceived:
    event = replace(received("wamid.change", at, type="system", waba_id="W1"), user=NUMBER)
    return replace(event, renamed=NEW_NUMBER)
