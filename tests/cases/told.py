"""What the outside tells the system, the same for every player: the business's requests, Meta's webhooks, how messages fare. Pure."""

from typing import Any

from services.simulator.envelope import Update
from services.simulator.inbound import UserCall, UserMessage, UserPreference
from shared.phone import is_bsuid
from shared.times import rfc3339
from tests.cases.actions import Call, Prefer, Receive, Send, Status, Webhook
from tests.cases.form import LANGUAGE, Case
from tests.cases.names import Names


def request(names: Names, send: Send, request_id: str) -> dict[str, Any]:
    """The send request as the business publishes it; without `from` where the send names no number."""
    user = names.written(send.to)
    message: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient" if is_bsuid(user) else "to": user,
    }
    if send.template is not None:
        message |= {"type": "template", "template": _template(send.template)}
    else:
        message |= {"type": "text", "text": {"body": send.text}}
    body: dict[str, Any] = {"request_id": names.request(request_id), "message": message}
    if send.number is not None:
        body["from"] = names.number(send.number)
    if send.claims_category is not None:
        body["category"] = send.claims_category
    if send.fallback_template is not None:
        body["fallback_template"] = _template(send.fallback_template)
    if send.expires_ms is not None:
        body["expires_at"] = rfc3339(send.expires_ms)
    if send.max_price_micros is not None:
        currency = names.case.account.currency
        body["max_price"] = {"amount_micros": send.max_price_micros, "currency": currency}
    if send.dry_run:
        body["dry_run"] = True
    return body


def from_default(case: Case, send: Send, *, asks_default: bool) -> Send:
    """The send with the case's default number filled in, unless the case is about that very default."""
    if send.number is not None or asks_default:
        return send
    return send.model_copy(update={"number": next(iter(case.numbers))})


def user_message(names: Names, receive: Receive, at_ms: int) -> dict[str, Any]:
    """The body of the simulator's `POST /sim/users/{wa_id}/messages`."""
    sent_ms = at_ms if receive.sent_at is None else receive.sent_at
    body: dict[str, Any] = {
        "to": names.number(receive.to),
        "text": receive.text,
        "sent_at": sent_ms // 1000,
    }
    if receive.id is not None:
        body["id"] = names.wamid(receive.id)
    if receive.referral is not None:
        body["referral"] = receive.referral
    user = names.user(receive.user)
    if is_bsuid(user):
        body |= {"bsuid": user, "hide_phone": True}
    return body


def behaviour(send: Send) -> dict[str, Any] | None:
    """How the simulator is to treat the message; None for the usual way."""
    after_s = send.delivered_after_ms / 1000
    if send.statuses is not None:
        steps: list[Any] = [
            {"status": s.status, "after_s": s.after_ms / 1000} if isinstance(s, Status) else s
            for s in send.statuses
        ]
        return {"statuses": steps, "delivered_after_s": after_s}
    if send.delivery != "delivered":
        return {"delivery": send.delivery, "delivered_after_s": after_s}
    return None if send.delivered_after_ms == 1000 else {"delivered_after_s": after_s}


def statuses(send: Send) -> list[tuple[int, str]]:
    """The same in milliseconds after the send: what becomes of the message, status by status."""
    after_ms = send.delivered_after_ms
    if send.statuses is not None:
        return [(s.after_ms, s.status) if isinstance(s, Status) else (after_ms, s) for s in send.statuses]
    return {
        "delivered": [(0, "sent"), (after_ms, "delivered")],
        "failed": [(after_ms, "failed")],
        "none": [],
    }[send.delivery]


def update(names: Names, action: Receive | Call | Prefer | Webhook, at_ms: int, serial: int) -> Update:
    """What Meta posts when that happens; `serial` makes ids that the case does not name."""
    at = at_ms // 1000
    if isinstance(action, Webhook):
        return Update(names.account(action.account), "account", action.value(), field=action.field, time=at)
    number, wa_id = names.number(action.to), names.wa_id(action.user)
    waba = names.account(names.case.numbers[action.to])
    display = "".join(c for c in names.display(action.to) if c.isdigit())
    if isinstance(action, Receive):
        message = UserMessage.model_validate(user_message(names, action, at_ms))
        wamid = message.id or names.wamid(f"serial{serial}")
        item = message.item(wamid, wa_id, int(message.sent_at or 0))
        contact = message.contact(wa_id)
        return Update(
            waba,
            "messages",
            item,
            phone_number_id=number,
            display_phone_number=display,
            contact=contact,
        )
    if isinstance(action, Call):
        item = UserCall(to=number).item(names.wamid(f"serial{serial}"), wa_id, display, at)
        return Update(waba, "calls", item, "calls", number, display)
    item = UserPreference(to=number, marketing=action.marketing).item(wa_id, at)
    return Update(waba, "user_preferences", item, "user_preferences", number, display)


def _template(name: str) -> dict[str, Any]:
    return {"name": name, "language": {"code": LANGUAGE}}
