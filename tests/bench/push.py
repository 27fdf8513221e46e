"""Events per second that push delivers to one endpoint, beside a bare aiohttp client loop to the same server; by the clock and by its own CPU."""

import asyncio
import time

import aiohttp
import yaml

from deploy.local.ports import free_ports
from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from shared import kafka
from shared.events import ReceivedMessage, UserRef, encode
from shared.settings import ServiceSettings
from shared.topics import MESSAGES_RECEIVED
from tests.bench import load, processes
from tests.bench.router import cpu_s

EVENTS = {1: 6_000, 50: 20_000}
"""By how many webhooks are under way at once."""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY_BYTES = 600
"""As many as a received message makes."""


async def measure(stack: LocalStack, core: int | None) -> dict[str, tuple[float, float]]:
    """(push, bare client), events per second, by what is measured."""
    logs = stack.directory / "logs"
    port, probes = free_ports(2)
    url = f"http://127.0.0.1:{port}/webhooks"
    settings, env = await processes.topics(stack)
    server = processes.start(["tests.bench.bare_handler", str(port)], {}, logs / "push-sink.log", None)
    found = {}
    try:
        await _listening(url)
        await _publish(settings, max(EVENTS.values()))
        for in_flight, count in EVENTS.items():
            bare = processes.start(
                ["tests.bench.bare_poster", url, str(in_flight), str(count), str(BODY_BYTES)],
                {}, logs / "bare-poster.log", core,
            )  # fmt: skip
            while bare.returncode is None:
                await asyncio.sleep(0.1)
            clock_s, used_s = map(float, bare.log_tail(1).split())
            file = stack.directory / f"push-{in_flight}.yaml"
            file.write_text(_endpoints(f"c{in_flight}", url, in_flight))
            push = processes.start(
                ["services.push"],
                {
                    **env,
                    "WA_METRICS_PORT": str(probes),
                    "WA_PUSH_ENDPOINTS_FILE": str(file),
                    "WA_PUSH_ALLOW_PRIVATE": "true",
                    "BENCH_SECRET": SECRET,
                },
                logs / f"push-{in_flight}.log",
                core,
            )
            try:
                rate, per_cpu = await _rate(push, f"http://127.0.0.1:{probes}/metrics", count)
            finally:
                await push.stop(grace_s=20)
            found[f"push: events, {in_flight} at once"] = (rate, count / clock_s)
            found[f"push: events in a second of its own CPU, {in_flight} at once"] = (per_cpu, count / used_s)
    finally:
        await server.stop(grace_s=5)
    return found


def _endpoints(name: str, url: str, concurrency: int) -> str:
    endpoint = {
        "name": name,
        "url": url,
        "secrets": [{"env": "BENCH_SECRET"}],
        "events": ["message.received"],
        "concurrency": concurrency,
        "start": "beginning",
    }
    return yaml.safe_dump({"endpoints": [endpoint]})


async def _publish(settings: ServiceSettings, count: int) -> None:
    producer = kafka.producer(settings, linger_ms=20)
    await producer.start()
    name = kafka.name_of(MESSAGES_RECEIVED, settings)
    for nth in range(count):
        user = f"49151{nth % 2000:08}"
        await producer.send(name, _event(nth, user), key=f"{load.number_id(0)}:{user}".encode())
    await producer.stop()


def _event(nth: int, user: str) -> bytes:
    message = {
        "from": user,
        "id": f"wamid.{nth}",
        "timestamp": "1760000000",
        "type": "text",
        "text": {"body": "Does it come in another color?"},
    }
    return encode(
        {
            **dict.fromkeys(ReceivedMessage.__struct_fields__),
            "event_id": f"wamid.{nth}:received",
            "channel": "whatsapp",
            "waba_id": load.WABA,
            "phone_number_id": load.number_id(0),
            "sent_at": "2026-11-26T20:00:00.000Z",
            "received_at": "2026-11-26T20:00:00.400Z",
            "user": UserRef(user_id=user),
            "message": message,
            "media": [],
            "v": 1,
        }
    )


async def _rate(push: OwnedProcess, metrics: str, count: int) -> tuple[float, float]:
    """Events per second of the clock and of CPU, from a tenth of them to nine tenths."""
    began: tuple[float, float, int] | None = None
    async with aiohttp.ClientSession() as http:
        while True:
            done = await _taken(http, metrics)
            now, cpu = time.monotonic(), cpu_s(push.pid)
            if began is None and done >= count // 10:
                began = (now, cpu, done)
            if began is not None and done >= count * 9 // 10:
                return (done - began[2]) / (now - began[0]), (done - began[2]) / (cpu - began[1])
            if push.returncode is not None:
                raise RuntimeError(push.log_tail(30))
            await asyncio.sleep(0.05)


async def _taken(http: aiohttp.ClientSession, metrics: str) -> int:
    try:
        async with http.get(metrics) as answer:
            text = await answer.text()
    except aiohttp.ClientConnectionError:
        return 0
    return sum(
        int(float(line.split()[-1])) for line in text.splitlines() if line.startswith("wa_push_events_total{")
    )


async def _listening(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        for _ in range(200):
            try:
                async with http.post(url, data=b"{}"):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
    raise TimeoutError(f"nothing listens on {url}")
