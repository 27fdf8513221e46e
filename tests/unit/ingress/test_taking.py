"""What one record of the request topic becomes."""

import json

from aiokafka.structs import ConsumerRecord

from services.ingress.dead_letters import CHUNK_BYTES
from services.ingress.intake.taking import outgoing
from services.ingress.record import Record
from shared.events import RequestMalformed, SendRequested, decode_conversation_event
from shared.metrics import INTAKE_REQUESTS
from shared.topics import SEND_REQUESTS

GOOD = {
    "request_id": "r1",
    "message": {"messaging_product": "whatsapp", "to": "+4915112345678", "text": {"body": "hi"}},
}


def taken(value: bytes | None, key: bytes | None = b"any") -> list[Record]:
    row = ConsumerRecord("wa.send.requests.v1", 3, 42, 0, 0, key, value, None, 0, 0, ())
    return outgoing(row, SEND_REQUESTS, INTAKE_REQUESTS, 5, "106")


def test_a_good_request_becomes_an_event_of_its_conversation() -> None:
    (record,) = taken(json.dumps(GOOD).encode())
    assert (record.topic.name, record.key) == ("conversation.events.v1", b"106:4915112345678")
    assert isinstance(decode_conversation_event(record.value), SendRequested)


def test_a_bad_request_with_an_id_becomes_a_refusal() -> None:
    (record,) = taken(b'{"request_id":"r1"}')
    assert (record.topic.name, record.key) == ("conversation.events.v1", b"malformed:r1")
    assert isinstance(decode_conversation_event(record.value), RequestMalformed)


def test_what_has_no_id_is_parked_as_it_came_with_reason_and_coordinates() -> None:
    (record,) = taken(b"no json", key=b"\xff")
    assert (record.topic.name, record.value) == ("send.requests.v1.dlq", b"no json")
    headers = dict(record.headers)
    assert headers["dlq-source"] == b"wa.send.requests.v1:3:42"
    assert headers["dlq-reason"].startswith(b"no request")


def test_an_empty_record_is_parked() -> None:
    (record,) = taken(None, key=None)
    assert record.topic.name == "send.requests.v1.dlq"


def test_a_huge_record_is_parked_in_chunks_that_kafka_takes() -> None:
    parts = taken(b"x" * (2 * CHUNK_BYTES + 1))
    assert [len(part.value) for part in parts] == [CHUNK_BYTES, CHUNK_BYTES, 1]
    assert [dict(part.headers)["dlq-chunk"] for part in parts] == [b"1/3", b"2/3", b"3/3"]
