"""A plausible stream of conversation events, as ingress and sender would write it: for benches and chaos. Pure.

Each conversation: the customer writes, two free-form answers and one template go out, each accepted, sent, delivered and read.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from shared import events
from shared.events import (
    AccountChanged,
    ConversationEvent,
    MessageReceived,
    MetaPricing,
    SendAccepted,
    SendMessage,
    SendRequested,
    StatusReceived,
    TemplateRef,
)
from shared.ids import command_id, conversation_key

WABA = "102290129340398"
EVENTS_PER_CONVERSATION = 16


def accounts(
    numbers: int, at_ms: int, *, regime: str = "guide", limit: int = -1, throughput: int = 1000
) -> list[AccountChanged]:
    """One account with so many numbers and three approved templates; the first number is the default one."""
    account = {
        "name": "Bench",
        "currency": "USD",
        "regime": regime,
        "payment_method": "valid",
        "business_verified": True,
        "messaging_limit": limit,
    }
    made = [_fact("account", WABA, account, at_ms)]
    for index in range(numbers):
        number = {
            "display_phone_number": f"+1 555 {index:07}",
            "default": index == 0,
            "throughput": throughput,
        }
        made.append(_fact("number", number_id(index), number, at_ms))
    for name, category in (
        ("promo", "marketing"),
        ("order_update", "utility"),
        ("login_code", "authentication"),
    ):
        made.append(_fact("template", f"{name}/en", {"category": category, "status": "APPROVED"}, at_ms))
    return made


def number_id(index: int) -> str:
    """The id of the index-th number."""
    return str(106_540_000_000_000 + index)


def _fact(subject: str, id: str, fields: dict[str, object], at_ms: int) -> AccountChanged:
    row = {"event_id": f"bench:{subject}:{id}", "at_ms": at_ms, "waba_id": WABA, "subject": subject, "id": id}
    return msgspec.convert({**row, "fields": fields}, AccountChanged)


def conversation_events(conversations: int, start_ms: int, numbers: int = 8) -> Iterator[tuple[str, bytes]]:
    """(key, value) of `EVENTS_PER_CONVERSATION` events of each conversation; neighbours are interleaved in groups of 100."""
    for first in range(0, conversations, 100):
        group = [
            list(_conversation(i, start_ms, numbers)) for i in range(first, min(first + 100, conversations))
        ]
        for step in zip(*group, strict=True):
            for key, event in step:
                yield key, events.encode(event)


def _conversation(index: int, start_ms: int, numbers: int) -> Iterator[tuple[str, ConversationEvent]]:
    number, user = number_id(index % numbers), f"49151{index:08}"
    key = conversation_key(number, user)
    at = start_ms + index
    yield key, _inbound(index, number, user, at)
    for nth, template in enumerate((None, None, "order_update")):
        name = f"r{index}-{nth}"
        at += 1000
        yield key, request(name, number, user, at, template)
        command, wamid = command_id(name, 1), f"wamid.{name}"
        yield (
            key,
            SendAccepted(
                event_id=f"{command}:accepted", at_ms=at + 50, command_id=command, wamid=wamid, user=user
            ),
        )
        for status, after in (("sent", 100), ("delivered", 900), ("read", 5000)):
            yield key, _status(command, wamid, status, number, user, at + after, template is not None)


def _inbound(index: int, number: str, user: str, at: int) -> MessageReceived:
    wamid = f"wamid.in{index}"
    message = {
        "from": user,
        "id": wamid,
        "timestamp": str(at // 1000),
        "type": "text",
        "text": {"body": "Hello"},
    }
    return MessageReceived(
        event_id=f"{wamid}:received",
        at_ms=at,
        received_ms=at + 400,
        phone_number_id=number,
        waba_id=WABA,
        user=user,
        wamid=wamid,
        type="text",
        message=Raw(events.encode(message)),
    )


def request(name: str, number: str, user: str, at: int, template: str | None) -> SendRequested:
    """A send request of this id, free-form or with a template."""
    body: dict[str, object] = {"messaging_product": "whatsapp", "to": f"+{user}"}
    if template is None:
        body |= {"type": "text", "text": {"body": "Your parcel is on its way."}}
    else:
        body |= {"type": "template", "template": {"name": template, "language": {"code": "en"}}}
    return SendRequested(
        event_id=f"{name}:requested",
        at_ms=at,
        request_id=name,
        phone_number_id=number,
        user=user,
        type=str(body["type"]),
        message=Raw(events.encode(body)),
        digest="00000001" if template else "00000000",
        template=TemplateRef(template, "en") if template else None,
        correlation_id=name,
        tags={"cost_center": "logistics"},
    )


def command(
    name: str,
    number: str,
    user: str,
    at_ms: int,
    valid_until_ms: int,
    category: events.Category = "utility",
    priority: int = 2,
) -> SendMessage:
    """The first attempt of a request, as a template of its category."""
    template = {"utility": "order_update", "marketing": "promo", "authentication": "login_code"}[category]
    body = {
        "messaging_product": "whatsapp",
        "to": f"+{user}",
        "type": "template",
        "template": {"name": template, "language": {"code": "en"}},
    }
    return SendMessage(
        event_id=command_id(name, 1),
        at_ms=at_ms,
        command_id=command_id(name, 1),
        conversation_key=conversation_key(number, user),
        waba_id=WABA,
        phone_number_id=number,
        user=user,
        category=category,
        priority=priority,
        valid_until_ms=valid_until_ms,
        message=Raw(events.encode(body)),
    )


def _status(
    command: str, wamid: str, status: str, number: str, user: str, at: int, template: bool
) -> StatusReceived:
    pricing = {"billable": template, "pricing_model": "CBP", "category": "utility" if template else "service"}
    meta = {"id": wamid, "status": status, "timestamp": str(at // 1000), "recipient_id": user}
    if status != "read":
        meta["pricing"] = pricing  # type: ignore[assignment]
    return StatusReceived(
        event_id=f"{wamid}:{status}",
        at_ms=at,
        received_ms=at + 200,
        phone_number_id=number,
        waba_id=WABA,
        user=user,
        wamid=wamid,
        status=status,
        meta=Raw(events.encode(meta)),
        command_id=command,
        pricing=msgspec.convert(pricing, MetaPricing) if status != "read" else None,
    )
