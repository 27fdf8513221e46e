"""Public events are read as they were made."""

from msgspec import Raw

from shared.events import SendEvent, decode_send_event, encode

TOLD = SendEvent(
    event_id="wamid.1:sent",
    event="sent",
    seq=3,
    at="2026-11-26T09:00:00.000Z",
    request_id="r1",
    correlation_id=None,
    tags={},
    waba_id="W1",
    phone_number_id="N1",
    user=None,
)


def test_a_send_event_without_metas_object_is_read_without_one() -> None:
    assert b'"meta":null' in encode(TOLD)
    assert decode_send_event(encode(TOLD)) == TOLD


def test_a_send_event_keeps_metas_object_to_the_byte() -> None:
    value = encode(TOLD).replace(b'"meta":null', b'"meta":{"id": "wamid.1"}')
    assert decode_send_event(value).meta == Raw(b'{"id": "wamid.1"}')
