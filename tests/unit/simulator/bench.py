"""A simulator on loopback with a clock that stands still, a receiver of its webhooks, and a client."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest_asyncio
from pydantic import SecretStr

from services.simulator.app import Simulator
from services.simulator.settings import SimulatorSettings
from shared.clock import ManualClock, MovableClock
from tests.unit.simulator.receiver import BOUND_S, Receiver

START = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
SECRET = "s3cret"
TOKEN = "t0ken"
N1, N2, N3 = "106540352242921", "106540352242922", "106540352242923"
A, B = "4915112345678", "4915112345679"

ACCOUNTS: dict[str, Any] = {
    "wabas": [
        {
            "id": "W1",
            "numbers": [
                {"id": N1, "display_phone_number": "+1 555 025 3483", "default": True},
                {"id": N2, "display_phone_number": "+1 555 025 3484"},
                {"id": N3, "display_phone_number": "+1 555 025 3485", "registered": False},
            ],
            "templates": [
                {"name": "promo", "language": "en", "category": "marketing"},
                {"name": "order_update", "language": "en", "category": "utility", "parameters": 1},
                {"name": "login_code", "language": "en", "category": "authentication"},
                {"name": "draft", "language": "en", "category": "marketing", "status": "PENDING"},
            ],
        }
    ]
}


@dataclass
class Bench:
    """What a test works with."""

    simulator: Simulator
    receiver: Receiver
    clock: MovableClock
    http: aiohttp.ClientSession

    async def call(
        self,
        body: object,
        *,
        number: str = N1,
        token: str | None = TOKEN,
        endpoint: str = "messages",
    ) -> tuple[int, dict[str, Any]]:
        """POST a message; the status and JSON of the answer."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.http.post(f"/v23.0/{number}/{endpoint}", json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """GET from the Graph API."""
        async with self.http.get(path, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            return answer.status, await answer.json()

    async def sim(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Use the control API; it must answer 200."""
        async with self.http.request(method, f"/sim{path}", json=body) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            result: dict[str, Any] = await answer.json()
            return result

    async def writes(self, user: str, number: str = N1, **more: object) -> str:
        """Let a fake user write; the message's id."""
        wamid: str = (await self.sim("POST", f"/users/{user}/messages", {"to": number, **more}))["id"]
        return wamid

    async def advance(self, seconds: float) -> None:
        """Move the clock and wait until everything due has been posted."""
        await self.sim("POST", "/clock", {"advance_s": seconds})
        await self.settled()

    async def settled(self) -> None:
        """Wait until nothing due is left to post."""
        counts = self.simulator.outbox.counts
        await self.receiver.until(
            lambda: not self.simulator.outbox.waiting and sum(self.receiver.updates()) >= counts["updates"]
        )

    async def quiet_when(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask `/sim/quiet` until its answer fulfils the condition; TimeoutError after a bound."""
        async with asyncio.timeout(BOUND_S):
            while not condition(state := await self.sim("GET", "/quiet")):
                pass
        return state

    async def counts(self) -> dict[str, Any]:
        """The ledger's counts."""
        counts: dict[str, Any] = (await self.sim("GET", "/ledger?calls=0&commands=0"))["counts"]
        return counts

    async def tally(self) -> dict[str, tuple[int, int]]:
        """Units by category: free and paid."""
        return {row["category"]: (row["free"], row["paid"]) for row in (await self.counts())["tally"]}


@pytest_asyncio.fixture(name="bench")
async def running_bench() -> AsyncIterator[Bench]:
    """A simulator that posts to a receiver, both on loopback."""
    clock = ManualClock(START)
    async with Receiver(SECRET) as receiver:
        settings = SimulatorSettings(
            http_port=0,
            metrics_port=0,
            webhook_url=receiver.url,
            app_secret=SecretStr(SECRET),
            access_token=SecretStr(TOKEN),
        )
        simulator = Simulator(settings, clock)
        await simulator.start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{simulator.port}") as http:
            made = Bench(simulator, receiver, clock, http)
            await made.sim("PUT", "/accounts", ACCOUNTS)
            yield made
        await simulator.stop()


def text(to: str = A, body: str = "hi", opaque: str | None = None) -> dict[str, Any]:
    """A free-form message."""
    message: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "to": f"+{to}",
        "type": "text",
        "text": {"body": body},
    }
    return message if opaque is None else {**message, "biz_opaque_callback_data": opaque}


def template(name: str = "promo", to: str = A, opaque: str | None = None) -> dict[str, Any]:
    """A template message; order_update gets its parameter."""
    content: dict[str, Any] = {"name": name, "language": {"code": "en"}}
    if name == "order_update":
        content["components"] = [{"type": "body", "parameters": [{"type": "text", "text": "4711"}]}]
    message: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "to": to,
        "type": "template",
        "template": content,
    }
    return message if opaque is None else {**message, "biz_opaque_callback_data": opaque}
