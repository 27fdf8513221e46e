"""A scripted Graph API, commands to send, and the sender as a process between them."""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic, time
from typing import Any

import msgspec
from aiohttp import web

from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from shared.clock import FileClock
from shared.events import (
    AccountChanged,
    Category,
    ConversationEvent,
    SendMessage,
    decode_conversation_event,
    encode,
)
from shared.ids import conversation_key, from_opaque
from shared.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS, SEND_COMMANDS
from tests.conftest import Prefix
from tests.forking import ForkedProcess
from tests.integration.stream.harness import Bench, until

TOKEN = "a-test-token"
PAST_CLAIMS_S = 20.0
"""Past what a claim is left to its owner: a call's longest time, and some (services/sender/app.py)."""
PRIORITIES: dict[str, int] = {"authentication": 0, "service": 1, "utility": 2, "marketing": 3}

Answering = Callable[["Call"], Awaitable[web.StreamResponse]]


class Call:
    """One call that reached the Graph API."""

    def __init__(self, number: str, body: dict[str, Any], token: str, nth: int) -> None:
        self.at_s = monotonic()
        self.number = number
        self.body = body
        self.token = token
        self.nth = nth
        """How many calls the same command has now had."""

    @property
    def command_id(self) -> str:
        packed = from_opaque(self.body["biz_opaque_callback_data"])
        assert packed is not None
        return packed[1]


async def accept(call: Call) -> web.StreamResponse:
    """What Meta answers when all is well."""
    user = call.body["to"].lstrip("+")
    return web.json_response(
        {
            "messaging_product": "whatsapp",
            "contacts": [{"input": call.body["to"], "wa_id": user}],
            "messages": [{"id": f"wamid.{call.command_id}"}],
        }
    )


def refuse(code: int, status: int = 400) -> web.Response:
    """Meta's error with this code."""
    return web.json_response(
        {"error": {"code": code, "message": f"(#{code})", "type": "OAuthException"}}, status=status
    )


class ScriptedGraph:
    """Takes calls as the Graph API does, answers as it is told, remembers everything."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answer: Answering = accept
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_post("/{version}/{number}/messages", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        token = request.headers["Authorization"].removeprefix("Bearer ")
        call = Call(request.match_info["number"], body, token, 0)
        call.nth = 1 + self.counts()[call.command_id]
        self.calls.append(call)
        return await self.answer(call)

    def counts(self) -> Counter[str]:
        """Calls per command."""
        return Counter(call.command_id for call in self.calls)

    def busiest_second(self, number: str) -> int:
        """Most calls of a number in any second."""
        times = sorted(call.at_s for call in self.calls if call.number == number)
        return max(sum(1 for t in times if start <= t < start + 1) for start in times)


class SenderBench(Bench):
    """One test's topics, Graph API and senders."""

    def __init__(self, stack: LocalStack, prefix: Prefix, logs: Path) -> None:
        super().__init__(stack, prefix, logs)
        self.graph = ScriptedGraph()
        self.clock = FileClock(logs / "clock")
        self._fed = 0

    async def start(self) -> None:
        await super().start()
        await self.graph.start()

    async def stop(self) -> None:
        await super().stop()
        await self.graph.stop()

    def sender(self, instance: str = "0", **env: str) -> OwnedProcess:
        """Start a sender process."""
        process = ForkedProcess(
            "tests.integration.sender_process",
            log_path=self.logs / f"sender-{instance}-{len(self._workers)}.log",
            env={
                **os.environ,
                **self.env,
                "WA_GRAPH_URL": f"http://127.0.0.1:{self.graph.port}",
                "WA_ACCESS_TOKEN": TOKEN,
                "WA_DRAIN_S": "6",
                "WA_INSTANCE": instance,
                **env,
            },
        )
        process.spawn()
        self._workers.append(process)
        return process

    def command(
        self,
        request: str,
        *,
        number: str = "1001",
        waba: str = "10",
        user: str | None = None,
        category: Category = "utility",
        valid_for_s: float = 600,
        template: str | None = None,
    ) -> SendMessage:
        """A command as the router would write it now."""
        self._fed += 1
        user = user or f"49151{abs(hash(request)) % 10**8:08d}"
        now_ms = int(time() * 1000)
        message: dict[str, Any] = {
            "messaging_product": "whatsapp",
            "to": user,
            "type": "text",
            "text": {"body": request},
        }
        if template is not None:
            message = {
                **message,
                "type": "template",
                "template": {"name": template, "language": {"code": "de"}},
            }
        return SendMessage(
            event_id=f"{request}#1",
            at_ms=now_ms - 10_000 + self._fed,
            command_id=f"{request}#1",
            conversation_key=conversation_key(number, user),
            waba_id=waba,
            phone_number_id=number,
            user=user,
            category=category,
            priority=PRIORITIES[category],
            valid_until_ms=now_ms + int(valid_for_s * 1000),
            message=msgspec.Raw(msgspec.json.encode(message)),
        )

    async def order(self, *commands: SendMessage) -> None:
        """Put commands on their topic, keyed by number as the router keys them."""
        await self.feed([(c.phone_number_id, encode(c)) for c in commands], SEND_COMMANDS)

    async def set_number(self, number: str, **fields: Any) -> None:
        """State facts of a number."""
        event = AccountChanged(
            event_id=f"set-{number}",
            at_ms=int(time() * 1000),
            waba_id="10",
            subject="number",
            id=number,
            fields=fields,
        )
        await self.feed([("10", encode(event))], ACCOUNT_EVENTS)

    async def outcomes(self) -> list[ConversationEvent]:
        """Every outcome reported by now."""
        return [decode_conversation_event(value) for _, _, value, _ in await self.read(CONVERSATION_EVENTS)]

    async def told(self) -> dict[str, set[str]]:
        """Command → kinds of its outcomes."""
        told: dict[str, set[str]] = {}
        for event in await self.outcomes():
            told.setdefault(event.command_id or "", set()).add(type(event).__name__)  # type: ignore[union-attr]
        return told

    async def until_told(self, count: int, timeout_s: float = 40) -> dict[str, set[str]]:
        """Wait until so many commands have an outcome."""

        async def enough() -> bool:
            return len(await self.told()) >= count

        await until(enough, f"{count} outcomes", timeout_s, every_s=0.2)
        return await self.told()

    async def until_called(self, count: int, timeout_s: float = 40) -> None:
        """Wait for so many calls."""

        async def enough() -> bool:
            return len(self.graph.calls) >= count

        await until(enough, f"{count} calls", timeout_s)


async def forever(call: Call) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError
