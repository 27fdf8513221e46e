"""The media calls over HTTP: what is given out, to whom, and what goes to Meta."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import msgspec
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.ingress.media.fetching import Fetching
from services.ingress.media.library import Library
from services.ingress.media.place import Stored
from services.ingress.media.routes import MediaCalls, routes
from shared.clock import ManualClock
from tests.unit.ingress.media.fakes import (
    CREDENTIALS,
    FakeCaller,
    FakeCallers,
    FakeMeta,
    MemoryStore,
    MetaFile,
    Refusal,
    refusals,
)

DATA = bytes(range(256)) * 20
MIB = 1024 * 1024


class Edge:
    """The calls behind a small application, with a fake store and a fake Meta."""

    def __init__(self) -> None:
        self.store, self.meta = MemoryStore(), FakeMeta()
        library = Library(self.store)
        clock = ManualClock(datetime(2026, 12, 1, 9, tzinfo=UTC))
        fetching = Fetching(library, self.meta, lambda _: CREDENTIALS, lambda _: 100_000, clock, 5)
        callers = FakeCallers(
            shop=FakeCaller({"106", "107"}, {"send", "read", "manage"}),
            other=FakeCaller({"108"}, {"send", "read", "manage"}),
            reader=FakeCaller({"106"}, {"read"}),
        )
        calls = MediaCalls(
            callers, Refusal, library, fetching, self.meta, lambda: ["106", "107", "108"], lambda _: CREDENTIALS,
            at_once=2, silence_s=0.5,
        )  # fmt: skip
        self.app = web.Application(middlewares=[refusals])
        self.app.add_routes(routes(calls))
        self.http: aiohttp.ClientSession

    async def call(
        self, method: str, path: str, token: str = "shop", **headers: str
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(
            method, path, headers={"Authorization": f"Bearer {token}", **headers}
        ) as answer:
            return answer, await answer.read()

    async def upload(
        self,
        data: bytes,
        mime_type: str = "image/jpeg",
        token: str = "shop",
        number: str = "106",
        **fields: str,
    ) -> tuple[int, dict[str, object]]:
        form = aiohttp.FormData()
        form.add_field("file", data, content_type=mime_type, filename="a.jpg")
        for name, value in ({"messaging_product": "whatsapp", "type": mime_type} | fields).items():
            form.add_field(name, value)
        async with self.http.post(
            f"/v23.0/{number}/media", data=form, headers={"Authorization": f"Bearer {token}"}
        ) as answer:
            return answer.status, await answer.json()


@pytest_asyncio.fixture
async def edge() -> AsyncIterator[Edge]:
    made = Edge()
    async with TestServer(made.app) as server, aiohttp.ClientSession(server.make_url("/")) as made.http:
        yield made


async def test_a_file_comes_from_meta_once_and_from_the_store_then(edge: Edge) -> None:
    edge.meta.files["7"] = MetaFile(DATA)
    for _ in range(2):
        answer, body = await edge.call("GET", "/v1/media/106/7")
        assert (answer.status, body) == (200, DATA)
    assert len(edge.meta.downloads) == 1
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Content-Length"] == str(len(DATA))


async def test_what_a_stranger_sent_is_saved_and_never_shown(edge: Edge) -> None:
    edge.meta.files["7"] = MetaFile(b"<script>", mime_type="text/html")
    answer, _ = await edge.call("GET", "/v1/media/106/7")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == "attachment"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


async def test_a_part_of_a_file_and_an_unchanged_one(edge: Edge) -> None:
    edge.meta.files["7"] = MetaFile(DATA)
    answer, body = await edge.call("GET", "/v1/media/106/7", Range="bytes=10-19")
    assert (answer.status, body) == (206, DATA[10:20])
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(DATA)}"
    answer, body = await edge.call("GET", "/v1/media/106/7", Range="bytes=-5")
    assert (answer.status, body) == (206, DATA[-5:])
    answer, _ = await edge.call("GET", "/v1/media/106/7", Range=f"bytes={len(DATA)}-")
    assert answer.status == 416
    answer, body = await edge.call("GET", "/v1/media/106/7", Range="bytes=0-1,5-6")
    assert (answer.status, body) == (200, DATA)
    answer, body = await edge.call("GET", "/v1/media/106/7", Range="bytes=10-19", If_Range='"another"')
    assert (answer.status, body) == (200, DATA)
    etag = answer.headers["ETag"]
    answer, body = await edge.call("GET", "/v1/media/106/7", If_None_Match=etag)
    assert (answer.status, body) == (304, b"")
    answer, body = await edge.call("HEAD", "/v1/media/106/7")
    assert (answer.status, answer.headers["Content-Length"], body) == (200, str(len(DATA)), b"")


async def test_nobody_gets_the_files_of_others(edge: Edge) -> None:
    edge.meta.files["7"] = MetaFile(DATA)
    for token, status in (("nobody", 401), ("other", 403)):
        answer, _ = await edge.call("GET", "/v1/media/106/7", token)
        assert answer.status == status
    answer, _ = await edge.call("DELETE", "/v1/media/106/7", "reader")
    assert answer.status == 403
    answer, _ = await edge.call("GET", "/v23.0/7", "other")
    assert answer.status == 400
    answer, _ = await edge.call("GET", "/v23.0/7?phone_number_id=106", "other")
    assert answer.status == 403
    assert edge.meta.asked == [("GET", "108", "7")]


async def test_what_can_not_be_given_says_why(edge: Edge) -> None:
    edge.meta.files["big"] = MetaFile(DATA, told_bytes=100_001)
    for path, status, reason in (
        ("/v1/media/106/404", 404, b"gone"),
        ("/v1/media/106/big", 413, b"too_large"),
        ("/v1/media/106/link-ab", 404, b"gone"),
        ("/v1/media/106/..%2f7", 400, b"malformed"),
    ):
        answer, body = await edge.call("GET", path)
        assert answer.status == status, path
        assert reason in body
    edge.store.away = True
    answer, body = await edge.call("GET", "/v1/media/106/7")
    assert (answer.status, b"store" in body) == (503, True)


async def test_our_copy_can_be_deleted(edge: Edge) -> None:
    edge.meta.files["7"] = MetaFile(DATA)
    await edge.call("GET", "/v1/media/106/7")
    answer, _ = await edge.call("DELETE", "/v1/media/106/7")
    assert answer.status == 200
    assert edge.store.values == {"erased/106/7": b""}
    assert "7" in edge.meta.files
    answer, _ = await edge.call("GET", "/v1/media/106/7")
    assert answer.status == 404


async def test_an_upload_reaches_meta_whole_with_the_fields_it_came_with(edge: Edge) -> None:
    status, answer = await edge.upload(DATA, ttl_minutes="60")
    assert (status, answer) == (200, {"id": "9001"})
    assert edge.meta.uploads == [
        {"number": "106", "data": DATA, "mime_type": "image/jpeg", "filename": "a.jpg", "ttl_minutes": "60"}
    ]


async def test_an_upload_that_meta_would_refuse_is_refused_before_it_is_handed_on(edge: Edge) -> None:
    for data, mime_type, fields, status, said in (
        (b"x", "application/zip", {}, 400, "type"),
        (b"x", "image/jpeg", {"messaging_product": "sms"}, 400, "messaging_product"),
        (b"", "image/jpeg", {}, 400, "file: is empty"),
        (b"x" * (5 * MIB + 1), "image/jpeg", {}, 413, "5242880"),
    ):
        got, answer = await edge.upload(data, mime_type, **fields)
        assert got == status
        assert said in str(answer["text"])
    assert edge.meta.uploads == []


async def test_a_picture_of_the_largest_size_is_taken(edge: Edge) -> None:
    assert (await edge.upload(b"x" * 5 * MIB))[0] == 200


async def test_uploads_need_a_number_of_ones_own_and_leave_to_send(edge: Edge) -> None:
    assert (await edge.upload(DATA, number="108"))[0] == 403
    assert (await edge.upload(DATA, token="reader"))[0] == 403


async def test_what_is_no_form_and_what_stops_coming_is_refused(edge: Edge) -> None:
    authorized = {"Authorization": "Bearer shop"}
    async with edge.http.post("/v23.0/106/media", json={}, headers=authorized) as answer:
        assert answer.status == 400

    async def stalling() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nxxx'
        await edge_closed.wait()

    edge_closed = asyncio.Event()
    headers = {**authorized, "Content-Type": "multipart/form-data; boundary=b"}
    async with edge.http.post("/v23.0/106/media", data=stalling(), headers=headers) as answer:
        assert answer.status == 408
    edge_closed.set()


async def test_a_file_is_described_with_a_link_to_the_edge_that_gives_its_bytes(edge: Edge) -> None:
    edge.meta.files["7"] = MetaFile(DATA, number="107")
    answer, _ = await edge.call("GET", "/v23.0/7")
    node = await answer.json()
    assert node["url"] == str(edge.http._base_url) + "v1/media/107/7"
    _, body = await edge.call("GET", node["url"])
    assert body == DATA


async def test_meta_is_asked_once_for_a_file_whose_number_is_known(edge: Edge) -> None:
    await edge.upload(DATA, number="107")
    await edge.call("GET", "/v23.0/9001")
    assert edge.meta.asked == [("GET", "107", "9001")]


async def test_deleting_at_meta_deletes_our_copy_too(edge: Edge) -> None:
    edge.meta.files["7"] = MetaFile(DATA)
    await edge.call("GET", "/v1/media/106/7")
    answer, _ = await edge.call("DELETE", "/v23.0/7")
    assert await answer.json() == {"success": True}
    assert edge.store.values == {"erased/106/7": b""}
    assert edge.meta.files == {}


async def test_a_file_is_saved_under_its_own_name_which_leads_nowhere_else(edge: Edge) -> None:
    for name, header in (
        ("invoice 1.pdf", 'attachment; filename="invoice 1.pdf"'),
        ("../../etc/passwd", 'attachment; filename="_.._etc_passwd"'),
        ('a"; x=y\r\nZ: b', 'attachment; filename="a__ x=y__Z_ b"'),
        ("Müller.pdf", "attachment; filename*=UTF-8''M%C3%BCller.pdf"),
    ):
        edge.store.values["files/106/7"] = b""
        edge.store.values["about/106/7"] = msgspec.json.encode(Stored("text/plain", 0, "ab", 1, name))
        answer, _ = await edge.call("HEAD", "/v1/media/106/7")
        assert answer.headers["Content-Disposition"] == header
