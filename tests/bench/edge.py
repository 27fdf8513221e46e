"""The HTTP edge: calls per second of one process beside a bare aiohttp handler; how long a caller waits for Meta's id, and what a waiting caller costs."""

import asyncio
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from deploy.local import install
from deploy.local.demo.stage import Stage
from deploy.local.paths import REPOSITORY
from deploy.local.ports import free_ports
from deploy.local.process import OwnedProcess
from deploy.local.services import ACCESS_TOKEN, EDGE_TOKEN, TABLE, urls
from deploy.local.stack import LocalStack
from deploy.local.system import LocalSystem
from deploy.local.topics import create_topics
from services.console.steps import template_message
from shared.clock import FileClock
from shared.settings import ServiceSettings
from tests.bench import processes
from tests.bench.load import number_id
from tests.bench.router import cpu_s

SECONDS = 5
CONNECTIONS = 64
RATE, CALLS = 25, 250
"""Calls a second at which the wait is measured, and how many: well within the number's 80 a second."""
WAITERS = 500
_AUTHORIZATION = f"Bearer {EDGE_TOKEN}"

_WRK = """
local n = 0
local head = { ["Content-Type"] = "application/json", ["Authorization"] = "%s" }
request = function()
  n = n + 1
  local body = string.format('{"request_id":"%s-%%d","from":"%s","message":{"messaging_product":"whatsapp","to":"+49151%%08d","type":"text","text":{"body":"On its way"}}}', n, n)
  return wrk.format("POST", "/v1/requests", head, body)
end
"""


async def measure(stack: LocalStack, core: int | None) -> dict[str, tuple[float, float]]:
    """(edge, bare handler), requests per second: each safe in Kafka before it is answered."""
    generator = install.tool("wrk")
    script = stack.directory / "requests.lua"
    script.write_text(_WRK % (_AUTHORIZATION, uuid.uuid4().hex[:8], number_id(0)))
    (bare_port,) = free_ports(1)
    bare = processes.start(
        ["tests.bench.bare_handler", str(bare_port)], {}, stack.directory / "logs" / "bare.log", core
    )
    try:
        await _listening(bare, bare_port)
        ceiling = await _rate(generator, bare, bare_port, script)
    finally:
        await bare.stop(grace_s=10)
    async with _edge(stack, core) as (edge, port):
        value = await _rate(generator, edge, port, script)
    return {
        "edge: requests published": (value[0], ceiling[0]),
        "edge: requests published in a second of its own CPU": (value[1], ceiling[1]),
    }


async def waits(stack: LocalStack, core: int | None) -> dict[str, tuple[float, float]]:
    """(through all services, straight at the fake Meta), ms until the message's id is there; (a waiting caller's memory, an idle connection's), KB."""
    through, straight = await _latencies(stack)
    waiting, idle = await _memory_kb(stack, core)
    return {
        "edge: p50 from the call to Meta's id": (_percentile(through, 50), _percentile(straight, 50)),
        "edge: p99 from the call to Meta's id": (_percentile(through, 99), _percentile(straight, 99)),
        "edge: memory of a waiting caller": (waiting, idle),
    }


async def _latencies(stack: LocalStack) -> tuple[list[float], list[float]]:
    async def prepare(settings: Mapping[str, str]) -> None:
        FileClock(settings["WA_CLOCK_FILE"]).close()
        await create_topics(settings)

    name = f"b{uuid.uuid4().hex[:8]}"
    kinds = ("simulator", "ingress", "router", "sender")
    system = LocalSystem(
        stack,
        prepare,
        names=tuple(one for one in TABLE if one.partition(".")[0] in kinds),
        extra={"WA_TOPIC_PREFIX": f"{name}.", "WA_REDIS_NAMESPACE": name},
        own_stack=False,
        ready_within_s=120,
    )
    async with system:
        settings = ServiceSettings.model_validate(
            {name.removeprefix("WA_").lower(): value for name, value in system.settings.items()}
        )
        clock = FileClock(system.settings["WA_CLOCK_FILE"])
        async with Stage(settings, urls(system.ports), clock) as stage:
            await stage.set_up()
            await stage.accounts.apply()
            await stage.know()
            path = f"v23.0/{stage.number('shop')}/messages"
            at = urls(system.ports)
            straight = await _steadily(f"{at['simulator']}/{path}", ACCESS_TOKEN, 0)
            await _steadily(f"{at['edge']}/{path}", EDGE_TOKEN, 300, calls=20)  # the first ones warm it up
            through = await _steadily(f"{at['edge']}/{path}", EDGE_TOKEN, 400)
    return through, straight


async def _steadily(url: str, token: str, first: int, calls: int = CALLS) -> list[float]:
    """Milliseconds of each call, begun at a steady rate, each for another user."""
    began = time.monotonic()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:

        async def call(nth: int) -> float:
            await asyncio.sleep(max(0, began + nth / RATE - time.monotonic()))
            message = template_message(f"+49151{first + nth:08}", "order_update", "de", [])
            started = time.monotonic()
            async with http.post(url, json=message) as answer:
                body = await answer.json()
                if answer.status != 200 or not body["messages"][0]["id"].startswith("wamid."):
                    raise RuntimeError(f"{answer.status}: {body}")
            return (time.monotonic() - started) * 1000

        return await asyncio.gather(*map(call, range(calls)))


async def _memory_kb(stack: LocalStack, core: int | None) -> tuple[float, float]:
    """Of a caller that waits, and of a connection that does nothing. No router runs, so all of them wait."""
    async with _edge(stack, core, WA_EDGE_WAIT_S="60") as (edge, port):
        await asyncio.gather(*(_post(port, f"warm-{n}", 0.5) for n in range(50)))
        before = _rss_kb(edge)
        idle = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(WAITERS)))
        await asyncio.sleep(1)
        connected = _rss_kb(edge)
        for _, writer in idle:
            writer.close()
        calls = [asyncio.create_task(_post(port, f"w-{n}", 60)) for n in range(WAITERS)]
        async with asyncio.timeout(50):
            while await _waiting(edge) < WAITERS:
                await asyncio.sleep(0.1)
        after = _rss_kb(edge)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    return (after - before) / WAITERS, max(0.1, (connected - before) / WAITERS)


async def _post(port: int, key: str, within_s: float) -> None:
    """One call on a connection of its own that is left before it is answered."""
    message = {"messaging_product": "whatsapp", "to": "+4915112345678", "type": "text", "text": {"body": key}}
    url = f"http://127.0.0.1:{port}/v23.0/{number_id(0)}/messages"
    headers = {"Authorization": _AUTHORIZATION, "Idempotency-Key": f"{key}-{uuid.uuid4().hex[:6]}"}
    limit = aiohttp.ClientTimeout(total=within_s)
    try:
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, json=message, headers=headers, timeout=limit),
        ):
            raise RuntimeError("answered though nobody decides")
    except TimeoutError:
        return


@asynccontextmanager
async def _edge(stack: LocalStack, core: int | None, **more: str) -> AsyncIterator[tuple[OwnedProcess, int]]:
    _, env = await processes.topics(stack)
    port, probes = free_ports(2)
    tokens = stack.directory / "edge-tokens.yaml"
    written = (REPOSITORY / "deploy" / "local" / "edge-tokens.yaml").read_text("utf-8")
    tokens.write_text(written.replace("rate: 1000", "rate: 100000").replace("burst: 2000", "burst: 100000"))
    env |= {
        "WA_HTTP_PORT": str(port),
        "WA_METRICS_PORT": str(probes),
        "WA_EDGE_TOKENS_FILE": str(tokens),
        "WA_CONFIG_DIR": str(REPOSITORY / "config"),
        **more,
    }
    edge = processes.start(["services.ingress.edge"], env, stack.directory / "logs" / "edge.log", core)
    try:
        await _ready(edge, probes)
        _PROBES[edge.pid] = probes
        yield edge, port
    finally:
        await edge.stop(grace_s=20)


_PROBES: dict[int, int] = {}


async def _waiting(edge: OwnedProcess) -> float:
    """How many callers wait, as the process itself says."""
    url = f"http://127.0.0.1:{_PROBES[edge.pid]}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        lines = (await answer.text()).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("wa_edge_waiting "))


async def _rate(generator: Path, server: OwnedProcess, port: int, script: Path) -> tuple[float, float]:
    """Requests per second of the clock and of CPU."""
    await _wrk(generator, port, script, 1)
    began = cpu_s(server.pid)
    answered, rate = await _wrk(generator, port, script, SECONDS)
    return rate, answered / (cpu_s(server.pid) - began)


async def _wrk(generator: Path, port: int, script: Path, seconds: int) -> tuple[int, float]:
    command = [str(generator), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script)]
    wrk = await asyncio.create_subprocess_exec(
        *command, f"http://127.0.0.1:{port}", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await wrk.communicate()
    text = output.decode()
    if "Non-2xx" in text or "Requests/sec" not in text:
        raise RuntimeError(f"wrk failed:\n{text}")
    answered = int(text.partition(" requests in")[0].split()[-1])
    return answered, float(text.partition("Requests/sec:")[2].split()[0])


async def _ready(server: OwnedProcess, probes: int) -> None:
    await _answers(server, f"http://127.0.0.1:{probes}/ready", 200)


async def _listening(server: OwnedProcess, port: int) -> None:
    await _answers(server, f"http://127.0.0.1:{port}/", 405)


async def _answers(server: OwnedProcess, url: str, status: int) -> None:
    async with aiohttp.ClientSession() as http, asyncio.timeout(60):
        while True:
            try:
                async with http.get(url) as answer:
                    if answer.status == status:
                        return
            except aiohttp.ClientError:
                if server.returncode is not None:
                    raise RuntimeError(server.log_tail(30)) from None
            await asyncio.sleep(0.1)


def _rss_kb(server: OwnedProcess) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]
