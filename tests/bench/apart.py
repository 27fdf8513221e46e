"""How soon webhooks are answered while intake takes in 50,000 requests, and while it stands still in the middle of them; beside the same with nothing to take in."""

import asyncio
import hmac
import json
import statistics
import uuid
from time import monotonic

import aiohttp

from deploy.local.services import APP_SECRET
from deploy.local.stack import LocalStack
from deploy.local.system import LocalSystem
from deploy.local.topics import create_topics
from shared.topics import SEND_REQUESTS
from tests.bench import bulk, load
from tests.chaos.business import settings_of
from tests.reading import length

REQUESTS = 50_000
WEBHOOKS = 1_000
PER_S = 100


async def measure(stack: LocalStack, core: int | None) -> dict[str, tuple[float, float]]:
    """(beside intake, alone), the 99th percentile in ms."""
    name = f"apart{uuid.uuid4().hex[:6]}"
    extra = {"WA_LOG_LEVEL": "warning", "WA_TOPIC_PREFIX": f"{name}.", "WA_REDIS_NAMESPACE": name}
    system = LocalSystem(
        stack, create_topics, extra=extra, names=("ingress", "ingress.intake"), own_stack=False
    )
    async with system:
        settings, intake = settings_of(system.settings), system.services["ingress.intake"]
        url = f"http://127.0.0.1:{system.ports.ingress}/webhooks"
        await _answered(url)
        alone = await _answered(url)
        requests = [bulk.request(f"r{nth}", 0, f"+49160{nth:08}", "promo") for nth in range(REQUESTS)]
        await bulk.append_all(settings, SEND_REQUESTS, requests)
        chewing = await _answered(url)
        intake.pause()
        stuck = await _answered(url)
        intake.resume()
        if await length(settings, SEND_REQUESTS) != REQUESTS:
            raise RuntimeError("not all requests were there to be taken in")
    return {
        f"webhooks: p99 while {REQUESTS:,} requests are taken in": (_p99(chewing), _p99(alone)),
        "webhooks: p99 while intake stands still": (_p99(stuck), _p99(alone)),
    }


async def _answered(url: str) -> list[float]:
    """Post webhooks at an even pace; how long each took to be answered, in ms."""
    async with aiohttp.ClientSession(raise_for_status=True) as http:

        async def post(nth: int) -> float:
            await asyncio.sleep(nth / PER_S)
            body = _webhook(nth)
            signature = "sha256=" + hmac.digest(APP_SECRET.encode(), body, "sha256").hex()
            began = monotonic()
            async with http.post(url, data=body, headers={"X-Hub-Signature-256": signature}):
                return 1000 * (monotonic() - began)

        return list(await asyncio.gather(*(post(nth) for nth in range(WEBHOOKS))))


def _webhook(nth: int) -> bytes:
    message = {
        "from": "4915112345678",
        "id": f"wamid.{uuid.uuid4().hex}",
        "timestamp": "1760000000",
        "type": "text",
        "text": {"body": "x"},
    }
    metadata = {"display_phone_number": "15550000000", "phone_number_id": load.number_id(0)}
    value = {"messaging_product": "whatsapp", "metadata": metadata, "messages": [message]}
    entry = {"id": load.WABA, "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def _p99(waits: list[float]) -> float:
    return statistics.quantiles(waits, n=100)[98]
