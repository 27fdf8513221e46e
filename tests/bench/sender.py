"""Messages per second that one sender process gets accepted, from the first one on, beside a bare aiohttp client loop against the same simulator; by the clock and by its own CPU.

Nobody has a core to himself: a sender's message costs the fake Meta, Kafka and Redis twice what it costs the sender, and on two cores they would wait for the other one while its own is idle.
"""

import asyncio
import time

import aiohttp

from deploy.local.ports import free_ports
from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from shared import events, kafka
from shared.settings import ServiceSettings
from shared.topics import ACCOUNT_EVENTS, SEND_COMMANDS
from tests.bench import load, processes
from tests.bench.router import cpu_s

NUMBERS = 8
MESSAGES = 24_000
TOKEN = "bench-token"


async def measure(stack: LocalStack, core: int | None) -> dict[str, tuple[float, float]]:
    """(sender, bare client), messages per second, by what is measured."""
    async with Simulated(stack, "sender-bench") as simulated:
        number = load.number_id(0)
        bare = processes.start(
            ["tests.bench.bare_client", simulated.url, TOKEN, number, str(MESSAGES)],
            {},
            stack.directory / "logs" / "bare-client.log",
            core,
        )
        while bare.returncode is None:
            await asyncio.sleep(0.1)
        clock_s, used_s = map(float, bare.log_tail(1).split())
        await simulated.clear()
        settings, env = await prepare(stack, simulated.url)
        await order(settings, MESSAGES)
        sender = processes.start(["services.sender"], env, stack.directory / "logs" / "sender.log", core)
        began: tuple[float, float, int] | None = None
        try:
            while True:
                done = await simulated.accepted()
                now, cpu = time.monotonic(), cpu_s(sender.pid)
                if began is None and done:
                    began = (now, cpu, done)
                if done >= MESSAGES and began is not None:
                    break
                if sender.returncode is not None:
                    raise RuntimeError(sender.log_tail(30))
                await asyncio.sleep(0.1)
        finally:
            await sender.stop(grace_s=20)
    sent = done - began[2]
    return {
        "sender: messages sent": (sent / (now - began[0]), MESSAGES / clock_s),
        "sender: messages sent in a second of its own CPU": (sent / (cpu - began[1]), MESSAGES / used_s),
    }


class Simulated:
    """A simulator with one account, as the load names it; webhooks go nowhere."""

    def __init__(
        self, stack: LocalStack, name: str, numbers: int = NUMBERS, max_mps: int | None = None
    ) -> None:
        self._stack, self._name, self._numbers, self._max_mps = stack, name, numbers, max_mps
        self.port, self._probes = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: OwnedProcess
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> "Simulated":
        env = {
            "WA_HTTP_PORT": str(self.port),
            "WA_METRICS_PORT": str(self._probes),
            "WA_ACCESS_TOKEN": TOKEN,
            "WA_LOG_LEVEL": "warning",
        }
        log = self._stack.directory / "logs" / f"simulator-{self._name}.log"
        self._process = processes.start(["services.simulator"], env, log, None)
        self._http = aiohttp.ClientSession(self.url)
        for _ in range(200):
            try:
                await self.ask("GET", "/sim/accounts")
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
        await self.ask("PUT", "/sim/accounts", {"wabas": [self._account()]})
        await self.ask("POST", "/sim/options", {"auto_statuses": False})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        await self._process.stop(grace_s=10)

    def _account(self) -> dict[str, object]:
        numbers = [
            {"id": load.number_id(i), "display_phone_number": f"+1 555 {i:07}", "max_mps": self._max_mps}
            for i in range(self._numbers)
        ]
        templates = [
            {"name": name, "language": "en", "category": category, "status": "APPROVED"}
            for name, category in (
                ("promo", "marketing"),
                ("order_update", "utility"),
                ("login_code", "authentication"),
            )
        ]
        return {"id": load.WABA, "numbers": numbers, "templates": templates, "payment_method": "valid"}

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """Use the control API."""
        async with self._http.request(method, path, json=body) as answer:
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {await answer.text()}")
            return await answer.json() if answer.content_type == "application/json" else {}

    async def accepted(self) -> int:
        """Messages accepted so far."""
        answer = await self.ask("GET", "/sim/ledger?calls=0&commands=0")
        return int(answer["counts"]["accepted"])  # type: ignore[index]

    async def clear(self) -> None:
        """Forget all calls."""
        await self.ask("DELETE", "/sim/ledger")


async def prepare(
    stack: LocalStack, graph_url: str, partitions: int = processes.PARTITIONS
) -> tuple[ServiceSettings, dict[str, str]]:
    """Topics of a run of its own, and the environment of its senders."""
    settings, env = await processes.topics(stack, partitions)
    env |= {"WA_GRAPH_URL": graph_url, "WA_GRAPH_VERSION": "v24.0", "WA_ACCESS_TOKEN": TOKEN}
    return settings, env


async def order(settings: ServiceSettings, count: int) -> None:
    """Put facts of the numbers and so many commands on their topics."""
    now_ms = int(time.time() * 1000)
    producer = kafka.producer(settings, linger_ms=5)
    await producer.start()
    try:
        for fact in load.accounts(NUMBERS, now_ms - 1000):
            await producer.send(
                kafka.name_of(ACCOUNT_EVENTS, settings), events.encode(fact), key=fact.waba_id.encode()
            )
        topic = kafka.name_of(SEND_COMMANDS, settings)
        for nth in range(count):
            number = load.number_id(nth % NUMBERS)
            command = load.command(
                f"r{nth}", number, f"49151{nth:08}", now_ms + nth // 10, now_ms + 3_600_000
            )
            await producer.send(topic, events.encode(command), key=number.encode())
        await producer.flush()
    finally:
        await producer.stop()
