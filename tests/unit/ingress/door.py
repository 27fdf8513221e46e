"""The door for webhooks on a real socket, Kafka's place taken by a fake."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

from services.ingress.apps import App
from services.ingress.connections import ConnectionLimits
from services.ingress.http import Listener
from services.ingress.publisher import Unavailable
from services.ingress.record import Record
from services.ingress.routes import Limits, Webhooks
from shared.clock import ManualClock
from shared.metrics import REGISTRY

SECRET, PREVIOUS, TOKEN = b"app secret", b"the one before", "verify me"
OTHER_SECRET, OTHER_TOKEN = b"secret of the shop", "verify the shop"
APPS = {
    "/webhooks": App("default", (SECRET, PREVIOUS), TOKEN.encode()),
    "/webhooks/shop": App("shop", (OTHER_SECRET,), OTHER_TOKEN.encode()),
}
LIMITS = Limits(body_s=0.3)
CONNECTIONS = ConnectionLimits(header_s=0.3, idle_s=0.5, most=50)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MESSAGE = {
    "id": "wamid.1",
    "from": "16505551234",
    "timestamp": "1749416383",
    "type": "text",
    "text": {"body": "hi"},
}


class FakePublisher:
    """Keeps what it is given; refuses or waits when told to."""

    def __init__(self) -> None:
        self.taking = True
        self.records: list[Record] = []
        self.failure: Unavailable | None = None
        self.held = asyncio.Event()
        self.held.set()

    async def publish(self, records: Sequence[Record]) -> None:
        await self.held.wait()
        if self.failure is not None:
            raise self.failure
        self.records.extend(records)


@dataclass
class Ingress:
    publisher: FakePublisher
    webhooks: Webhooks
    listener: Listener
    http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.port}/webhooks"

    async def post(
        self, body: bytes, *, secret: bytes = SECRET, headers: dict[str, str] | None = None, app: str = ""
    ) -> tuple[int, str]:
        sent = {"X-Hub-Signature-256": signature(body, secret), "Content-Type": "application/json"} | (
            headers or {}
        )
        async with self.http.post(self.url + app, data=body, headers=sent) as answer:
            return answer.status, await answer.text()

    async def everything(self, *pieces: bytes) -> bytes:
        """Write the pieces and read until the other side closes, 5 s at most."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await asyncio.wait_for(reader.read(), 5)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def raw(self, request: bytes, *, close: bool = False) -> bytes:
        """Write bytes as they are; the answer until the other side closes or has answered."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        writer.write(request)
        await writer.drain()
        if close:
            writer.close()
            await writer.wait_closed()
            return b""
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.close()
        return answer


def signature(body: bytes, secret: bytes) -> str:
    return "sha256=" + hmac.digest(secret, body, "sha256").hex()


def webhook(*messages: Any, name: str = "whatsapp_business_account") -> bytes:
    value = {"metadata": {"phone_number_id": "106"}, "messages": list(messages)}
    return json.dumps(
        {"object": name, "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]}
    ).encode()


async def started(
    limits: Limits = LIMITS, connections: ConnectionLimits = CONNECTIONS
) -> AsyncIterator[Ingress]:
    publisher = FakePublisher()
    webhooks = Webhooks(publisher, ManualClock(NOW), limits)
    listener = Listener(webhooks, APPS.get, "127.0.0.1", 0, reuse_port=False, drain_s=5, limits=connections)
    await listener.start()
    async with aiohttp.ClientSession() as http:
        yield Ingress(publisher, webhooks, listener, http)
    await listener.stop()


def counted(verdict: str, app: str = "default") -> float:
    return REGISTRY.get_sample_value("wa_webhook_requests_total", {"app": app, "verdict": verdict}) or 0
