"""Public events in, the webhook that Meta would have sent out: for client libraries that are written for Meta. Pure.

Messages, statuses and what else Meta told are given back as they came, in Meta's envelope; of a status only `biz_opaque_callback_data` is changed:
there stands the request's correlation id again, which the business had put there, in the place of ours.
Source: Meta, webhooks, notification payload, messages, statuses; Instagram and Messenger webhooks, notification payload.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from services.push.kinds import Event
from shared.events import PassedWebhook, ReceivedMessage, SendEvent, UserRef, decode_send_event
from shared.ids import BUSINESS_ACCOUNT_OBJECT
from shared.times import parse_rfc3339

DisplayNumber = Callable[[str], str]
"""A number as Meta displays it, by its `phone_number_id`."""
KINDS = ("message.received", "send.decided", "send.sent", "send.delivered", "send.read", "send.played", "send.failed", "send.priced",
         "webhook.passed")  # fmt: skip
"""What Meta itself would send: all else has no place in its envelope."""
_OBJECTS = {"whatsapp": BUSINESS_ACCOUNT_OBJECT, "instagram": "instagram", "messenger": "page"}
_OPAQUE = "biz_opaque_callback_data"
_MESSAGING = ("messaging", "standby")
"""Lists that stand in the entry itself, on Instagram and Messenger."""

_received = msgspec.json.Decoder(ReceivedMessage).decode
_passed = msgspec.json.Decoder(PassedWebhook).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def has_form(event: Event) -> bool:
    """Whether Meta would have sent it: of send events only those that are a status of Meta's, each status once."""
    if not event.kind.startswith("send."):
        return True
    return _status_of(decode_send_event(bytes(event.value))) is not None


def body(event: Event, display_number: DisplayNumber) -> bytes:
    """The webhook of one event that has a form of Meta's (`has_form`).

    Raises:
        ValueError, MsgspecError: it has none.
    """
    object_, entry = _entry(event, display_number)
    return _encode({"object": object_, "entry": [entry]})


def _entry(event: Event, display_number: DisplayNumber) -> tuple[str, dict[str, Any]]:
    match event.kind:
        case "message.received":
            return _message(_received(event.value), display_number)
        case "webhook.passed":
            return _other(_passed(event.value), display_number)
    sent = decode_send_event(bytes(event.value))
    status = _status_of(sent)
    if status is None or sent.phone_number_id is None:
        raise ValueError(f"{event.id} is no status of Meta's")
    status.pop(_OPAQUE, None)
    if sent.correlation_id is not None:
        status[_OPAQUE] = sent.correlation_id
    contact = _contact(sent.user, status.get("recipient_id"), status.get("recipient_user_id"), None)
    return _whatsapp(
        sent.waba_id, "messages", sent.phone_number_id, display_number, [contact], {"statuses": [status]}
    )


def _status_of(event: SendEvent) -> dict[str, Any] | None:
    """Meta's status object of a step, where the step tells it.

    What Meta could not deliver and is put off is told as `decided`: to Meta that message has failed. A `delivered` may have been read off a `read`, which
    is told itself; and a `priced` tells a status only if none of the steps did: a delivery told once more with its price, or a message that nobody here sent.
    """
    if event.meta is None:
        return None
    status = _object(event.meta)
    told = status.get("status")
    if event.event == "decided":
        return status if told == "failed" else None
    if event.event == "priced":
        return status if told == "delivered" or event.seq == 0 else None
    return status if told == event.event else None


def _message(event: ReceivedMessage, display_number: DisplayNumber) -> tuple[str, dict[str, Any]]:
    if event.channel != "whatsapp":
        return _of_page(event.channel, event.waba_id, event.sent_at, {"messaging": [event.message]})
    message = _object(event.message)
    contact = _contact(event.user, message.get("from"), message.get("from_user_id"), event.profile_name)
    # A user's call comes among the messages, for it opens the window as one does; it has an `event` and no `type`.
    field = "calls" if "event" in message and "type" not in message else "messages"
    return _whatsapp(
        event.waba_id, field, event.phone_number_id, display_number, [contact], {field: [event.message]}
    )


def _other(event: PassedWebhook, display_number: DisplayNumber) -> tuple[str, dict[str, Any]]:
    if event.channel != "whatsapp":
        items: dict[str, Any]
        if event.list is None:
            items = {"changes": [{"field": event.field, "value": event.value}]}
        else:
            items = {event.list if event.list in _MESSAGING else "messaging": [event.value]}
        return _of_page(event.channel, event.waba_id, event.at, items)
    if event.list is None or event.phone_number_id is None:
        value = event.value if event.list is None else {event.list: [event.value]}
        time = {"time": parse_rfc3339(event.at) // 1000} if event.phone_number_id is None else {}
        changes = [{"field": event.field, "value": value}]
        return BUSINESS_ACCOUNT_OBJECT, {"id": event.waba_id or "0", **time, "changes": changes}
    contacts = [] if event.user is None else [_contact(event.user, None, None, None)]
    return _whatsapp(
        event.waba_id,
        event.field,
        event.phone_number_id,
        display_number,
        contacts,
        {event.list: [event.value]},
    )


def _whatsapp(
    waba_id: str | None,
    field: str,
    number: str,
    display_number: DisplayNumber,
    contacts: list[dict[str, Any]],
    items: dict[str, list[Any]],
) -> tuple[str, dict[str, Any]]:
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": display_number(number), "phone_number_id": number},
    }
    if contacts:
        value["contacts"] = contacts
    change = {"field": field, "value": {**value, **items}}
    return BUSINESS_ACCOUNT_OBJECT, {"id": waba_id or "0", "changes": [change]}


def _of_page(
    channel: str, page_id: str | None, at: str, items: dict[str, list[Any]]
) -> tuple[str, dict[str, Any]]:
    return _OBJECTS.get(channel, channel), {"id": page_id or "0", "time": parse_rfc3339(at), **items}


def _contact(user: UserRef | None, phone: Any, bsuid: Any, name: str | None) -> dict[str, Any]:
    """Who it is, as far as is known; Meta's own words first, for it may write a number otherwise than we do (Meta, webhooks, contacts)."""
    known_bsuid = bsuid or (user.bsuid if user is not None else None)
    wa_id = (user.user_id if user is not None else None) or phone
    contact: dict[str, Any] = {}
    if name is not None:
        contact["profile"] = {"name": name}
    if wa_id and wa_id != known_bsuid:
        contact["wa_id"] = wa_id
    if known_bsuid:
        contact["user_id"] = known_bsuid
    return contact
