"""The HTTP client against a real server: which addresses it connects to, and what it makes of what comes back."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from services.push.answers import Answer
from services.push.http import HttpClient


class Site:
    """A server on the loopback address; counts the requests that reach it."""

    def __init__(self) -> None:
        self.requests = 0
        self.port = 0
        self.hang = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        match request.path:
            case "/moved":
                raise web.HTTPFound("/ok")
            case "/slow":
                await self.hang.wait()
            case "/endless":
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(b"x" * 65_536)
            case "/busy":
                return web.Response(status=429, headers={"Retry-After": "7"}, text="later, +491511234567")
        return web.Response(text="fine")


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    runner = web.ServerRunner(web.Server(made.handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    made.hang.set()
    await runner.cleanup()


async def answer(url: str, **options: Any) -> Answer:
    client = HttpClient(url, **{"connections": 2, "timeout_s": 0.5, "allow_private": True} | options)
    await client.start()
    try:
        return await client.post(b"{}", {})
    finally:
        await client.stop()


async def test_what_the_server_says_is_read(site: Site) -> None:
    base = f"http://127.0.0.1:{site.port}"
    assert await answer(f"{base}/ok") == Answer("delivered", said=b"fine")
    assert await answer(f"{base}/busy") == Answer(
        "failed", "HTTP 429", retry_after_ms=7000, said=b"later, +491511234567"
    )


async def test_a_redirect_is_not_followed(site: Site) -> None:
    found = await answer(f"http://127.0.0.1:{site.port}/moved")
    assert (found.outcome, found.detail, site.requests) == ("refused", "HTTP 302", 1)


async def test_an_answer_without_an_end_is_not_read_to_its_end(site: Site) -> None:
    found = await answer(f"http://127.0.0.1:{site.port}/endless", timeout_s=5)
    assert found.outcome == "delivered"
    assert len(found.said) == 512


async def test_no_answer_in_time_may_be_the_event_s_own_trouble(site: Site) -> None:
    found = await answer(f"http://127.0.0.1:{site.port}/slow")
    assert (found.outcome, found.unreachable) == ("failed", False)


async def test_a_refused_connection_is_the_endpoint_s_trouble() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = await answer(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert (found.outcome, found.unreachable) == ("failed", True)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "shop.example"])
async def test_a_private_address_is_never_connected_to_whatever_name_leads_there(
    site: Site, host: str
) -> None:
    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", site.port))]

    found = await answer(f"http://{host}:{site.port}/ok", allow_private=False, resolve=resolve)
    assert (found.outcome, found.detail, found.unreachable) == ("failed", "address is not public", True)
    assert site.requests == 0


async def test_a_name_that_leads_nowhere_is_the_endpoint_s_trouble() -> None:
    def resolve(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    found = await answer("http://shop.example/", resolve=resolve)
    assert (found.outcome, found.detail, found.unreachable) == ("failed", "name not found", True)
