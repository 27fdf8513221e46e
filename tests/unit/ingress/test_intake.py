"""What one record of the request topic becomes."""

import json

from aiokafka.structs import ConsumerRecord

from services.ingress.dead_letters import CHUNK_BYTES
from services.ingress.intake.normal import outgoing
from shared.events import RequestMalformed, SendRequested, decode_conversation_event

GOOD = {
    "request_id": "r1",
    "message": {"messaging_product": "whatsapp", "to": "+4915112345678", "text": {"body": "hi"}},
}


def row(value: bytes | None, key: bytes | None = b"any") -> "ConsumerRecord[bytes, bytes]":
    return ConsumerRecord("wa.send.requests.v1", 3, 42, 0, 0, key, value, None, 0, 0, ())


def test_a_good_request_becomes_an_event_of_its_conversation() -> None:
    (record,) = outgoing(row(json.dumps(GOOD).encode()), 5, "106")
    assert (record.topic.name, record.key) == ("conversation.events.v1", b"106:4915112345678")
    assert isinstance(decode_conversation_event(record.value), SendRequested)


def test_a_bad_request_with_an_id_becomes_a_refusal() -> None:
    (record,) = outgoing(row(b'{"request_id":"r1"}'), 5, "106")
    assert (record.topic.name, record.key) == ("conversation.events.v1", b"malformed:r1")
    assert isinstance(decode_conversation_event(record.value), RequestMalformed)


def test_what_has_no_id_is_parked_as_it_came_with_reason_and_coordinates() -> None:
    (record,) = outgoing(row(b"no json", key=b"\xff"), 5, "106")
    assert (record.topic.name, record.value) == ("send.requests.v1.dlq", b"no json")
    headers = dict(record.headers)
    assert headers["dlq-source"] == b"wa.send.requests.v1:3:42"
    assert headers["dlq-reason"].startswith(b"no request")


def test_an_empty_record_is_parked() -> None:
    (record,) = outgoing(row(None, key=None), 5, "106")
    assert record.topic.name == "send.requests.v1.dlq"


def test_a_huge_record_is_parked_in_chunks_that_kafka_takes() -> None:
    parts = outgoing(row(b"x" * (2 * CHUNK_BYTES + 1)), 5, "106")
    assert [len(part.value) for part in parts] == [CHUNK_BYTES, CHUNK_BYTES, 1]
    assert [dict(part.headers)["dlq-chunk"] for part in parts] == [b"1/3", b"2/3", b"3/3"]
