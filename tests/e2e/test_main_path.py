"""The way of one message, in and out, through all services."""

import asyncio

import pytest

from deploy.local.demo.stage import PEOPLE, Stage
from deploy.local.system import LocalSystem
from services.console.steps import template_message, text_message
from shared.events import ReceivedMessage, SendEvent

pytestmark = pytest.mark.timeout(300)
WHOLE = ["decided", "accepted", "sent", "delivered", "read"]
ON_A_BUSY_MACHINE_S = 90.0


async def write(stage: Stage, who: str, text: str) -> ReceivedMessage:
    """Let a customer write to the shop; the message as the business receives it."""
    body = {"to": stage.number("shop"), "text": text}
    answer = await stage.simulator.call("POST", f"/sim/users/{PEOPLE[who]}/messages", body)
    told = await stage.business.until(
        lambda: next(iter(stage.business.received(answer["id"])), None),
        "received message",
        ("ingress", "router"),
        within_s=ON_A_BUSY_MACHINE_S,
    )
    assert isinstance(told.event, ReceivedMessage)
    return told.event


def promo(request_id: str, who: str) -> dict[str, object]:
    return {"request_id": request_id, "message": template_message(f"+{PEOPLE[who]}", "promo", "de", [])}


async def lives_to(stage: Stage, request_id: str, last: str) -> list[SendEvent]:
    """All events of a request, once the last one has come."""

    def life() -> list[SendEvent] | None:
        events = [told.event for told in stage.business.of_request(request_id)]
        sends = [event for event in events if isinstance(event, SendEvent)]
        return sends if sends and sends[-1].event == last else None

    return await stage.business.until(
        life, f"{last} of {request_id}", ("sender", "router"), within_s=ON_A_BUSY_MACHINE_S
    )


async def test_a_customers_message_reaches_the_business_once(stage: Stage) -> None:
    message = await write(stage, "Anna", "Hello")
    assert message.user.user_id == PEOPLE["Anna"]
    assert message.phone_number_id == stage.number("shop")
    assert message.window_expires_at is not None
    assert b'"Hello"' in bytes(message.message)


async def test_a_request_is_told_from_decision_to_read_in_order_and_sent_once(stage: Stage) -> None:
    await write(stage, "Ben", "Where is it?")
    body = {"request_id": "e2e-answer", "message": text_message(f"+{PEOPLE['Ben']}", "On its way")}
    await stage.business.request({**body, "correlation_id": "order-1", "tags": {"team": "logistics"}})
    events = await lives_to(stage, "e2e-answer", "read")
    assert [event.event for event in events] == WHOLE
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert {event.correlation_id for event in events} == {"order-1"}
    assert {event.tags["team"] for event in events} == {"logistics"}
    assert len({event.wamid for event in events[1:]}) == 1
    assert await stage.simulator.calls_of("e2e-answer") == 1


async def test_a_message_that_meta_refuses_is_told_as_failed_and_never_charged(stage: Stage) -> None:
    rule = {"match": {"command_id": "e2e-refused"}, "then": {"error": 131026}}
    await stage.simulator.call("POST", "/sim/script", rule)
    await stage.business.request(promo("e2e-refused", "Clara"))
    events = await lives_to(stage, "e2e-refused", "failed")
    assert [event.event for event in events] == ["decided", "failed"]
    assert events[-1].error is not None
    assert (events[-1].error.origin, events[-1].error.code) == ("meta", 131026)
    await stage.settled()
    assert not [entry for entry in stage.business.ledger() if entry.request_id == "e2e-refused"]


async def test_kafka_may_restart_in_the_middle(system: LocalSystem, stage: Stage) -> None:
    users = [f"49151234567{number:02}" for number in range(12)]
    ids = [f"e2e-restart-{number}" for number in range(len(users))]

    async def publish(first: int, last: int) -> None:
        for request_id, user in zip(ids[first:last], users[first:last], strict=True):
            message = template_message(f"+{user}", "promo", "de", [])
            await stage.business.request({"request_id": request_id, "message": message})

    try:
        await publish(0, 6)
        await system.stack.kafka.kill()
        await system.stack.kafka.start()
        await publish(6, 12)
        lives = await asyncio.gather(*(lives_to(stage, request_id, "read") for request_id in ids))
    finally:
        # Whoever comes next finds all of it running, whatever became of it here.
        for name in system.ended():
            await system.start_service(name)
    # What was published just before the kill may be told again, with the same id: consumers know it by that.
    for life in lives:
        assert [event.event for event in {event.event_id: event for event in life}.values()] == WHOLE
    assert [await stage.simulator.calls_of(request_id) for request_id in ids] == [1] * len(ids)
    system.require_running()
