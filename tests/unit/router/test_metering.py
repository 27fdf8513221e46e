"""What the router has told, counted once."""

from datetime import UTC, datetime

from services.router.metering import Meter
from shared.events import ConversationEvent, SendAccepted
from shared.ids import command_id
from shared.metrics import REGISTRY
from tests.unit.router.make import KEY, NOW, USER, received, request, world

COUNTED: tuple[tuple[str, dict[str, str]], ...] = (
    ("wa_decisions_total", {"reason": "ok"}),
    ("wa_decisions_total", {"reason": "template_unknown"}),
    ("wa_messages_received_total", {}),
    ("wa_message_steps_total", {"step": "accepted"}),
    ("wa_decision_seconds_count", {}),
    ("wa_decision_seconds_sum", {}),
)


class Later:
    """A clock two seconds after the events."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def time(self) -> float:
        return NOW / 1000 + 2


def test_decisions_steps_messages_and_the_time_to_a_decision_are_counted() -> None:
    made = world()
    command = command_id("r1", 1)
    events: tuple[ConversationEvent, ...] = (
        received(),
        request("r1"),
        request("r2", template="nobody-knows-it"),
        SendAccepted(event_id="a", at_ms=NOW, command_id=command, wamid="wamid.1", user=USER),
    )
    told = [(event, made.play(KEY, event, NOW)) for event in events]
    before = [REGISTRY.get_sample_value(*one) or 0 for one in COUNTED]
    Meter(Later()).count(told)
    after = [REGISTRY.get_sample_value(*one) or 0 for one in COUNTED]
    assert [round(b - a, 3) for a, b in zip(before, after, strict=True)] == [1, 1, 1, 1, 2, 4]
