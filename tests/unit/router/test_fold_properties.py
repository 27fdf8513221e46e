"""Whatever happens in whatever order, the fold agrees with the naive model, and a silent replay comes to the same state."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.accounts import AccountFacts
from shared.events import (
    AccountChanged,
    ConversationEvent,
    MessageReceived,
    SendAccepted,
    SendEvent,
    SendFailed,
    SendRequested,
    SendUncertain,
    StatusReceived,
    TemplateRef,
    decode_send_event,
)
from shared.ids import conversation_key
from shared.stream.fold import Claim
from shared.topics import MESSAGES_RECEIVED, SEND_COMMANDS, SEND_EVENTS
from tests.unit.router.naive import DAY, HOUR, MINUTE, Naive, Picture
from tests.unit.router.world import World

START = 1_793_620_800_000  # 2026-11-02T12:00Z
USERS = ["491511000001", "491511000002"]
TEMPLATES = {"promo": "marketing", "order_update": "utility", "login_code": "authentication"}
PAUSES = [1000, 1000, MINUTE, 10 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR, 12 * HOUR, DAY - 1000, DAY, 3 * DAY]
HEARD = ["accepted", "sent", "delivered", "read", "failed", "refused", "uncertain"]

moves = st.one_of(
    st.tuples(st.just("pause"), st.sampled_from(PAUSES)),
    st.tuples(
        st.just("receive"), st.sampled_from(USERS), st.integers(0, 9), st.sampled_from([False] * 6 + [True])
    ),
    st.tuples(
        st.just("send"),
        st.sampled_from(USERS),
        st.integers(0, 19),
        st.sampled_from([None, None, *TEMPLATES]),
        st.booleans(),
    ),
    st.tuples(st.just("hear"), st.integers(0, 30), st.sampled_from(HEARD)),
    st.tuples(st.just("hear"), st.integers(0, 30), st.sampled_from(["delivered", "read"])),
)

scripts = st.lists(moves, min_size=8, max_size=50)


def known_facts(tier: int) -> list[AccountChanged]:
    def set_(subject: Any, id_: str, **fields: Any) -> AccountChanged:
        return AccountChanged(event_id=id_, at_ms=START, waba_id="W1", subject=subject, id=id_, fields=fields)

    facts = [
        set_("account", "W1", regime="guide", payment_method="valid", messaging_limit=tier),
        set_("number", "N1", default=True),
    ]
    return facts + [set_("template", f"{n}/en", category=c, status="APPROVED") for n, c in TEMPLATES.items()]


@dataclass
class Game:
    """The fold's world and the naive model side by side."""

    tier: int
    room: bool
    world: World = field(default_factory=World)
    now: int = START
    commands: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.naive = Naive(self.tier, self.room)
        self.world.know(*known_facts(self.tier))
        if not self.room:
            for month in (11, 12):
                for n in range(1000):
                    self.world.claims.ask(
                        Claim(f"free:W1:2026-{month}", f"{n}", f"{n}", 10**6, START + 99 * DAY), START
                    )

    def move(self, move: tuple[Any, ...]) -> None:
        self.now += 1
        kind, *what = move
        if kind == "pause":
            self.now += what[0]
            self.world.fire(self.now)
        elif kind == "receive":
            self._receive(*what)
        elif kind == "send":
            self._send(*what)
        elif self.commands:
            self._hear(self.commands[what[0] % len(self.commands)], what[1])

    def play(self, user: str, event: ConversationEvent) -> Any:
        return self.world.play(conversation_key("N1", user), event, self.now)

    def _receive(self, user: str, number: int, clicked: bool) -> None:
        wamid = f"wamid.{user}.{number}"
        heard = [at for at, kind, what in self.naive.happened if kind == "received" and what[1] == wamid]
        if heard and heard[0] + 8 * DAY - HOUR <= self.now:
            return  # Meta repeats itself for seven days; later, the same id is not promised to be known
        out = self.play(user, MessageReceived(
            event_id=wamid, at_ms=self.now, received_ms=self.now, phone_number_id="N1", user=user, wamid=wamid,
            type="text", message=msgspec.Raw(b"{}"), referral="ad" if clicked else None,
        ))  # fmt: skip
        self.naive.receive(user, wamid, clicked, self.now)
        assert len([o for o in out if o.topic is MESSAGES_RECEIVED]) == (0 if heard else 1)

    def _send(self, user: str, number: int, template: str | None, fallback: bool) -> None:
        request = f"r{number}.{user}"  # an id is the business's own, over all its conversations
        known = [r for r in self.naive.requests if (r.user, r.id) == (user, request)]
        if known and known[0].at + 23 * HOUR <= self.now:
            return  # later answers are shorter: see test_requests.py
        out = self.play(user, SendRequested(
            event_id=request, at_ms=self.now, request_id=request, phone_number_id="N1", user=user,
            type="template" if template else "text", message=msgspec.Raw(b"{}"), digest=f"{template}{fallback}",
            template=TemplateRef(template, "en") if template else None,
            fallback=msgspec.Raw(b"{}") if fallback else None,
            fallback_ref=TemplateRef("order_update", "en") if fallback else None,
        ))  # fmt: skip
        expected = self.naive.send(user, request, template, fallback, self.now)
        event = decode_send_event(out[0].value)
        decision = event.decision
        assert decision is not None
        actual = (decision.outcome, decision.reason, decision.category)
        assert actual == (expected.outcome, expected.reason, expected.category)
        if expected.outcome == "allow":
            assert decision.conversation is not None
            assert decision.price is not None
            assert (decision.conversation.action, decision.price.type) == (expected.action, expected.price)
        again = any(r.body == (template, fallback) for r in known)
        commands = [o for o in out if o.topic is SEND_COMMANDS]
        assert len(commands) == (expected.outcome == "allow" and not again)
        if commands:
            self.commands.append((user, request))

    def _hear(self, key: tuple[str, str], what: str) -> None:
        user, request = key
        command = f"{request}#1"
        wamid = f"wamid.{user}.{request}"
        event: ConversationEvent
        if what == "accepted":
            event = SendAccepted(event_id="a", at_ms=self.now, command_id=command, wamid=wamid, user=user)
        elif what == "refused":
            event = SendFailed(
                event_id="f", at_ms=self.now, command_id=command, origin="meta", reason="x", retryable=False
            )
        elif what == "uncertain":
            event = SendUncertain(event_id="u", at_ms=self.now, command_id=command, cause="timeout")
        else:
            event = StatusReceived(
                event_id=what, at_ms=self.now, received_ms=self.now, phone_number_id="N1", user=user, wamid=wamid,
                status=what, meta=msgspec.Raw(b"{}"), command_id=command,
            )  # fmt: skip
        request_at = next(r.at for r in self.naive.requests if (r.user, r.id) == key)
        if self.now >= request_at + 8 * DAY:
            return  # nobody remembers it any more
        self.play(user, event)
        self.naive.hear(what, key, self.now)

    def agree(self) -> None:
        """The steps of every message and the conversations counted are the model's."""
        self.world.fire(self.now)
        picture = Picture(self.naive.happened, self.now)
        events = self.world.send_events()
        for (user, request), message in picture.messages.items():
            steps = [
                e.event for e in events
                if e.request_id == request and e.user is not None and e.user.user_id == user and e.event != "decided"
            ]  # fmt: skip
            assert steps == message.steps, (user, request)
        counted = sorted((_user(e), _kind(e)) for e in events if e.charge is not None and e.charge.counted)
        assert counted == sorted(picture.counted)
        if self.room and not any(message.flying() for message in picture.messages.values()):
            free = [e for e in events if e.charge is not None and e.charge.type == "free_tier"]
            taken = [
                m
                for scope in self.world.claims.scopes
                if scope.startswith("free:")
                for m in self.world.claims.members(scope)
            ]
            assert len(taken) == len(free), (
                "a place in the free tier is held by what was charged to it, and nothing else"
            )


def _user(event: SendEvent) -> str:
    assert event.user is not None
    return event.user.user_id or ""


def _kind(event: SendEvent) -> str:
    assert event.charge is not None
    return "free_entry_point" if event.charge.type == "free_entry_point" else event.charge.category


@settings(max_examples=250, deadline=None)
@given(scripts, st.sampled_from([1, 1000, 1000]), st.booleans())
def test_the_fold_agrees_with_the_naive_model(script: list[tuple[Any, ...]], tier: int, room: bool) -> None:
    game = Game(tier, room)
    for move in script:
        game.move(move)
    game.agree()


@settings(max_examples=100, deadline=None)
@given(scripts)
def test_a_silent_replay_under_other_facts_comes_to_the_same_state(
    script: list[tuple[Any, ...]],
) -> None:
    game = Game(2, True)
    for move in script:
        game.move(move)
    live = game.world
    other = AccountFacts()
    other.apply(AccountChanged(
        event_id="x", at_ms=START, waba_id="W1", subject="account", id="W1",
        fields={"regime": "2026-10-01", "payment_method": "missing", "messaging_limit": 1, "currency": "EUR"},
    ), 77)  # fmt: skip
    again = World(facts=other)
    again.replay(live.log)
    assert again.states == live.states
    assert again.timers == live.timers


@settings(max_examples=100, deadline=None)
@given(scripts, st.randoms(use_true_random=False))
def test_records_read_twice_say_nothing_new(script: list[tuple[Any, ...]], random: Any) -> None:
    game = Game(1000, True)
    for move in script:
        game.move(move)
        if game.world.log and random.random() < 0.5:
            record = random.choice(game.world.log[-5:])
            if record.event.at_ms + DAY <= game.now:
                continue  # a day later an answer is repeated in short: see test_requests.py
            before = {o.id: o.value for o in game.world.out}
            out = game.play(record.key.partition(":")[2], record.event)
            for o in out:
                if o.topic in (SEND_EVENTS, MESSAGES_RECEIVED):
                    assert before[o.id] == o.value, (
                        "a repeated record may only repeat what was said, byte for byte"
                    )
                assert o.topic is not SEND_COMMANDS, "nothing is ever sent twice"
    game.agree()
