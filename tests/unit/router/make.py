"""One account with one number, and events as ingress and the sender write them; for table tests."""

from typing import Any

import msgspec

from services.router.state import State
from shared.events import (
    AccountChanged,
    MessageReceived,
    SendAccepted,
    SendEvent,
    SendRequested,
    StatusReceived,
    TemplateRef,
    decode_send_event,
)
from shared.ids import conversation_key
from shared.stream.fold import Outgoing
from shared.topics import SEND_EVENTS
from tests.unit.router.world import World

NOW = 1_793_620_800_000  # 2026-11-02T12:00Z
USER = "4915110000010"
KEY = conversation_key("N1", USER)
HOUR = 3_600_000


def fact(subject: Any, id_: str, **fields: Any) -> AccountChanged:
    return AccountChanged(event_id=id_, at_ms=NOW, waba_id="W1", subject=subject, id=id_, fields=fields)


def world(**account: Any) -> World:
    made = World()
    made.know(
        fact(
            "account",
            "W1",
            **({"regime": "guide", "payment_method": "valid", "messaging_limit": 1000} | account),
        ),
        fact("number", "N1", default=True),
        fact("template", "promo/en", category="marketing", status="APPROVED"),
        fact("template", "order_update/en", category="utility", status="APPROVED"),
        fact("template", "login_code/en", category="authentication", status="APPROVED"),
    )
    return made


def request(
    id_: str = "r1", template: str | None = "promo", at: int = NOW, user: str = USER, **more: Any
) -> SendRequested:
    return SendRequested(
        event_id=f"{id_}:requested",
        at_ms=at,
        request_id=id_,
        phone_number_id="N1",
        user=user,
        type="template" if template else "text",
        message=more.pop("message", msgspec.Raw(b'{"type":"text"}')),
        digest=more.pop("digest", f"{template}"),
        template=TemplateRef(template, "en") if template else None,
        **more,
    )


def received(wamid: str = "wamid.in", at: int = NOW, **more: Any) -> MessageReceived:
    return MessageReceived(
        event_id=wamid,
        at_ms=at,
        received_ms=at,
        phone_number_id="N1",
        user=USER,
        wamid=wamid,
        type=more.pop("type", "text"),
        message=msgspec.Raw(b'{"type":"text"}'),
        **more,
    )


def accepted(command: str = "r1#1", at: int = NOW, user: str = USER) -> SendAccepted:
    return SendAccepted(event_id="a", at_ms=at, command_id=command, wamid=f"wamid.{command}", user=user)


def status(name: str, command: str | None = "r1#1", at: int = NOW + 1000, **more: Any) -> StatusReceived:
    return StatusReceived(
        event_id=name,
        at_ms=at,
        received_ms=at,
        phone_number_id="N1",
        user=USER,
        wamid=more.pop("wamid", f"wamid.{command}"),
        status=name,
        meta=msgspec.Raw(b'{"status":"%s"}' % name.encode()),
        command_id=command,
        **more,
    )


def events(out: tuple[Outgoing, ...]) -> list[SendEvent]:
    return [decode_send_event(o.value) for o in out if o.topic is SEND_EVENTS]


def steps(out: tuple[Outgoing, ...]) -> list[str]:
    return [event.event for event in events(out)]


def state(world: World) -> State | None:
    value = world.states.get(KEY)
    return None if value is None else world.fold.decode_state(value)
