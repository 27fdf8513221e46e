"""Webhooks per second that ingress acknowledges on one core, Kafka's acknowledgement included, beside a bare aiohttp handler; by the clock, and by the processor time used.

By the clock ingress waits for Kafka, which has its core together with the load and with strangers.
"""

import asyncio
import hashlib
import hmac
import json
import re
from pathlib import Path

import aiohttp

from deploy.local import install
from deploy.local.ports import free_ports
from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from tests.bench import processes
from tests.bench.load import WABA, number_id
from tests.bench.router import cpu_s

SECRET = "bench-secret"
SECONDS = 4
CONNECTIONS = 256
PARTITIONS = 8

WRK = """
local bodies = {{ {bodies} }}
local signatures = {{ {signatures} }}
local i = 0
request = function()
  i = i % #bodies + 1
  return wrk.format("POST", "/webhooks", {{
    ["Content-Type"] = "application/json", ["X-Hub-Signature-256"] = signatures[i]
  }}, bodies[i])
end
"""


async def measure(stack: LocalStack, core: int | None) -> dict[str, tuple[float, float]]:
    """(ingress, bare handler), requests per second."""
    generator = install.tool("wrk")
    logs = stack.directory / "logs"
    script = stack.directory / "webhooks.lua"
    script.write_text(_script())
    bare_port, port, probes = free_ports(3)
    bare = processes.start(["tests.bench.bare_handler", str(bare_port)], {}, logs / "bare.log", core)
    ceiling = await _rate(generator, bare, bare_port, script)
    env = await environment(stack, port, probes)
    ingress = processes.start(["services.ingress"], env, logs / "ingress.log", core)
    value = await _rate(generator, ingress, port, script)
    return {
        "ingress: webhooks acknowledged": (value[0], ceiling[0]),
        "ingress: webhooks acknowledged in a second of its own CPU": (value[1], ceiling[1]),
    }


async def environment(stack: LocalStack, port: int, probes: int) -> dict[str, str]:
    """Of an ingress with topics of its own."""
    _, env = await processes.topics(stack, PARTITIONS)
    return env | {
        "WA_HTTP_PORT": str(port),
        "WA_METRICS_PORT": str(probes),
        "WA_APP_SECRET": SECRET,
        "WA_VERIFY_TOKEN": "bench",
    }


def signed_webhooks() -> list[tuple[str, str]]:
    """500 statuses: signature and body of each."""
    bodies = [json.dumps(_webhook(i), separators=(",", ":")) for i in range(500)]
    return [
        ("sha256=" + hmac.digest(SECRET.encode(), body.encode(), hashlib.sha256).hex(), body)
        for body in bodies
    ]


def _script() -> str:
    """A wrk script with them."""
    signed = signed_webhooks()
    return WRK.format(
        bodies=",".join(f"[==[{body}]==]" for _, body in signed),
        signatures=",".join(f'"{signature}"' for signature, _ in signed),
    )


def _webhook(index: int) -> dict[str, object]:
    status = {
        "id": f"wamid.bench{index}",
        "status": "delivered",
        "timestamp": "1760000000",
        "recipient_id": f"49151{index:08}",
        "biz_opaque_callback_data": f"{number_id(0)}:49151{index:08}|r{index}#1",
        "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"},
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550000000", "phone_number_id": number_id(0)},
        "statuses": [status],
    }
    entry = {"id": WABA, "changes": [{"field": "messages", "value": value}]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


async def _rate(generator: Path, server: OwnedProcess, port: int, script: Path) -> tuple[float, float]:
    """Requests per second of the clock and of CPU."""
    try:
        await listening(server, port)
        await _wrk(generator, port, script, 1)
        began = cpu_s(server.pid)
        answered, rate = await _wrk(generator, port, script, SECONDS)
        return rate, answered / (cpu_s(server.pid) - began)
    finally:
        await server.stop(grace_s=10)


async def _wrk(generator: Path, port: int, script: Path, seconds: int) -> tuple[int, float]:
    """Requests answered, and how many in a second."""
    command = [
        str(generator),
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}",
    ]
    wrk = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await wrk.communicate()
    text = output.decode()
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    answered = re.search(r"(\d+) requests in", text)
    if rate is None or answered is None or "Non-2xx" in text:
        raise RuntimeError(f"wrk failed:\n{text}")
    return int(answered.group(1)), float(rate.group(1))


async def listening(server: OwnedProcess, port: int, within_s: float = 30) -> None:
    """Wait until it answers."""
    async with aiohttp.ClientSession() as http:
        for _ in range(round(within_s / 0.1)):
            try:
                async with http.post(f"http://127.0.0.1:{port}/webhooks", data=b"{}"):
                    return
            except aiohttp.ClientError:
                if server.returncode is not None:
                    raise RuntimeError(server.log_tail(30)) from None
                await asyncio.sleep(0.1)
    raise TimeoutError(f"nothing listens on {port}\n{server.log_tail(30)}")
