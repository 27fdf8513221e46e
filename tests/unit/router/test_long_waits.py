"""What takes days, or comes late: deferrals, prices that hold only in the window, words on messages that are not ours."""

from shared.events import MetaPricing, decode_command
from shared.topics import SEND_COMMANDS
from tests.unit.router.make import HOUR, KEY, NOW, events, received, request, state, status, world

DAY = 24 * HOUR


def test_a_conversation_that_waits_two_weeks_for_a_deferral_sleeps_until_then() -> None:
    played = world()
    played.play(KEY, received(), NOW)
    played.play(KEY, request(not_before_ms=NOW + 14 * DAY), NOW)
    before = len(played.log)
    played.fire(NOW + 13 * DAY)
    assert len(played.log) - before <= 2
    played.fire(NOW + 14 * DAY)
    assert [out.topic for out in played.out].count(SEND_COMMANDS) == 1


def test_a_request_repeated_while_the_first_still_waits_is_decided_once() -> None:
    played = world()
    played.play(KEY, request(not_before_ms=NOW + 14 * DAY), NOW)
    played.play(KEY, request(at=NOW + 9 * DAY, not_before_ms=NOW + 14 * DAY), NOW + 9 * DAY)
    played.fire(NOW + 15 * DAY)
    assert [out.topic for out in played.out].count(SEND_COMMANDS) == 1


def test_what_only_the_window_makes_free_is_not_sent_after_it() -> None:
    played = world(regime="2025-07-01")
    played.play(KEY, received(), NOW)
    end = NOW + DAY
    out = played.play(KEY, request(template="order_update", at=end - 60_000), end - 60_000)
    (command,) = [decode_command(o.value) for o in out if o.topic is SEND_COMMANDS]
    assert command.valid_until_ms == end


def test_a_second_price_of_a_message_that_is_not_ours_stays_unattributed() -> None:
    played = world()
    first, second = MetaPricing(category="utility"), MetaPricing(category="utility", type="regular")
    out = played.play(KEY, status("delivered", command=None, wamid="wamid.x", pricing=first), NOW)
    out += played.play(KEY, status("read", command=None, wamid="wamid.x", at=NOW + 2000, pricing=second), NOW)
    assert [event.request_id for event in events(out)] == [None, None]
    assert state(played) is not None
