"""What the outside tells the system, the same for every player: the business's requests, Meta's webhooks, how messages fare. Pure."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any

from services.console.operator_word import operator_word
from services.console.preference_list import COLUMNS, Rejected, read
from services.simulator.envelope import Update
from services.simulator.inbound import UserCall, UserMessage, UserPreference
from shared import events
from shared.events import PreferenceChanged, SendEvent
from shared.phone import is_bsuid
from shared.times import rfc3339
from tests.cases.actions import Asking, Call, Cancel, Import, Prefer, Receive, Send, Status, Webhook
from tests.cases.form import LANGUAGE, LETTERS, Case
from tests.cases.names import Names

UNDELIVERABLE = 131026
"""Meta, Cloud API, error codes: message undeliverable."""


def request(names: Names, send: Send, request_id: str) -> dict[str, Any]:
    """The send request as the business publishes it; without `from` where the send names no number."""
    user = names.written(send.to)
    message: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient" if is_bsuid(user) else "to": user,
    }
    if send.marks is not None:
        message |= {"status": "read", "message_id": names.wamid(send.marks)}
        message |= {"typing_indicator": {"type": "text"}} if send.typing else {}
    elif send.message is not None:
        message |= send.message
    elif send.template is not None:
        template = _template(send.template, send.parameters, send.components)
        message |= {"type": "template", "template": template}
    else:
        message |= {"type": "text", "text": {"body": send.text}}
    body: dict[str, Any] = {"request_id": names.request(request_id), "message": message}
    if send.number is not None:
        body["from"] = names.number(send.number)
    if send.claims_category is not None:
        body["category"] = send.claims_category
    if send.fallback_template is not None:
        body["fallback_template"] = _template(
            send.fallback_template, send.fallback_parameters, send.fallback_components
        )
    if send.not_before_ms is not None:
        body["not_before_at"] = rfc3339(send.not_before_ms)
    if send.after_request_id is not None:
        body["after_request_id"] = names.request(send.after_request_id)
    if send.after_failed is not None:
        body["after_failed"] = send.after_failed
    if send.expires_ms is not None:
        body["expires_at"] = rfc3339(send.expires_ms)
    if send.max_price_micros is not None:
        currency = names.case.account.currency
        body["max_price"] = {"amount_micros": send.max_price_micros, "currency": currency}
    if send.dry_run:
        body["dry_run"] = True
    return body


def cancellation(names: Names, cancel: Cancel) -> dict[str, Any]:
    """The cancellation as the business publishes it."""
    number = cancel.number or next(iter(names.case.numbers))
    return {
        "cancel_request_id": names.request(cancel.request_id),
        "from": names.number(number),
        "to": names.written(cancel.to),
    }


def words(names: Names, action: Import, at_ms: int) -> list[PreferenceChanged]:
    """The records that `wam preferences import` or `set` make of it."""
    number = names.number(action.to)
    if action.source == "operator":
        user = names.user(action.user)
        return [operator_word(number, user, action.marketing, action.evidence, action.by, at_ms)]
    file = StringIO()
    said = rfc3339(at_ms if action.said is None else action.said)
    csv.writer(file).writerows(
        [COLUMNS, (number, names.written(action.user), action.marketing, said, action.evidence)]
    )
    file.seek(0)
    taken = list(read(file, "list.csv", action.by, at_ms, lambda id_: id_ == number))
    if refused := [word for word in taken if isinstance(word, Rejected)]:
        raise TypeError(f"the list is not taken: {refused[0].problem}")
    return [word for word in taken if isinstance(word, PreferenceChanged)]


def from_default(case: Case, send: Send, *, asks_default: bool) -> Send:
    """The send with the case's default number filled in, unless the case is about that very default."""
    if send.number is not None or asks_default:
        return send
    return send.model_copy(update={"number": next(iter(case.numbers))})


def by_user(names: Names, words: Sequence[events.UserPreference]) -> dict[str, list[events.UserPreference]]:
    """What was told of each user of the case, in order, by the case's name of the user."""
    found: dict[str, list[events.UserPreference]] = {}
    for user in (*LETTERS, *names.case.users):
        known = names.user(user)
        found[user] = [word for word in words if known in (word.user.user_id, word.user.bsuid)]
    return found


def request_id_of(action: Asking, place: int) -> str:
    """The case's name of a request: its own, or one from the step's place (from 0)."""
    return action.request_id or f"step{place + 1}"


def steps_of(names: Names, events: Iterable[SendEvent]) -> dict[str, list[str]]:
    """The steps told of each request, each once, in order, by the case's name of the request."""
    found: dict[str, dict[str, str]] = {}
    for event in events:
        if event.request_id is not None:
            found.setdefault(event.request_id, {})[event.event_id] = event.event
    return {name: list(found.get(names.request(name), {}).values()) for name in names.case.ends.told or {}}


def user_message(names: Names, receive: Receive, at_ms: int) -> dict[str, Any]:
    """The body of the simulator's `POST /sim/users/{wa_id}/messages`."""
    sent_ms = at_ms if receive.sent_at is None else receive.sent_at
    body: dict[str, Any] = {
        "to": names.number(receive.to),
        "sent_at": sent_ms // 1000,
    }
    if receive.button is None:
        body["text"] = receive.text
    else:
        body |= {"type": "button", "button": {"text": receive.button, "payload": receive.button}}
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
    if send.lost == "call":
        return {"reset": True}
    if send.lost == "answer":
        rest = behaviour(send.model_copy(update={"lost": None})) or {}
        return {"drop_answer_after_processing": True, **rest}
    if send.statuses is not None:
        steps: list[Any] = [
            {"status": s.status, "after_s": s.after_ms / 1000} if isinstance(s, Status) else s
            for s in send.statuses
        ]
        return {"statuses": steps, "delivered_after_s": after_s}
    if send.refused is not None:
        return {"error": send.refused, "times": send.refused_times}
    if send.delivery == "failed":
        return {"delivery": "failed", "delivered_after_s": after_s, "code": send.code or UNDELIVERABLE}
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


def _template(
    name: str, parameters: list[str] | None, components: list[dict[str, Any]] | None
) -> dict[str, Any]:
    given = list(components or [])
    if parameters is not None:
        given.append(
            {"type": "body", "parameters": [{"type": "text", "text": value} for value in parameters]}
        )
    template: dict[str, Any] = {"name": name, "language": {"code": LANGUAGE}}
    return template | ({"components": given} if given else {})
