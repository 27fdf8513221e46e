"""Each type of message once through all services to Meta, and what Meta would refuse not at all."""

import msgspec
import pytest

from deploy.local.demo.stage import PEOPLE, Stage
from shared.events import SendEvent
from tests.e2e.test_main_path import lives_to, write
from tests.unit.messages import GOOD, Json, having, whole

pytestmark = pytest.mark.timeout(300)
FREE_FORM = [name for name, content in GOOD.items() if content.get("type") != "template"]


def to(who: str, message: Json) -> Json:
    return {**message, "to": f"+{PEOPLE[who]}"}


async def ask(stage: Stage, request_id: str, message: Json) -> None:
    await stage.business.request({"request_id": request_id, "message": message})


async def test_every_free_form_type_reaches_meta_as_it_was_asked_for(stage: Stage) -> None:
    await write(stage, "Dina", "Hello")
    for place, name in enumerate(FREE_FORM):
        await ask(stage, f"e2e-type-{place}", to("Dina", whole(GOOD[name])))
    for place, name in enumerate(FREE_FORM):
        kind = GOOD[name].get("type", "text")
        events = await lives_to(stage, f"e2e-type-{place}", "sent" if kind == "reaction" else "read")
        assert events[0].decision is not None
        assert (events[0].decision.outcome, events[0].decision.category) == ("allow", "service")
    ledger = await stage.simulator.call("GET", "/sim/ledger")
    types = {call["command_id"]: call["type"] for call in ledger["calls"]}
    assert {types[f"e2e-type-{place}#1"] for place in range(len(FREE_FORM))} == {
        GOOD[name].get("type", "text") for name in FREE_FORM
    }


async def test_a_read_mark_is_taken_once_and_ends_there(stage: Stage) -> None:
    received = await write(stage, "Emil", "Are you there?")
    wamid = received.event_id.removesuffix(":received")
    mark = {
        "messaging_product": "whatsapp",
        "status": "read",
        "message_id": wamid,
        "typing_indicator": {"type": "text"},
    }
    await ask(stage, "e2e-mark", to("Emil", mark))
    events = await lives_to(stage, "e2e-mark", "accepted")
    assert [(event.event, event.wamid) for event in events] == [("decided", None), ("accepted", None)]
    marks = (await stage.simulator.call("GET", "/sim/ledger"))["marks"]
    assert [(noted["message_id"], noted["typing"]) for noted in marks if noted["message_id"] == wamid] == [
        (wamid, True)
    ]
    assert await stage.simulator.calls_of("e2e-mark") == 0


async def test_a_mark_of_a_message_that_meta_does_not_know_fails_with_metas_word(stage: Stage) -> None:
    mark = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.nobodys"}
    await ask(stage, "e2e-mark-unknown", to("Emil", mark))
    events = await lives_to(stage, "e2e-mark-unknown", "failed")
    assert events[-1].error is not None
    assert (events[-1].error.origin, events[-1].error.code) == ("meta", 100)


async def test_marketing_that_names_a_product_policy_goes_by_the_marketing_messages_api(stage: Stage) -> None:
    template = {"name": "promo", "language": {"code": "de"}}
    message = whole({"type": "template", "template": template, "product_policy": "STRICT"})
    await ask(stage, "e2e-marketing", to("Emil", message))
    await lives_to(stage, "e2e-marketing", "read")
    calls = (await stage.simulator.call("GET", "/sim/ledger"))["calls"]
    assert [call["endpoint"] for call in calls if call["command_id"] == "e2e-marketing#1"] == [
        "marketing_messages"
    ]


async def test_what_meta_prices_as_marketing_lite_is_charged_as_marketing(stage: Stage) -> None:
    await stage.settled()
    [entry] = [entry for entry in stage.business.ledger() if entry.request_id == "e2e-marketing"]
    assert entry.category == "marketing"
    assert entry.meta_pricing is not None
    assert msgspec.json.decode(entry.meta_pricing)["category"] == "marketing_lite"


async def test_what_meta_would_refuse_is_told_by_its_place_and_never_called(stage: Stage) -> None:
    message = to("Emil", having("image", ("image", "caption"), "x" * 1025))
    await ask(stage, "e2e-malformed", message)
    told = await stage.business.until(
        lambda: next(iter(stage.business.of_request("e2e-malformed", "decided")), None),
        "decision on e2e-malformed",
        ("ingress.intake", "router"),
        within_s=90,
    )
    assert isinstance(told.event, SendEvent)
    assert told.event.error is not None
    assert told.event.error.reason == "malformed"
    assert told.event.error.message == "message.image.caption: at most 1024 characters"
    assert await stage.simulator.calls_of("e2e-malformed") == 0
