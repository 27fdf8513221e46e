"""What Meta tells beside messages and statuses reaches the business, once; and what opens a window, on each channel."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from services.ingress.updates import Update
from services.ingress.webhooks import updates
from services.router.state import REMEMBER_MS, WINDOW_MS
from shared.events import ConversationWebhook, MessageReceived, PassedWebhook, ReceivedMessage
from shared.stream.fold import Outgoing
from shared.times import rfc3339
from shared.topics import MESSAGES_RECEIVED, WEBHOOKS_PASSED
from tests.unit.router.make import KEY, NOW, USER, received
from tests.unit.router.make import state as state_of
from tests.unit.router.world import World

decode = msgspec.json.Decoder(PassedWebhook).decode
decode_received = msgspec.json.Decoder(ReceivedMessage).decode


def note(id_: str = "N1:calls:c1", user: str = USER, at: int = NOW, **more: Any) -> ConversationWebhook:
    return ConversationWebhook(
        event_id=id_,
        at_ms=at,
        received_ms=at + 500,
        phone_number_id="N1",
        user=user,
        field=more.pop("field", "calls"),
        item=msgspec.Raw(b'{"id" : "c1"}'),
        waba_id=more.pop("waba_id", "W1"),
        list="calls",
        **more,
    )


def passed(out: tuple[Outgoing, ...]) -> list[PassedWebhook]:
    return [decode(o.value) for o in out if o.topic is WEBHOOKS_PASSED]


def test_what_meta_tells_of_a_conversation_is_passed_on_to_the_byte_and_opens_nothing() -> None:
    world = World()
    (out,) = world.play(KEY, note(bsuid="DE.1"), NOW)
    assert (out.topic, out.key, out.type) == (WEBHOOKS_PASSED, KEY, "passed")
    (told,) = passed((out,))
    assert bytes(told.value) == b'{"id" : "c1"}'
    assert msgspec.json.decode(out.value) == {
        "event_id": "N1:calls:c1:passed",
        "at": rfc3339(NOW),
        "received_at": rfc3339(NOW + 500),
        "channel": "whatsapp",
        "field": "calls",
        "list": "calls",
        "waba_id": "W1",
        "phone_number_id": "N1",
        "user": {"user_id": USER, "bsuid": "DE.1"},
        "value": {"id": "c1"},
        "v": 1,
    }
    known = state_of(world)
    assert known is not None
    assert known.window_ms == 0


def test_without_a_user_it_goes_by_the_account() -> None:
    (out,) = World().play("N1:", note(user=""), NOW)
    assert out.key == "W1"
    assert passed((out,))[0].user is None
    (nameless,) = World().play("N1:", note(user="", waba_id=""), NOW)
    assert nameless.key == "N1", "a record without a key would go anywhere"


def test_sent_again_it_is_passed_on_once_for_eight_days() -> None:
    world = World()
    assert len(world.play(KEY, note(), NOW)) == 1
    for late in (1000, REMEMBER_MS // 2, REMEMBER_MS - 1000):
        assert world.play(KEY, replace(note(), received_ms=NOW + late), NOW + late) == ()
    assert passed(world.play(KEY, note("N1:calls:c2"), NOW + REMEMBER_MS - 1000))


def test_what_was_passed_on_is_forgotten_with_the_conversation() -> None:
    world = World()
    world.play(KEY, note(), NOW)
    world.fire(NOW + 2 * REMEMBER_MS)
    assert world.states == {}
    assert world.timers == {}


def test_a_replay_passes_nothing_on_but_knows_what_was() -> None:
    world = World()
    world.play(KEY, note(), NOW)
    again = World()
    again.replay(world.log)
    assert again.states == world.states
    assert again.play(KEY, note(), NOW) == ()


FIXTURES = Path(__file__).parents[2] / "fixtures" / "webhooks"


def brought(shape: str) -> tuple[World, list[ReceivedMessage]]:
    """The world after a fixture's webhook, and the messages that businesses were told of."""
    world = World()
    body = json.dumps(json.loads((FIXTURES / f"{shape}.json").read_text())["body"]).encode()
    for part in updates(body, NOW):
        if isinstance(part, Update):
            world.play(part.key, part.event, NOW)  # type: ignore[arg-type]
    return world, [decode_received(o.value) for o in world.out if o.topic is MESSAGES_RECEIVED]


@pytest.mark.parametrize(
    ("shape", "channel", "key", "sent_ms"),
    [
        ("message_text", "whatsapp", "106540352242922:16505551234", 1749416383_000),
        ("message_timestamp_in_milliseconds", "whatsapp", "106540352242922:16505551234", 1749416383_123),
        ("call_connect_by_user", "whatsapp", "106540352242922:16505551234", 1749416383_000),
        ("messenger_attachment_with_quick_reply", "messenger", "1234567890:5678901234", 1749416383_123),
        ("messenger_referral", "messenger", "1234567890:5678901234", 1749416383_123),
        ("messenger_postback", "messenger", "1234567890:5678", 1458692752_478),
        ("instagram_story_mention", "instagram", "17841400000000001:1122334455", 1749416383_123),
        ("instagram_reaction", "instagram", "17841400000000001:1122334455", 1749416383_123),
        ("instagram_messaging_among_changes", "instagram", "17841400000000001:1122334455", 1749416383_123),
    ],
)
def test_the_window_is_open_for_a_day_from_what_the_user_did(
    shape: str, channel: str, key: str, sent_ms: int
) -> None:
    world, messages = brought(shape)
    assert messages
    for message in messages:
        assert message.channel == channel
        assert message.sent_at == rfc3339(sent_ms)
        assert message.window_expires_at == rfc3339(sent_ms + WINDOW_MS)
    assert world.fold.decode_state(world.states[key]).window_ms == sent_ms + WINDOW_MS


@pytest.mark.parametrize(
    "shape",
    [
        "call_terminate", "call_connect_by_business", "history", "smb_message_echoes", "standby", "message_edit", "message_revoke",
        "message_system_number_changed", "messenger_echo_delivery_read_standby", "messenger_message_edit", "messenger_message_unsent",
        "messenger_optin", "messenger_handovers", "messenger_standby_of_all_kinds", "instagram_seen", "instagram_comment",
        "instagram_message_echo", "instagram_message_unsent", "instagram_standby", "instagram_handover",
    ],
)  # fmt: skip
def test_what_the_user_did_not_write_opens_no_window(shape: str) -> None:
    world, messages = brought(shape)
    assert world.out, "but it is told"
    assert {message.window_expires_at for message in messages} <= {None}
    assert all(world.fold.decode_state(value).window_ms == 0 for value in world.states.values())


def test_a_reaction_taken_back_leaves_the_window_as_it_was() -> None:
    world, _ = brought("messenger_reaction")
    assert (
        world.fold.decode_state(world.states["1234567890:5678901234"]).window_ms == 1749416383_123 + WINDOW_MS
    )


def test_a_message_and_a_webhook_of_one_name_are_two_things() -> None:
    world = World()
    assert world.play(KEY, received("wacid.1:connect"), NOW)
    assert passed(world.play(KEY, note("N1:calls:wacid.1:connect"), NOW))
    assert isinstance(world.log[0].event, MessageReceived)
