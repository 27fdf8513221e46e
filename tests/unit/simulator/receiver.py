"""A business's webhook endpoint for tests: checks the signature over the raw bytes and keeps what came."""

import asyncio
import hmac
import json
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

BOUND_S = 10.0


class Receiver:
    """Listens on loopback; answers as told, else 200."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self.bodies: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.bad_signatures = 0
        self.answers: deque[int] = deque()
        self._arrived = asyncio.Event()
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/webhooks", self._take)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/webhooks"

    async def _take(self, request: web.Request) -> web.Response:
        raw = await request.read()
        expected = "sha256=" + hmac.digest(self._secret, raw, "sha256").hex()
        if not hmac.compare_digest(expected, request.headers.get("X-Hub-Signature-256", "")):
            self.bad_signatures += 1
            return web.Response(status=401)
        status = self.answers.popleft() if self.answers else 200
        if status == 200:
            self.raw.append(raw)
            self.bodies.append(json.loads(raw))
        self._arrived.set()
        return web.Response(status=status)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what came fulfils the condition; TimeoutError after a bound."""
        async with asyncio.timeout(BOUND_S):
            while not condition():
                self._arrived.clear()
                await self._arrived.wait()

    def values(self, field: str = "messages") -> list[dict[str, Any]]:
        """All `value`s of a field, in the order they came."""
        return [
            change["value"]
            for body in self.bodies
            for entry in body["entry"]
            for change in entry["changes"]
            if change["field"] == field
        ]

    def statuses(self) -> list[dict[str, Any]]:
        """All statuses, in the order they came."""
        return [status for value in self.values() for status in value.get("statuses", [])]

    def messages(self) -> list[dict[str, Any]]:
        """All received messages, in the order they came."""
        return [message for value in self.values() for message in value.get("messages", [])]

    def updates(self) -> list[int]:
        """How many updates each POST held."""
        return [
            sum(
                len(change["value"].get("statuses", [])) + len(change["value"].get("messages", [])) or 1
                for entry in body["entry"]
                for change in entry["changes"]
            )
            for body in self.bodies
        ]
