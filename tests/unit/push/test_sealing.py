"""What goes over the wire: the body's shape, and one signature over exactly it."""

import json
import time
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from services.push.endpoints import Endpoint
from services.push.kinds import Event, read
from services.push.sealing import sealed
from services.push.signing import key_of
from shared.topics import ACCOUNT_CHANGES, MESSAGES_RECEIVED, SEND_EVENTS

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AT = "2026-11-26T20:00:00.000Z"
SENT = b'{"event_id":"wamid.1:sent","event":"sent", "at":"2026-11-26T20:00:00.000Z","tags":{"k":"\xc3\xa4"}}'
RECEIVED = b'{"event_id":"wamid.2:received","sent_at":"2026-11-26T20:00:01.000Z"}'


def seal(events: list[Event], batch: int = 1) -> tuple[dict[str, Any], dict[str, str]]:
    """The body, verified by the receivers' own package, and the headers."""
    fields = {
        "name": "shop",
        "url": "https://shop.example/",
        "secrets": [{"env": "S"}],
        "events": ["*"],
        "batch": batch,
    }
    webhook = sealed(
        Endpoint.model_validate(fields), [key_of(SECRET)], events, int(time.time()), lambda _: ""
    )
    return Webhook(SECRET).verify(webhook.body, webhook.headers), webhook.headers


def test_one_event_is_given_as_it_lies_on_its_topic() -> None:
    body, headers = seal([read(SEND_EVENTS, SENT)])
    assert body == {"type": "send.sent", "timestamp": AT, "data": json.loads(SENT)}
    assert headers["webhook-id"] == "wamid%2E1:sent"


def test_a_batch_has_one_shape_whether_of_several_events_or_of_one() -> None:
    events = [read(SEND_EVENTS, SENT), read(MESSAGES_RECEIVED, RECEIVED)]
    body, headers = seal(events, batch=5)
    assert (body["type"], body["timestamp"]) == ("batch", "2026-11-26T20:00:01.000Z")
    assert [event["type"] for event in body["data"]] == ["send.sent", "message.received"]
    assert headers["webhook-id"] == seal(events, batch=5)[1]["webhook-id"]
    alone, headers = seal(events[:1], batch=5)
    assert [event["data"]["event_id"] for event in alone["data"]] == ["wamid.1:sent"]
    assert headers["webhook-id"] == "wamid%2E1:sent"


@pytest.mark.parametrize("value", [b"{", b"[]", b'{"at":"2026-11-26T20:00:00.000Z"}', b'{"event_id":7}'])
def test_what_is_no_event_is_not_taken_for_one(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(ACCOUNT_CHANGES, value)
