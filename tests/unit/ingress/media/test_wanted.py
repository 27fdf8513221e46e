"""Which files a message wants fetched, when a failed one is tried again, and what is told of them."""

import json
from typing import Any

import msgspec

from services.ingress.media.place import Place, Stored
from services.ingress.media.wanted import (
    LIFE_MS,
    decode_wanted,
    encode_wanted,
    failed_event,
    next_try_ms,
    on_demand,
    stored_event,
    wanted_files,
)
from shared.events import ReceivedMedia, ReceivedMessage, UserRef, encode
from shared.times import parse_rfc3339

RECEIVED_AT = "2026-12-01T09:00:00.000Z"
RECEIVED_MS = parse_rfc3339(RECEIVED_AT)


def received(media: list[ReceivedMedia], message: Any = None, **more: Any) -> ReceivedMessage:
    fields: dict[str, Any] = {
        "event_id": "wamid.1:received",
        "channel": "whatsapp",
        "waba_id": "1",
        "phone_number_id": "106",
        "sent_at": RECEIVED_AT,
        "received_at": RECEIVED_AT,
        "user": UserRef(user_id="4915112345678"),
        "window_expires_at": None,
        "reply_to": None,
        "message": msgspec.Raw(json.dumps(message or {}).encode()),
        "media": media,
    }
    return ReceivedMessage(**fields | more)


def test_a_file_with_an_id_is_wanted_under_that_id() -> None:
    (file,) = wanted_files(received([ReceivedMedia(kind="image", id="7", sha256="x")]))
    assert (file.id, file.place, file.media_id, file.link) == ("wamid.1:0", Place("106", "7"), "7", None)
    assert file.conversation == "106:4915112345678"
    assert decode_wanted(encode_wanted(file)) == file


def test_files_given_as_links_are_wanted_under_keys_of_our_own_each_its_own_link() -> None:
    attachments = [
        {"type": "share", "payload": {"url": "https://example.org"}},
        {"type": "image", "payload": {"url": "https://cdn/1"}},
        {"type": "video", "payload": {"url": "https://cdn/2"}},
    ]
    files = wanted_files(
        received(
            [ReceivedMedia(kind="image", id=None), ReceivedMedia(kind="video", id=None)],
            {"message": {"attachments": attachments}},
            channel="instagram",
        )
    )
    assert [file.link for file in files] == ["https://cdn/1", "https://cdn/2"]
    assert len({file.key for file in files}) == 2
    assert all(on_demand(file.place) is None for file in files)
    assert files == wanted_files(
        received(
            [ReceivedMedia(kind="image", id=None), ReceivedMedia(kind="video", id=None)],
            {"message": {"attachments": attachments}},
            channel="instagram",
        )
    )


def test_an_id_that_can_name_no_file_is_not_wanted() -> None:
    assert wanted_files(received([ReceivedMedia(kind="image", id="../7")])) == []


def test_a_failed_file_is_tried_again_ever_later_and_not_beyond_seven_days() -> None:
    (file,) = wanted_files(received([ReceivedMedia(kind="image", id="7")]))
    now_ms, pauses = RECEIVED_MS, []
    while (due_ms := next_try_ms(file, now_ms)) is not None:
        pauses.append(due_ms - now_ms)
        now_ms, file = due_ms, msgspec.structs.replace(file, tries=file.tries + 1)
    assert pauses[:3] == [5_000, 10_000, 20_000]
    assert pauses == sorted(pauses)
    assert max(pauses) == 3_600_000
    assert LIFE_MS - 3_600_000 <= now_ms - RECEIVED_MS < LIFE_MS


def test_a_stored_file_is_told_in_the_same_bytes_whenever_it_is() -> None:
    (file,) = wanted_files(received([ReceivedMedia(kind="image", id="7")]))
    stored = Stored("image/png", 3, "ab", RECEIVED_MS + 1000, "a.png")
    event = stored_event(file, stored)
    again = stored_event(msgspec.structs.replace(file, tries=3), stored)
    assert encode(event) == encode(again)
    assert (event.event_id, event.path, event.place) == (
        "wamid.1:0:stored",
        "/v1/media/106/7",
        "files/106/7",
    )


def test_the_keys_in_the_store_name_nobody() -> None:
    (file,) = wanted_files(received([ReceivedMedia(kind="image", id="7")]))
    assert "4915112345678" not in file.place.file + file.place.about + file.place.path


def test_a_failed_file_keeps_its_path_only_if_it_can_still_be_asked_for() -> None:
    message = {"message": {"attachments": [{"type": "image", "payload": {"url": "https://cdn/1"}}]}}
    (by_id,) = wanted_files(received([ReceivedMedia(kind="image", id="7")]))
    (by_link,) = wanted_files(received([ReceivedMedia(kind="image", id=None)], message))
    assert failed_event(by_id, "gone", RECEIVED_MS).path == "/v1/media/106/7"
    assert failed_event(by_link, "gone", RECEIVED_MS).path is None
