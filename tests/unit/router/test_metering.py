"""What the router has told, counted once."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from services.router.heard import Heard
from services.router.metering import Meter
from shared.metrics import REGISTRY
from tests.unit.router.make import KEY, NOW, USER, accepted, received, request, status, world
from tests.unit.router.test_one_conversation import ID, NEW, both, changed, said
from tests.unit.router.test_uncertain import LOOK, accepted_as, doubt, failed, lost, settled
from tests.unit.router.test_waiting import MINUTE, cancel
from tests.unit.router.world import World


class Later:
    """A clock two seconds after the events."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def time(self) -> float:
        return NOW / 1000 + 2


def samples() -> dict[str, float]:
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name.startswith("wa_") and not sample.name.endswith(("_bucket", "_created"))
    }


def counted(made: World, heard: Heard | None = None) -> dict[str, float]:
    """What of the metrics changes when all that was told is counted, as one batch."""
    before = samples()
    Meter(Later(), heard or Heard()).count(made.told)
    changes = {name: round(value - before.get(name, 0), 3) for name, value in samples().items()}
    return {name: change for name, change in changes.items() if change}


def test_decisions_steps_messages_and_the_time_to_a_decision_are_counted() -> None:
    made = world()
    for event in (received(), request("r1"), request("r2", template="nobody-knows-it"), accepted()):
        made.play(KEY, event, NOW)
    assert counted(made) == {
        "wa_messages_received_total": 1,
        "wa_decisions_total ok": 1,
        "wa_decisions_total template_unknown": 1,
        "wa_message_steps_total accepted": 1,
        "wa_decision_seconds_count": 2,
        "wa_decision_seconds_sum": 4,
    }


def test_messages_that_meta_holds_and_those_called_back_are_counted() -> None:
    made = world()
    for event in (request("r1"), accepted_as("paused"), request("r2"), cancel("r2", NOW)):
        made.play(KEY, event, NOW)
    made.play(KEY, failed("r2#1", "cancelled", "policy"), NOW)
    found = counted(made)
    assert {step: found.get(f"wa_message_steps_total {step}") for step in ("held", "cancelled", "failed")} == {
        "held": 1, "cancelled": 1, "failed": None,
    }  # fmt: skip


def sent_again(made: World) -> None:
    made.fire(LOOK)


def given_up(made: World) -> None:
    made.play(KEY, cancel("r1", NOW + 1), NOW + 1)
    made.fire(LOOK)


def status_came(made: World) -> None:
    made.play(KEY, status("sent", at=NOW + MINUTE), NOW + MINUTE)


def operator_settled(made: World) -> None:
    made.play(KEY, settled("not_sent"), NOW + MINUTE)


def operator_sent_again(made: World) -> None:
    made.play(KEY, settled("resend"), NOW + MINUTE)


def sender_knew_later(made: World) -> None:
    made.play(KEY, accepted(at=NOW + MINUTE), NOW + MINUTE)


@pytest.mark.parametrize(
    ("end", "how", "step"),
    [
        (sent_again, "resent", "resent"),
        (given_up, "given_up", "failed"),
        (status_came, "status", "sent"),
        (operator_settled, "operator", "failed"),
        (operator_sent_again, "operator", "resent"),
        (sender_knew_later, "sender", "accepted"),
    ],
)
def test_a_message_of_unknown_outcome_is_counted_by_what_resolved_it(
    end: Callable[[World], None], how: str, step: str
) -> None:
    made = lost()
    end(made)
    found = counted(made)
    assert found["wa_message_steps_total uncertain"] == 1
    assert found[f"wa_message_steps_total {step}"] == 1
    assert {name: times for name, times in found.items() if "resolved" in name} == {
        f"wa_uncertain_resolved_total {how}": 1
    }


def test_a_request_of_which_both_messages_went_out_is_counted_once() -> None:
    made = lost()
    made.fire(LOOK)
    made.play(KEY, doubt("r1#2", LOOK + MINUTE), LOOK + MINUTE)
    for command in ("r1#1", "r1#2"):
        made.play(KEY, status("sent", command, LOOK + MINUTE), LOOK + MINUTE)
    assert counted(made)["wa_duplicate_messages_total"] == 1


def test_it_is_noted_until_when_statuses_of_sent_messages_have_come() -> None:
    made, heard = world(), Heard()
    for event in (request("r1"), accepted(at=NOW + 1000)):
        made.play(KEY, event, NOW)
    made.play(KEY, status("sent", at=NOW + 2000), NOW + 2000)
    made.play(KEY, status("delivered", at=NOW + 3000), NOW + 3000)
    counted(made, heard)
    assert heard.latest() == {"N1": (NOW + 2000, NOW + 1000)}


def test_users_with_several_names_are_counted_and_a_request_passed_on_is_one_decision() -> None:
    made = world()
    made.play(f"N1:{ID}", said("wamid.1", ID), NOW)
    both(made)
    made.play(f"N1:{ID}", request("r1", user=ID), NOW)
    changed(made, USER, NEW, NOW + MINUTE)
    made.play(f"N1:{USER}", said("wamid.next", USER, NOW + 2 * MINUTE), NOW + 2 * MINUTE)
    assert {
        name: value for name, value in counted(made).items() if "names" in name or "decision" in name
    } == {
        "wa_user_names_total told": 2,
        "wa_user_names_total moved": 2,
        "wa_user_names_total taken": 2,
        "wa_user_names_total passed_on": 2,
        "wa_decisions_total ok": 1,
        "wa_decision_seconds_count": 1,
        "wa_decision_seconds_sum": 2,
    }
