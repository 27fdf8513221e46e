"""The adapter to Meta's files, against a server that behaves and misbehaves."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.ingress.media.failures import LinkStale, NotFetched
from services.ingress.media.meta import MetaFiles, PublicResolver
from services.ingress.media.place import Place
from services.ingress.media.settings import MediaSettings
from tests.unit.ingress.media.fakes import CREDENTIALS


class Graph:
    """A Graph API that answers as its `answers` say; `bearers` are the tokens that came."""

    def __init__(self) -> None:
        self.answers: dict[str, web.Response] = {}
        self.bearers: list[str | None] = []
        self.queries: list[dict[str, str]] = []
        self.meta: MetaFiles
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.bearers.append(request.headers.get("Authorization"))
        self.queries.append(dict(request.query))
        return self.answers.get(request.path, web.Response(status=404))

    async def download(self, path: str) -> bytes:
        async with self.meta.download(self.url + path, CREDENTIALS) as download:
            return b"".join([piece async for piece in download.pieces])

    async def refused(self, path: str) -> str:
        with pytest.raises(NotFetched) as caught:
            await self.download(path)
        return caught.value.reason


@pytest_asyncio.fixture
async def graph() -> AsyncIterator[Graph]:
    made = Graph()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    async with TestServer(app) as server:
        made.url = str(server.make_url("/")).rstrip("/")
        made.meta = MetaFiles(MediaSettings(graph_url=made.url, media_silence_s=1))
        await made.meta.start()
        yield made
        await made.meta.stop()


async def test_a_file_is_asked_for_as_its_numbers_and_fetched_with_the_token(graph: Graph) -> None:
    node = {"url": f"{graph.url}/file", "mime_type": "image/png", "sha256": "ab", "file_size": "12"}
    graph.answers["/v23.0/7"] = web.json_response(node)
    graph.answers["/file"] = web.Response(body=b"bytes")
    found = await graph.meta.describe(Place("106", "7"), CREDENTIALS)
    assert (found.url, found.mime_type, found.sha256, found.bytes) == (
        f"{graph.url}/file", "image/png", "ab", 12,
    )  # fmt: skip
    assert graph.queries == [{"phone_number_id": "106"}]
    assert await graph.download("/file") == b"bytes"
    assert set(graph.bearers) == {"Bearer meta-token"}


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"error": {"code": 100, "message": "no such object"}}, "gone"),
        (404, {}, "gone"),
        (401, {"error": {"code": 190, "message": "expired"}}, "refused"),
        (500, {}, "refused"),
        (200, {"id": "7"}, "refused"),
    ],
)
async def test_what_meta_does_not_give_has_a_reason(
    graph: Graph, status: int, body: dict[str, object], reason: str
) -> None:
    graph.answers["/v23.0/7"] = web.json_response(body, status=status)
    with pytest.raises(NotFetched) as caught:
        await graph.meta.describe(Place("106", "7"), CREDENTIALS)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "location",
    [
        "https://example.org/steal",
        "http://localhost:1/",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "http://[",
    ],
)
async def test_a_redirection_elsewhere_is_not_followed(graph: Graph, location: str) -> None:
    graph.answers["/file"] = web.Response(status=302, headers={"Location": location})
    assert await graph.refused("/file") == "forbidden_link"


async def test_a_redirection_within_meta_is_followed(graph: Graph) -> None:
    graph.answers["/file"] = web.Response(status=302, headers={"Location": "/elsewhere"})
    graph.answers["/elsewhere"] = web.Response(body=b"bytes")
    assert await graph.download("/file") == b"bytes"


async def test_a_stale_link_is_told_from_other_trouble(graph: Graph) -> None:
    for status in (403, 404, 410):
        graph.answers["/file"] = web.Response(status=status)
        with pytest.raises(LinkStale):
            await graph.download("/file")
    graph.answers["/file"] = web.Response(status=500)
    assert await graph.refused("/file") == "refused"
    graph.answers["/file"] = web.Response(body=b"x", headers={"Content-Encoding": "gzip"})
    assert await graph.refused("/file") == "refused"


async def test_nobody_at_home_is_unreachable_and_the_text_holds_no_link() -> None:
    meta = MetaFiles(MediaSettings(graph_url="http://127.0.0.1:1"))
    await meta.start()
    with pytest.raises(NotFetched) as caught:
        async with meta.download("http://127.0.0.1:1/?hash=secret", CREDENTIALS):
            pass
    await meta.stop()
    assert caught.value.reason == "unreachable"
    assert "secret" not in str(caught.value)


async def test_a_name_that_leads_into_a_private_network_is_not_followed() -> None:
    trusting, careful = PublicResolver("localhost"), PublicResolver("graph.facebook.com")
    assert await trusting.resolve("localhost", 80)
    with pytest.raises(OSError, match="no public address"):
        await careful.resolve("localhost", 80)
    for resolver in (trusting, careful):
        await resolver.close()
