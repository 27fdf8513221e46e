"""Several processes of ingress on one port of one machine."""

import re
from contextlib import AsyncExitStack

import aiohttp

from deploy.local.ports import free_ports
from deploy.local.stack import LocalStack
from tests.outage.meta import signature, webhook
from tests.siege.attacks import SECRET
from tests.siege.run import Besieged, besieged

BODY = webhook(
    [{"id": "wamid.1", "from": "4915112345678", "timestamp": "1", "type": "text", "text": {"body": "hi"}}]
)
HEADERS = {"X-Hub-Signature-256": signature(SECRET, BODY), "Connection": "close"}


async def post(port: int) -> int:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"http://127.0.0.1:{port}/webhooks", data=BODY, headers=HEADERS) as answer,
    ):
        return answer.status


async def taken(process: Besieged) -> float:
    """Webhooks that this process answered with 200."""
    async with aiohttp.ClientSession() as http, http.get(process.metrics_url) as page:
        text = await page.text()
    (found,) = re.findall(
        r'^wa_webhook_requests_total\{app="default",verdict="ok"\} (\S+)$', text, re.MULTILINE
    )
    return float(found)


async def test_processes_share_a_port_and_when_one_dies_the_others_go_on(stack: LocalStack) -> None:
    (port,) = free_ports(1)
    async with AsyncExitStack() as running:
        processes = [
            await running.enter_async_context(besieged(stack, shared_port=port, instance=f"ingress-{n}"))
            for n in range(2)
        ]
        assert [await post(port) for _ in range(60)] == [200] * 60
        shares = [await taken(process) for process in processes]
        assert sum(shares) == 60
        assert min(shares) > 0
        await processes[0].process.kill()
        assert [await post(port) for _ in range(20)] == [200] * 20
        assert await taken(processes[1]) == shares[1] + 20
