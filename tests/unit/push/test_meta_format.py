"""Public events given back as Meta's webhooks: equal to what Meta sent, and read by a client library that is written for Meta."""

import hmac
import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from pywa.client import WhatsApp
from pywa.handlers import (
    CallbackButtonHandler,
    CallbackSelectionHandler,
    FlowCompletionHandler,
    MessageHandler,
    MessageStatusHandler,
)
from pywa.types.callback import CallbackSelection
from pywa.types.message import Message
from pywa.types.message_status import MessageStatus

from services.push import meta_format
from services.push.kinds import Event, read
from services.push.signing import meta_headers
from shared.events import (
    MessageReceived,
    PassedWebhook,
    ReceivedMessage,
    SendEvent,
    StatusReceived,
    UserRef,
    decode_conversation_event,
    encode,
)
from shared.times import rfc3339
from shared.topics import MESSAGES_RECEIVED, SEND_EVENTS, WEBHOOKS_PASSED

FIXTURES = Path(__file__).parents[2] / "fixtures" / "webhooks"
BSUID = "US.13491208655302741918"
SECRET = "app-secret"
NAMES = sorted(path.stem for path in FIXTURES.glob("message_*.json"))
READ_BY_PYWA = (
    "audio",
    "brazil_without_ninth_digit",
    "bsuid_in_from",
    "bsuid_without_phone",
    "button",
    "contacts",
    "document",
    "edit",
    "image",
    "interactive_button",
    "interactive_flow",
    "interactive_without_body",
    "location",
    "order",
    "phone_and_bsuid",
    "reaction",
    "reaction_removed",
    "sticker",
    "system_number_changed",
    "text",
    "text_from_ad",
    "text_reply_forwarded",
    "unsupported",
)
"""The fixtures that hold all that pywa wants: some show Meta's own damage."""
STATUSES_READ_BY_PYWA = (
    "delivered",
    "failed",
    "ours_for_a_rewritten_recipient",
    "played",
    "read",
    "sent",
    "sent_expiry_as_number",
    "with_callback_data_of_others",
)


class Bot:
    """A business's bot on pywa; what its handlers were given."""

    def __init__(self) -> None:
        self.client = WhatsApp(
            phone_id="106540352242922", token="x", app_secret=SECRET, filter_updates=False, verify_token="y",
            server=None,
        )  # fmt: skip
        self.got: list[Any] = []
        for handler in (
            MessageHandler, MessageStatusHandler, CallbackButtonHandler, CallbackSelectionHandler, FlowCompletionHandler,
        ):  # fmt: skip
            self.client.add_handlers(handler(lambda _, update: self.got.append(update)))

    def receive(self, body: bytes) -> Any:
        """What comes of one webhook, its signature checked; None where pywa has no handler for it."""
        signature = meta_headers(SECRET.encode(), "id", body)["X-Hub-Signature-256"]
        assert self.client.webhook_update_validator(body, signature) is None
        self.got.clear()
        assert self.client.webhook_update_handler(body) == ("ok", 200)
        return self.got[0] if self.got else None


@pytest.fixture(scope="module")
def bot() -> Bot:
    return Bot()


def conversation_events(name: str, kind: type) -> list[Any]:
    expected = json.loads((FIXTURES / f"{name}.json").read_text())["expected"]
    found = [
        decode_conversation_event(json.dumps(part["event"]).encode())
        for part in expected
        if part.get("topic") == "conversation.events.v1"
    ]
    return [event for event in found if isinstance(event, kind)]


def public(event: MessageReceived, bsuid: str | None = BSUID) -> Event:
    value = ReceivedMessage(
        event_id=f"{event.wamid}:received",
        channel=event.channel,
        waba_id=event.waba_id,
        phone_number_id=event.phone_number_id,
        sent_at=rfc3339(event.at_ms),
        received_at=rfc3339(event.received_ms),
        user=UserRef(user_id=event.user if event.user.isdecimal() else None, bsuid=event.bsuid or bsuid),
        window_expires_at=None,
        reply_to=None,
        message=event.message,
        profile_name=event.profile_name,
    )
    return read(MESSAGES_RECEIVED, encode(value))


def sent(status: StatusReceived, correlation_id: str | None = "order-4711", step: str | None = None) -> Event:
    value = msgspec.convert(
        {"event": step or status.status, "event_id": f"{status.wamid}:{status.status}", "seq": 3, "at": rfc3339(status.at_ms),
         "request_id": "4711", "correlation_id": correlation_id, "tags": {}, "waba_id": status.waba_id,
         "phone_number_id": status.phone_number_id, "user": UserRef(user_id=status.user, bsuid=BSUID)},
        SendEvent,
    )  # fmt: skip
    return read(SEND_EVENTS, encode(msgspec.structs.replace(value, wamid=status.wamid, meta=status.meta)))


def body(event: Event) -> bytes:
    assert meta_format.has_form(event)
    return meta_format.body(event, lambda number: "15550783881")


def value_of(webhook: bytes) -> dict[str, Any]:
    (entry,) = json.loads(webhook)["entry"]
    (change,) = entry["changes"]
    value: dict[str, Any] = change["value"]
    return value


def original(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())["body"]
    return found


def test_a_message_comes_as_meta_sent_it() -> None:
    (event,) = conversation_events("message_text", MessageReceived)
    assert json.loads(body(public(event, bsuid=None))) == original("message_text")


@pytest.mark.parametrize("name", NAMES)
def test_every_message_stands_in_its_envelope_as_it_came(name: str) -> None:
    for event in conversation_events(name, MessageReceived):
        assert value_of(body(public(event)))["messages"] == [json.loads(bytes(event.message))]


@pytest.mark.parametrize("name", READ_BY_PYWA)
def test_pywa_reads_every_type_of_message(name: str, bot: Bot, caplog: pytest.LogCaptureFixture) -> None:
    sources = conversation_events(f"message_{name}", MessageReceived)
    assert sources
    with caplog.at_level(logging.ERROR):
        for event in sources:
            update = bot.receive(body(public(event)))
            if isinstance(update, Message):
                assert (update.id, update.waba_id) == (event.wamid, event.waba_id)
                assert update.from_user.name == event.profile_name
    assert not caplog.records, caplog.text


def test_pywa_reads_the_choice_from_a_list(bot: Bot) -> None:
    (event,) = conversation_events("message_interactive_list", MessageReceived)
    message = json.loads(bytes(event.message)) | {"context": {"from": "15550783881", "id": "wamid.list"}}
    update = bot.receive(body(public(msgspec.structs.replace(event, message=Raw(encode(message))))))
    assert isinstance(update, CallbackSelection)
    assert update.data == "priority_express"


@pytest.mark.parametrize("name", STATUSES_READ_BY_PYWA)
def test_pywa_reads_every_status_with_the_business_s_own_callback_data(
    name: str, bot: Bot, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        for event in conversation_events(f"status_{name}", StatusReceived):
            update = bot.receive(body(sent(event)))
            assert isinstance(update, MessageStatus)
            assert (update.id, update.status.value, update.tracker) == (
                event.wamid,
                event.status,
                "order-4711",
            )
            assert (update.error is not None) == (event.status == "failed")
    assert not caplog.records, caplog.text


def test_nothing_of_ours_is_left_in_a_status_of_a_request_without_correlation_id() -> None:
    (event,) = conversation_events("status_sent", StatusReceived)
    (status,) = value_of(body(sent(event, correlation_id=None)))["statuses"]
    assert status == {
        key: value
        for key, value in original("status_sent")["entry"][0]["changes"][0]["value"]["statuses"][0].items()
        if key != "biz_opaque_callback_data"
    }


def test_a_status_is_told_once_though_two_steps_were_read_off_it() -> None:
    (read_,) = conversation_events("status_read", StatusReceived)
    assert not meta_format.has_form(sent(read_, step="delivered"))
    assert not meta_format.has_form(sent(read_, step="priced"))
    assert meta_format.has_form(sent(read_))


def test_what_meta_could_not_deliver_has_failed_for_meta_though_it_is_decided_anew() -> None:
    (event,) = conversation_events("status_failed", StatusReceived)
    assert value_of(body(sent(event, step="decided"))) == value_of(body(sent(event)))


def test_our_own_decisions_have_no_form_of_meta_s() -> None:
    (event,) = conversation_events("status_sent", StatusReceived)
    decided = msgspec.json.decode(sent(event).value)
    decided |= {"event": "decided", "meta": None}
    assert not meta_format.has_form(read(SEND_EVENTS, encode(decided)))


def passed(**fields: Any) -> Event:
    value = {
        "event_id": "e", "at": "2026-11-26T20:00:00.000Z", "received_at": "2026-11-26T20:00:00.000Z", "channel": "whatsapp",
        "field": "flows", "list": None, "waba_id": "102290129340398", "phone_number_id": None, "user": None,
        "value": Raw(b'{"event":"FLOW_STATUS_CHANGE"}'),
    } | fields  # fmt: skip
    return read(WEBHOOKS_PASSED, encode(PassedWebhook(**value)))


def test_a_field_of_an_account_comes_with_its_time_and_without_a_number() -> None:
    assert json.loads(body(passed())) == {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": "102290129340398",
                "time": 1795723200,
                "changes": [{"field": "flows", "value": {"event": "FLOW_STATUS_CHANGE"}}],
            }
        ],
    }


def test_an_item_of_a_number_stands_in_its_list_again() -> None:
    value = value_of(
        body(
            passed(
                field="smb_message_echoes",
                list="message_echoes",
                phone_number_id="106540352242922",
                user=UserRef(user_id="16505551234", bsuid=BSUID),
                value=Raw(b'{"id":"wamid.echo"}'),
            )
        )
    )
    assert value == {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"},
        "contacts": [{"wa_id": "16505551234", "user_id": BSUID}],
        "message_echoes": [{"id": "wamid.echo"}],
    }


@pytest.mark.parametrize("name", ["instagram_message", "messenger_message"])
def test_messages_of_the_other_channels_come_in_their_own_envelope(name: str) -> None:
    (event,) = conversation_events(name, MessageReceived)
    webhook, source = json.loads(body(public(event))), original(name)
    assert webhook["object"] == source["object"]
    assert webhook["entry"][0]["messaging"] == source["entry"][0]["messaging"]
    assert webhook["entry"][0]["id"] == source["entry"][0]["id"]


def test_a_user_s_call_comes_under_calls() -> None:
    (event,) = conversation_events("call_connect_by_user", MessageReceived)
    (entry,) = json.loads(body(public(event)))["entry"]
    assert entry["changes"][0]["field"] == "calls"
    assert entry["changes"][0]["value"]["calls"][0]["event"] == "connect"


def test_a_user_without_a_number_has_a_contact_without_one() -> None:
    (event,) = conversation_events("message_bsuid_without_phone", MessageReceived)
    (contact,) = value_of(body(public(event)))["contacts"]
    assert "wa_id" not in contact
    assert contact["user_id"] == event.bsuid


def test_the_signature_is_over_exactly_these_bytes() -> None:
    webhook = body(passed())
    digest = hmac.digest(SECRET.encode(), webhook, "sha256").hex()
    assert meta_headers(SECRET.encode(), "e", webhook)["X-Hub-Signature-256"] == f"sha256={digest}"
