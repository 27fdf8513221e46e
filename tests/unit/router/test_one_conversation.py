"""A user with several names has one conversation: the others are addresses to it, and what they held moves there."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from services.router.addresses import MAX_HOPS
from services.router.moving import PART_BYTES
from services.router.state import ADDRESS_MS, MAX_NAMES, RENEW_MS, State
from shared.events import (
    CancelRequested,
    ConversationWebhook,
    MessageReceived,
    PreferenceChanged,
    ReceivedMessage,
    ReceiverVerified,
    SendEvent,
    SendFailed,
    SendMessage,
    SendUncertain,
    UncertainSettled,
    UserKnownAs,
    UserPreference,
    decode_command,
    decode_user_preference,
)
from shared.stream.fold import Outgoing
from shared.times import DAY_MS
from shared.topics import (
    CONVERSATION_EVENTS,
    KEEP_MS,
    MESSAGES_RECEIVED,
    PREFERENCES,
    SEND_COMMANDS,
)
from tests.unit.router.make import HOUR, NOW, USER, accepted, events, received, request, status, world
from tests.unit.router.world import World

ID = "DE.13491208655302741918"
NEW_ID = "DE.2000"
REWRITTEN = "4915110000099"
NEW = "4915110000077"
RECIPIENT = msgspec.Raw(b'{"recipient":"%s","type":"text","text":{"body":"x"}}' % ID.encode())


def key(user: str) -> str:
    return f"N1:{user}"


def said(wamid: str = "wamid.in", user: str = USER, at: int = NOW, **more: Any) -> MessageReceived:
    return replace(received(wamid, at, **more), user=user, waba_id="W1")


def both(made: World, at: int = NOW, wamid: str = "wamid.both", user: str = USER, id_: str = ID) -> None:
    """A message that names the number and the id."""
    made.play(key(user), said(wamid, user, at, bsuid=id_), at)


def changed(made: World, old: str, new: str, at: int, wamid: str = "wamid.system") -> None:
    """Meta says that the user has another number now."""
    made.play(key(old), said(wamid, old, at, type="system", renamed=new), at)


def state(made: World, user: str) -> State | None:
    value = made.states.get(key(user))
    return None if value is None else made.fold.decode_state(value)


def home(made: World, user: str) -> State:
    found = state(made, user)
    assert found is not None
    assert found.address is None
    return found


def goes_to(made: World, user: str) -> str | None:
    found = state(made, user)
    return None if found is None or found.address is None else found.address.to


def ask(made: World, user: str, id_: str = "r1", at: int = NOW, **more: Any) -> SendEvent:
    """The answer to a request to one of the user's names."""
    before = len(made.out)
    made.play(key(user), request(id_, user=user, at=at, **more), at)
    return next(e for e in events(tuple(made.out[before:])) if e.event == "decided" and e.request_id == id_)


def reason(event: SendEvent) -> str:
    assert event.decision is not None
    return event.decision.reason


def commands(made: World) -> list[SendMessage]:
    return [decode_command(out.value) for out in made.out if out.topic is SEND_COMMANDS]


def messages(made: World) -> list[ReceivedMessage]:
    told = [out for out in made.out if out.topic is MESSAGES_RECEIVED]
    return [msgspec.json.decode(out.value, type=ReceivedMessage) for out in told]


def steps(made: World, request_id: str) -> list[str]:
    return [event.event for event in made.send_events() if event.request_id == request_id]


def own(made: World, kind: str) -> list[Outgoing]:
    """What the router appended to its own log."""
    return [out for out in made.out if out.topic is CONVERSATION_EVENTS and out.type == kind]


# --- the number and the id


def test_a_webhook_that_names_number_and_id_makes_the_id_an_address_to_the_number() -> None:
    made = world()
    both(made)
    assert goes_to(made, ID) == USER
    answer = ask(made, ID, template=None, message=RECIPIENT)
    assert reason(answer) == "ok", "the window is the number's"
    assert answer.user is not None
    assert (answer.user.user_id, answer.user.bsuid) == (USER, ID)
    (command,) = commands(made)
    assert (command.user, command.conversation_key) == (USER, key(USER))
    assert msgspec.json.decode(command.message) == {
        "type": "text",
        "text": {"body": "x"},
        "to": f"+{USER}",
    }


def test_it_is_told_once_however_often_both_are_named() -> None:
    made = world()
    for n in range(20):
        both(made, NOW + n * HOUR, f"wamid.{n}")
    assert len(own(made, "UserKnownAs")) == 1


def test_a_message_under_the_id_alone_is_told_as_the_users_with_the_window_of_all() -> None:
    made = world()
    both(made)
    made.play(key(ID), said("wamid.2", ID, NOW + HOUR, bsuid=ID), NOW + HOUR)
    first, second = messages(made)
    assert (second.user.user_id, second.user.bsuid) == (USER, ID)
    assert second.window_expires_at == "2026-11-03T13:00:00.000Z"
    assert first.user == second.user
    assert reason(ask(made, USER, at=NOW + 24 * HOUR + 1, template=None)) == "ok"


def test_what_the_id_held_before_the_number_was_known_moves_to_it() -> None:
    made = world()
    made.play(key(ID), said("wamid.1", ID, NOW, bsuid=ID, referral="ad"), NOW)
    made.play(
        key(ID),
        PreferenceChanged(event_id="p", at_ms=NOW, phone_number_id="N1", user=ID, opted_out=True),
        NOW,
    )
    made.play(key(ID), ReceiverVerified(event_id="v", at_ms=NOW, phone_number_id="N1", user=ID), NOW)
    ask(made, ID, "r1", template="order_update")
    made.play(key(ID), accepted(user=ID), NOW)
    both(made, NOW + HOUR)
    moved = home(made, USER)
    assert (moved.window_ms, moved.clicked_ms) == (NOW + 25 * HOUR, NOW)
    assert (moved.opted_out, moved.verified) == (True, True)
    assert [life.command for life in moved.lives] == ["r1#1"]
    made.play(key(ID), said("wamid.1", ID, NOW, bsuid=ID), NOW + 2 * HOUR)
    assert len(messages(made)) == 2, "a message that was told is known after the move"
    assert reason(ask(made, USER, "r2")) == "opted_out"
    made.play(key(ID), replace(status("delivered"), user=ID), NOW + 2 * HOUR)
    assert steps(made, "r1") == ["decided", "accepted", "delivered"]


def test_the_word_on_marketing_is_told_again_for_the_home_and_the_last_one_counts() -> None:
    made = world()
    made.play(
        key(USER),
        PreferenceChanged(event_id="p", at_ms=NOW + 5, phone_number_id="N1", user=USER, opted_out=False),
        NOW,
    )
    made.play(
        key(ID),
        PreferenceChanged(
            event_id="q", at_ms=NOW + 9, phone_number_id="N1", user=ID, opted_out=True, reference="x"
        ),
        NOW,
    )
    both(made, NOW + HOUR)
    words: list[UserPreference] = [
        decode_user_preference(o.value) for o in made.out if o.topic is PREFERENCES
    ]
    assert [(w.user.user_id, w.marketing) for w in words] == [(USER, "in"), (None, "out"), (USER, "out")]
    assert words[-1].reference == "x"
    assert reason(ask(made, ID, at=NOW + HOUR)) == "opted_out"


def test_meta_answers_a_send_to_an_id_with_the_number() -> None:
    made = world()
    made.play(key(ID), said("wamid.1", ID, NOW, bsuid=ID), NOW)
    ask(made, ID, template=None, message=RECIPIENT)
    assert commands(made)[0].user == ID
    made.play(key(ID), accepted(user=USER), NOW + 1)
    assert goes_to(made, ID) == USER
    assert home(made, USER).bsuid == ID
    made.play(key(ID), replace(status("read"), user=ID), NOW + 2000)
    assert steps(made, "r1") == ["decided", "accepted", "delivered", "read"]
    assert commands(made)[0].conversation_key == key(ID), "the sender's word still comes under the id"


def test_a_status_of_a_send_to_an_id_names_the_number() -> None:
    made = world()
    made.play(key(ID), said("wamid.1", ID, NOW, bsuid=ID), NOW)
    ask(made, ID, template=None, message=RECIPIENT)
    made.play(key(ID), replace(status("sent", recipient=USER), user=ID), NOW + 1000)
    assert goes_to(made, ID) == USER
    assert steps(made, "r1") == ["decided", "accepted", "sent"]


def test_a_status_under_the_number_names_the_id() -> None:
    made = world()
    ask(made, USER)
    made.play(key(USER), status("delivered", bsuid=ID), NOW + 1000)
    assert goes_to(made, ID) == USER
    assert home(made, USER).bsuid == ID


def test_a_one_time_password_goes_to_the_number_behind_an_id_and_to_no_id_alone() -> None:
    made = world()
    assert reason(ask(made, ID, "r1", template="login_code")) == "recipient_invalid"
    both(made)
    assert reason(ask(made, ID, "r2", template="login_code")) == "ok"
    assert commands(made)[0].user == USER


def test_a_deferred_request_to_an_id_is_sent_to_the_number_once_it_is_known() -> None:
    made = world()
    ask(made, ID, "r1", template="order_update", message=RECIPIENT, not_before_ms=NOW + 3 * HOUR)
    both(made, NOW + HOUR)
    made.fire(NOW + 3 * HOUR)
    (command,) = commands(made)
    assert (command.user, msgspec.json.decode(command.message)["to"]) == (USER, f"+{USER}")
    made.play(
        key(ID),
        request("r1", "order_update", NOW, ID, message=RECIPIENT, not_before_ms=NOW + 3 * HOUR),
        NOW + 4 * HOUR,
    )
    assert len(commands(made)) == 1, "the request is known under both names"


def test_a_request_can_be_taken_back_under_the_other_name() -> None:
    made = world()
    both(made)
    ask(made, ID, "r1", not_before_ms=NOW + 3 * HOUR)
    made.play(
        key(ID),
        CancelRequested(event_id="c", at_ms=NOW + 1, request_id="r1", phone_number_id="N1", user=ID),
        NOW + 1,
    )
    assert [(e.event, reason(e)) for e in made.send_events()] == [("decided", "ok"), ("decided", "cancelled")]


def test_outcomes_of_every_kind_find_a_life_that_moved() -> None:
    made = world()
    for n in range(3):
        ask(made, ID, f"r{n}", template="order_update")
    both(made, NOW + 1)
    made.play(
        key(ID),
        SendFailed(
            event_id="f", at_ms=NOW + 2, command_id="r0#1", origin="meta", reason="x", retryable=False
        ),
        NOW + 2,
    )
    made.play(
        key(ID), SendUncertain(event_id="u", at_ms=NOW + 2, command_id="r1#1", cause="timeout"), NOW + 2
    )
    assert [member.split("\n")[1] if "\n" in member else USER for member in made.uncertain], (
        "operators find it"
    )
    made.play(
        key(ID),
        UncertainSettled(
            event_id="s",
            at_ms=NOW + 3,
            phone_number_id="N1",
            user=ID,
            command_id="r1#1",
            verdict="not_sent",
            by="Mia",
        ),
        NOW + 3,
    )
    made.play(key(ID), accepted("r2#1", NOW + 3, ID), NOW + 3)
    assert [steps(made, f"r{n}")[1:] for n in range(3)] == [["failed"], ["uncertain", "failed"], ["accepted"]]
    assert made.uncertain == {}


def test_an_open_message_that_moves_is_found_by_operators_where_its_user_is_now() -> None:
    made = world()
    ask(made, ID, "r1", template="order_update")
    made.play(
        key(ID), SendUncertain(event_id="u", at_ms=NOW + 2, command_id="r1#1", cause="timeout"), NOW + 2
    )
    (before,) = made.uncertain
    both(made, NOW + 3)
    (after,) = made.uncertain
    assert ID in before
    assert ID not in after
    assert USER in after


# --- limits


def tier(made: World) -> set[str]:
    return made.claims.members("tier:W1")


def used(made: World) -> dict[str, int]:
    return {name: scope.used for name, scope in made.claims.scopes.items() if scope.used}


@pytest.mark.parametrize("heard", ["nothing", "accepted", "read"])
def test_a_user_written_to_under_two_names_is_counted_once_in_the_messaging_limit(heard: str) -> None:
    made = world()
    ask(made, ID, "r1")
    if heard != "nothing":
        made.play(key(ID), accepted("r1#1", NOW, ID), NOW)
    if heard == "read":
        made.play(key(ID), replace(status("read"), user=ID), NOW + 1000)
    ask(made, USER, "r2")
    assert tier(made) == {ID, USER}
    made.play(key(USER), status("sent", "r2#1", NOW + 2000, bsuid=ID), NOW + 2000)
    assert tier(made) == {USER}
    made.play(key(USER), status("failed", "r2#1", NOW + 3000), NOW + 3000)
    assert tier(made) == {USER}, "the other message still counts"
    if heard != "read":
        made.play(key(ID), replace(status("failed", "r1#1", NOW + 3000), user=ID), NOW + 3000)
        assert tier(made) == set(), "a place is given back where the message has moved"


def test_a_place_that_a_failed_message_gave_back_is_not_taken_again() -> None:
    made = world()
    ask(made, ID, "r1")
    made.play(key(ID), replace(status("failed"), user=ID), NOW + 1000)
    assert tier(made) == set()
    both(made, NOW + 2000)
    assert tier(made) == set()


def test_budgets_and_free_tier_hold_the_same_after_a_move() -> None:
    made = world(budgets=[{"category": None, "amount_micros": 10**9}])
    ask(made, ID, "r1")
    made.play(key(ID), said("wamid.1", ID, NOW, bsuid=ID), NOW)
    ask(made, ID, "r2", template=None, message=RECIPIENT)
    before = used(made)
    both(made, NOW + 1)
    assert used(made) == before
    assert all(USER in member for scope in made.claims.scopes.values() for member in scope.places)
    for nth in (1, 2):
        made.play(
            key(ID),
            SendFailed(
                event_id="f",
                at_ms=NOW + 2,
                command_id=f"r{nth}#1",
                origin="meta",
                reason="x",
                retryable=False,
            ),
            NOW + 2,
        )
    assert used(made) == {}


# --- numbers


def test_a_number_that_meta_rewrites_is_an_address_to_the_one_sent_to() -> None:
    made = world()
    ask(made, USER)
    made.play(key(USER), accepted(user=REWRITTEN), NOW)
    assert goes_to(made, REWRITTEN) == USER
    made.play(key(REWRITTEN), said("wamid.1", REWRITTEN, NOW + HOUR), NOW + HOUR)
    assert messages(made)[0].user.user_id == USER
    assert reason(ask(made, REWRITTEN, "r2", NOW + HOUR, template=None)) == "ok"
    assert commands(made)[-1].user == USER
    made.play(key(USER), accepted("r2#1", NOW + HOUR, REWRITTEN), NOW + HOUR)
    assert len(own(made, "UserKnownAs")) == 1


def test_a_user_with_a_new_number_takes_everything_along() -> None:
    made = world()
    both(made)
    made.play(
        key(USER),
        PreferenceChanged(event_id="p", at_ms=NOW, phone_number_id="N1", user=USER, opted_out=True),
        NOW,
    )
    changed(made, USER, NEW, NOW + HOUR)
    assert (goes_to(made, USER), goes_to(made, ID)) == (NEW, NEW), "no chain of addresses stays"
    assert home(made, NEW).bsuid == ID
    assert reason(ask(made, USER, "r1", NOW + HOUR)) == "opted_out"
    assert reason(ask(made, ID, "r2", NOW + HOUR, template=None)) == "ok"
    assert commands(made)[-1].user == NEW
    assert [m.user.user_id for m in messages(made)] == [USER, USER], (
        "the change itself is told where it happened"
    )


def test_a_change_that_is_told_twice_is_one() -> None:
    made = world()
    both(made)
    changed(made, USER, NEW, NOW + HOUR)
    known = made.states.copy()
    changed(made, USER, NEW, NOW + HOUR)
    assert made.states == known
    assert len(messages(made)) == 2


def test_the_next_owner_of_a_number_gets_a_conversation_of_their_own() -> None:
    made = world()
    both(made)
    changed(made, USER, NEW, NOW + HOUR)
    made.play(key(USER), said("wamid.other", USER, NOW + 2 * HOUR), NOW + 2 * HOUR)
    assert home(made, USER).bsuid is None
    assert all(name.user != USER for name in home(made, NEW).names)
    assert reason(ask(made, USER, "r1", NOW + 2 * HOUR, template=None)) == "ok"
    assert commands(made)[-1].user == USER
    changed(made, USER, NEW, NOW + HOUR)
    assert home(made, USER), "the change is older than what is known by now"


def test_a_message_from_before_the_change_that_comes_late_is_the_same_users() -> None:
    made = world()
    both(made)
    changed(made, USER, NEW, NOW + HOUR)
    made.play(key(USER), said("wamid.late", USER, NOW + HOUR - 1), NOW + 2 * HOUR)
    assert goes_to(made, USER) == NEW
    assert messages(made)[-1].user.user_id == NEW


def test_a_user_who_changes_back_is_at_home_again_with_everything() -> None:
    made = world()
    both(made)
    changed(made, USER, NEW, NOW + HOUR)
    ask(made, NEW, "r1", NOW + HOUR, template=None)
    changed(made, NEW, USER, NOW + 2 * HOUR, "wamid.back")
    assert (goes_to(made, NEW), goes_to(made, ID)) == (USER, USER)
    assert [life.command for life in home(made, USER).lives] == ["r1#1"]
    changed(made, USER, NEW, NOW + HOUR)
    assert goes_to(made, NEW) == USER, "the first change comes again and is over"
    made.play(key(NEW), accepted("r1#1", NOW + 2 * HOUR, NEW), NOW + 2 * HOUR)
    assert steps(made, "r1") == ["decided", "accepted"]


def test_what_becomes_of_a_message_to_the_old_number_is_told_even_after_somebody_else_has_it() -> None:
    made = world()
    ask(made, USER, "r1")
    changed(made, USER, NEW, NOW + HOUR)
    made.play(key(USER), said("wamid.other", USER, NOW + 2 * HOUR), NOW + 2 * HOUR)
    made.play(key(USER), status("delivered", at=NOW + 3 * HOUR), NOW + 3 * HOUR)
    assert steps(made, "r1") == ["decided", "accepted", "delivered"]
    (told,) = [e for e in made.send_events() if e.event == "delivered"]
    assert told.user is not None
    assert told.user.user_id == NEW


def test_an_id_that_changes_leads_to_the_new_one_and_both_to_the_number() -> None:
    made = world()
    made.play(key(ID), said("wamid.1", ID, NOW, bsuid=ID), NOW)
    made.play(key(ID), said("wamid.s", ID, NOW + 1, type="system", renamed=NEW_ID), NOW + 1)
    assert goes_to(made, ID) == NEW_ID
    assert home(made, NEW_ID).window_ms == NOW + 24 * HOUR
    both(made, NOW + 2, id_=NEW_ID)
    assert (goes_to(made, ID), goes_to(made, NEW_ID)) == (USER, USER)
    assert home(made, USER).bsuid == NEW_ID


def test_the_id_that_changes_with_the_number_leaves_the_user_where_the_number_went() -> None:
    made = world()
    both(made)
    changed(made, USER, NEW, NOW + HOUR)
    at = NOW + HOUR + 1000
    made.play(key(USER), said("wamid.s2", USER, at, type="system", renamed=NEW_ID), at)
    assert (goes_to(made, USER), goes_to(made, ID), goes_to(made, NEW_ID)) == (NEW, NEW, NEW)
    assert home(made, NEW).bsuid == NEW_ID


def test_an_old_number_whose_next_owner_changes_theirs_leads_to_the_newest() -> None:
    made = world()
    both(made)
    changed(made, USER, NEW, NOW + HOUR)
    changed(made, USER, REWRITTEN, NOW + 2 * HOUR, "wamid.system2")
    assert goes_to(made, USER) == REWRITTEN
    assert all(name.user != USER for name in home(made, NEW).names)
    assert messages(made)[-1].user.user_id == REWRITTEN


def test_a_new_id_of_a_known_number_is_another_name_of_it() -> None:
    made = world()
    both(made)
    made.play(key(USER), ConversationWebhook(
        event_id="u", at_ms=NOW + 1, received_ms=NOW + 1, phone_number_id="N1", user=USER, field="user_id_update",
        item=msgspec.Raw(b"{}"), bsuid=ID, renamed=NEW_ID,
    ), NOW + 1)  # fmt: skip
    assert (goes_to(made, ID), goes_to(made, NEW_ID)) == (USER, USER)
    assert home(made, USER).bsuid == NEW_ID


def test_an_id_follows_its_user_to_whatever_number_was_named_last() -> None:
    made = world()
    both(made)
    both(made, NOW + HOUR, "wamid.2", NEW)
    assert goes_to(made, ID) == NEW
    assert all(name.user != ID for name in home(made, USER).names), "the former home is told"
    both(made, NOW + 2 * HOUR, "wamid.3", USER)
    assert goes_to(made, ID) == USER
    both(made, NOW + HOUR, "wamid.4", NEW)
    assert goes_to(made, ID) == USER, "an older word counts no more"


# --- ends


@pytest.mark.parametrize("apart", [-1, 0, 1])
def test_two_conversations_that_become_addresses_to_each_other_end_as_one(apart: int) -> None:
    """Each learns of the other at the same time, so that both contents are on their way at once."""
    made = world()
    made.play(key(USER), said("wamid.1", USER, NOW), NOW)
    made.play(key(NEW), said("wamid.2", NEW, NOW), NOW)
    at = NOW + HOUR
    words = [
        UserKnownAs(event_id="a", at_ms=at, noted_ms=at, phone_number_id="N1", user=USER, known_as=NEW),
        UserKnownAs(
            event_id="b", at_ms=at + apart, noted_ms=at, phone_number_id="N1", user=NEW, known_as=USER
        ),
    ]
    crossing = _Held(
        fold=made.fold, facts=made.facts, claims=made.claims, states=made.states, timers=made.timers
    )
    for word in words:
        crossing.play(key(word.user), word, at)
    crossing.let_go(at)
    homes = [u for u in (USER, NEW) if goes_to(crossing, u) is None]
    assert len(homes) == 1
    crossing.play(key(USER), said("wamid.1", USER, NOW), at)
    crossing.play(key(NEW), said("wamid.2", NEW, NOW), at)
    crossing.let_go(at)
    assert messages(crossing) == [], "both are known wherever they arrive"


@dataclass
class _Held(World):
    """Own records wait until they are let go."""

    held: list[Outgoing] = field(default_factory=list)

    def _fold(self, key: str, event: Any, now_ms: int) -> tuple[Outgoing, ...]:
        out = self._step(key, event, now_ms, None)
        self.out += out
        self.held += [own for own in out if own.topic is CONVERSATION_EVENTS]
        return out

    def let_go(self, now_ms: int) -> None:
        for _ in range(100):
            if not self.held:
                return
            own = self.held.pop(0)
            self._fold(own.key, self.fold.decode(own.value), now_ms)
        raise AssertionError("records go round without end")


def test_a_circle_that_nothing_else_ends_is_ended_by_the_hop_limit() -> None:
    made = world()
    for user, to in ((USER, NEW), (NEW, USER)):
        lost = UserKnownAs(
            event_id=user, at_ms=NOW, noted_ms=NOW, phone_number_id="N1", user=user, known_as=to
        )
        made.play(key(user), lost, NOW)
    made.play(key(USER), said("wamid.1", USER, NOW + 1), NOW + 1)
    assert len(messages(made)) == 1
    assert len(own(made, "MessageReceived")) == MAX_HOPS


# --- the log


def test_an_address_is_renewed_as_long_as_the_home_remembers_and_then_forgotten() -> None:
    made = world()
    both(made)
    made.play(
        key(USER),
        PreferenceChanged(
            event_id="p", at_ms=NOW, phone_number_id="N1", user=USER, opted_out=True, noted_ms=NOW
        ),
        NOW,
    )
    made.fire(NOW + 10 * RENEW_MS)
    assert len(own(made, "UserKnownAs")) == 1 + 10
    assert goes_to(made, ID) == USER
    short = world()
    both(short)
    short.fire(NOW + ADDRESS_MS - 1)
    assert (goes_to(short, ID), state(short, USER)) == (USER, None)
    short.fire(NOW + ADDRESS_MS)
    assert short.states == {}
    assert short.timers == {}


def test_a_home_that_was_forgotten_learns_of_its_address_from_what_it_passes_on() -> None:
    made = world()
    both(made)
    made.fire(NOW + 20 * DAY_MS)
    assert state(made, USER) is None
    at = NOW + 20 * DAY_MS
    word = PreferenceChanged(
        event_id="p", at_ms=at, phone_number_id="N1", user=ID, opted_out=True, noted_ms=at
    )
    made.play(key(ID), word, at)
    assert (home(made, USER).bsuid, home(made, USER).opted_out) == (ID, True)
    made.fire(NOW + 300 * DAY_MS)
    assert reason(ask(made, ID, at=NOW + 300 * DAY_MS)) == "opted_out"


def test_addresses_outlive_the_log_though_the_state_is_lost_after_any_time() -> None:
    made = world()
    both(made)
    changed(made, USER, NEW, NOW + HOUR)
    made.play(
        key(NEW),
        PreferenceChanged(
            event_id="p", at_ms=NOW, phone_number_id="N1", user=NEW, opted_out=True, noted_ms=NOW
        ),
        NOW + HOUR,
    )
    for days in range(1, 300, 17):
        now = NOW + days * DAY_MS
        made.fire(now)
        rebuilt = world()
        rebuilt.replay(record for record in made.log if record.now_ms > now - KEEP_MS)
        for user in (USER, ID):
            assert goes_to(rebuilt, user) == NEW
        assert home(rebuilt, NEW).opted_out


def test_a_silent_replay_of_a_move_gives_the_same_states() -> None:
    made = world()
    made.play(key(ID), said("wamid.1", ID, NOW, bsuid=ID), NOW)
    ask(made, ID, "r1", template=None, message=RECIPIENT)
    made.play(key(ID), accepted("r1#1", NOW, USER), NOW + 1)
    changed(made, USER, NEW, NOW + HOUR)
    made.play(key(USER), said("wamid.other", USER, NOW + 2 * HOUR), NOW + 2 * HOUR)
    rebuilt = world()
    rebuilt.replay(made.log)
    assert rebuilt.states == made.states
    assert {name: scope.places.keys() for name, scope in rebuilt.claims.scopes.items()} == {
        name: scope.places.keys() for name, scope in made.claims.scopes.items()
    }


def test_what_moves_twice_because_the_outbox_was_published_again_is_merged_once() -> None:
    made = world()
    ask(made, ID, "r1", template="order_update", not_before_ms=NOW + 2 * HOUR)
    both(made, NOW + 1)
    (moved,) = own(made, "ConversationMoved")
    made.fire(NOW + 2 * HOUR)
    known = made.states.copy()
    made.play(moved.key, made.fold.decode(moved.value), NOW + 3 * HOUR)
    assert made.states == known
    made.fire(NOW + 4 * HOUR)
    assert len(commands(made)) == 1


def test_a_large_conversation_moves_in_parts_that_kafka_takes() -> None:
    made = world()
    body = msgspec.Raw(b'{"text":{"body":"%s"},"type":"text"}' % (b"x" * 200_000))
    for n in range(30):
        ask(made, ID, f"r{n}", template="order_update", message=body, not_before_ms=NOW + HOUR)
    both(made, NOW + 1)
    parts = own(made, "ConversationMoved")
    assert len(parts) > 5
    assert max(len(part.value) for part in parts) < 2 * PART_BYTES
    assert {deferred.id for deferred in home(made, USER).deferred} == {f"r{n}" for n in range(30)}
    assert len({answer.request for answer in home(made, USER).answers}) == 30


def test_a_user_has_so_many_names_and_no_more() -> None:
    made = world()
    for n in range(20):
        both(made, NOW + n, f"wamid.{n}", id_=f"DE.{n}")
    assert len(home(made, USER).names) == MAX_NAMES


def test_the_version_before_reads_an_address_as_an_empty_conversation() -> None:
    made = world()
    both(made)
    values = msgspec.msgpack.decode(made.states[key(ID)])
    fields = [one.name for one in msgspec.structs.fields(State)]
    assert (
        values[: fields.index("wake_ms")]
        == msgspec.msgpack.decode(made.fold.encode_state(State(1, "N1", ID)))[: fields.index("wake_ms")]
    )


def test_an_event_that_is_passed_on_is_unchanged_but_for_its_user() -> None:
    made = world()
    both(made)
    sent = said("wamid.2", ID, NOW + HOUR, bsuid=ID, profile_name="Ada")
    made.play(key(ID), sent, NOW + HOUR)
    (passed,) = own(made, "MessageReceived")
    assert made.fold.decode(passed.value) == replace(sent, user=USER, via=(ID,))
    assert passed.key == key(USER)
