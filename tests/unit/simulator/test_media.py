"""The fake Meta's files: uploaded, sent by users, described, given out, gone."""

import base64
import hashlib

import aiohttp

from tests.unit.simulator.bench import N1, N2, TOKEN, A, Bench

AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
DAY_S = 86_400


async def upload(
    bench: Bench, data: bytes, mime_type: str = "image/png", **fields: str
) -> tuple[int, dict[str, object]]:
    form = aiohttp.FormData()
    form.add_field("file", data, content_type=mime_type, filename="a.png")
    for name, value in ({"messaging_product": "whatsapp", "type": mime_type} | fields).items():
        form.add_field(name, value)
    async with bench.http.post(f"/v23.0/{N1}/media", data=form, headers=AUTHORIZED) as answer:
        return answer.status, await answer.json()


async def fetch(bench: Bench, url: str, headers: dict[str, str] = AUTHORIZED) -> tuple[int, bytes]:
    async with bench.http.get(url, headers=headers) as answer:
        return answer.status, await answer.read()


async def test_an_uploaded_file_is_described_and_given_out_to_who_bears_the_token(bench: Bench) -> None:
    status, made = await upload(bench, b"bytes of a picture")
    assert status == 200
    status, node = await bench.get(f"/v23.0/{made['id']}?phone_number_id={N1}")
    assert status == 200
    assert node["sha256"] == hashlib.sha256(b"bytes of a picture").hexdigest()
    assert (node["mime_type"], node["file_size"]) == ("image/png", 18)
    assert await fetch(bench, node["url"]) == (200, b"bytes of a picture")
    assert (await fetch(bench, node["url"], {}))[0] == 401


async def test_a_link_is_stale_after_five_minutes_and_a_new_one_can_be_asked_for(bench: Bench) -> None:
    _, made = await upload(bench, b"x")
    _, node = await bench.get(f"/v23.0/{made['id']}")
    await bench.advance(301)
    assert (await fetch(bench, node["url"]))[0] == 404
    _, again = await bench.get(f"/v23.0/{made['id']}")
    assert await fetch(bench, again["url"]) == (200, b"x")


async def test_an_uploaded_id_lives_30_days_and_a_received_one_7(bench: Bench) -> None:
    _, uploaded = await upload(bench, b"x")
    sent = await bench.sim("POST", f"/users/{A}/files", {"to": N1})
    await bench.advance(7 * DAY_S)
    assert (await bench.get(f"/v23.0/{sent['media_id']}"))[0] == 400
    assert (await bench.get(f"/v23.0/{uploaded['id']}"))[0] == 200
    await bench.advance(23 * DAY_S)
    assert (await bench.get(f"/v23.0/{uploaded['id']}"))[0] == 400


async def test_another_numbers_file_and_a_deleted_one_are_not_found(bench: Bench) -> None:
    _, made = await upload(bench, b"x")
    status, body = await bench.get(f"/v23.0/{made['id']}?phone_number_id={N2}")
    assert (status, body["error"]["code"], body["error"]["error_subcode"]) == (400, 100, 33)
    async with bench.http.delete(f"/v23.0/{made['id']}", headers=AUTHORIZED) as answer:
        assert await answer.json() == {"success": True}
    assert (await bench.get(f"/v23.0/{made['id']}"))[0] == 400


async def test_a_type_that_meta_does_not_take_and_a_picture_too_large_are_refused(bench: Bench) -> None:
    status, body = await upload(bench, b"x", "application/zip")
    assert status == 400
    assert body["error"]["code"] == 100  # type: ignore[index]
    status, body = await upload(bench, b"x" * (5 * 1024 * 1024 + 1))
    assert (status, body["error"]["code"]) == (400, 131053)  # type: ignore[index]


async def test_a_file_that_a_user_sends_comes_by_webhook_with_its_checksum_in_base64(bench: Bench) -> None:
    sent = await bench.sim(
        "POST",
        f"/users/{A}/files",
        {
            "to": N1,
            "type": "document",
            "mime_type": "application/pdf",
            "filename": "a.pdf",
            "caption": "here",
            "content": base64.b64encode(b"%PDF").decode(),
        },
    )
    await bench.settled()
    (message,) = bench.receiver.messages()
    assert message["id"] == sent["id"]
    document = message["document"]
    assert (document["id"], document["filename"], document["caption"]) == (sent["media_id"], "a.pdf", "here")
    assert base64.b64decode(document["sha256"]) == hashlib.sha256(b"%PDF").digest()
    assert await fetch(bench, document["url"]) == (200, b"%PDF")
    assert await fetch(bench, sent["public_url"], {}) == (200, b"%PDF")
