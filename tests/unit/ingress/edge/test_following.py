"""Records of the public topics as the edge reads them: one that nobody can read costs only itself."""

from collections.abc import Iterator
from typing import Any

import msgspec
from aiokafka.structs import ConsumerRecord

from services.ingress.edge.following import read
from services.ingress.edge.index import Heard
from shared.events import ReceivedMessage, UserRef, encode
from shared.metrics import REGISTRY
from shared.topics import MESSAGES_RECEIVED, SEND_EVENTS, Topic
from tests.unit.ingress.edge.test_book import AT, WHOLE


def record(topic: Topic, value: bytes) -> tuple[Topic, Any]:
    return topic, ConsumerRecord(topic.name, 0, 7, 0, 0, None, value, None, 0, 0, [])


def received(wamid: str, user: UserRef) -> bytes:
    return encode(
        ReceivedMessage(
            event_id=f"{wamid}:received",
            channel="whatsapp",
            waba_id="55",
            phone_number_id="106",
            sent_at=AT,
            received_at=AT,
            user=user,
            window_expires_at=None,
            reply_to=None,
            message=msgspec.Raw(encode({"id": wamid, "type": "text"})),
        )
    )


def records() -> Iterator[tuple[Topic, Any]]:
    yield record(SEND_EVENTS, encode(WHOLE[0]))
    yield record(SEND_EVENTS, b"{}")
    yield record(SEND_EVENTS, encode(WHOLE[1]).replace(b"2026-12-01T", b"yesterday "))
    yield record(MESSAGES_RECEIVED, b"\xff")
    yield record(MESSAGES_RECEIVED, received("wamid.a", UserRef(user_id="4915112345678", bsuid="DE.1")))
    yield record(MESSAGES_RECEIVED, received("wamid.b", UserRef(user_id=None, bsuid="DE.1")))
    yield record(SEND_EVENTS, encode(msgspec.structs.replace(WHOLE[1], request_id=None)))
    yield record(SEND_EVENTS, encode(WHOLE[1]))


def test_what_can_be_read_is_noted_and_the_rest_is_counted() -> None:
    def undecodable() -> float:
        return REGISTRY.get_sample_value("wa_edge_events_total", {"verdict": "undecodable"}) or 0

    before = undecodable()
    told, heard = read(records())
    assert {name: len(entries) for name, entries in told.items()} == {"r1": 2}
    assert heard == {"wamid.a": Heard("106", "4915112345678"), "wamid.b": Heard("106", "DE.1")}
    assert undecodable() - before == 3
