"""One outage: ingress and router on a Kafka that goes away under load and comes back; what was sent, answered and told to the business."""

import asyncio
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
import msgspec

from deploy.local.ports import free_ports
from deploy.local.service import ServiceProcess
from deploy.local.stack import LocalStack
from shared import kafka
from shared.events import MessageReceived, decode_conversation_event
from shared.settings import ServiceSettings
from shared.topics import CONVERSATION_EVENTS, MESSAGES_RECEIVED
from tests.outage.meta import MetaLike, wamid
from tests.reading import read_all

SECRET = "outage-secret"
PARTITIONS = 4
Kind = Literal["stopped", "frozen"]
KINDS: tuple[Kind, ...] = ("stopped", "frozen")
_WARM_S, _AFTER_S = 1.0, 1.0
_WITHIN_S = 90.0
"""Longest wait after an outage until everything has arrived."""
_LOOK_S = 0.05


@dataclass
class Outage:
    """What one outage came to; times in seconds, None where it never came to that."""

    kind: Kind
    seconds: float
    sent: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0
    until_unready_s: float | None = None
    """From Kafka's end to the first time that /ready said no."""
    until_503_s: float | None = None
    until_200_s: float | None = None
    """From Kafka's return to the first 200 of a POST that came after it."""
    until_ready_s: float | None = None
    missing: int = 0
    doubled_on_the_topic: int = 0
    told: int = 0
    told_twice: int = 0

    @property
    def clean(self) -> bool:
        """Every message arrived and was told to the business once, and only 200 and 503 were answered."""
        return (
            self.missing == 0
            and self.told_twice == 0
            and self.told == self.sent > 0
            and set(self.answers) <= {"200", "503"}
        )


@dataclass
class Services:
    """The running ingress, and the router."""

    settings: ServiceSettings
    url: str
    ready_url: str
    router: ServiceProcess
    """Not started: it folds afterwards what is on the topic."""
    router_ready_url: str


@asynccontextmanager
async def services(stack: LocalStack, **env: str) -> AsyncIterator[Services]:
    """Ingress, and the router to come, on `stack`, with topics of their own."""
    name = f"o{uuid.uuid4().hex[:8]}"
    settings = ServiceSettings(
        kafka_bootstrap=stack.endpoints.kafka_bootstrap,
        redis_url=stack.endpoints.redis_url,
        redis_namespace=name,
        topic_prefix=f"{name}.",
        partitions=PARTITIONS,
        replication=1,
    )
    await kafka.create_topics(settings)
    port, probes, router_probes = free_ports(3)
    shared: Mapping[str, str] = {
        "WA_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "WA_REDIS_URL": settings.redis_url,
        "WA_REDIS_NAMESPACE": name,
        "WA_TOPIC_PREFIX": settings.topic_prefix,
        "WA_PARTITIONS": str(PARTITIONS),
        "WA_REPLICATION": "1",
    }
    own = {
        "WA_HTTP_PORT": str(port),
        "WA_METRICS_PORT": str(probes),
        "WA_APP_SECRET": SECRET,
        "WA_VERIFY_TOKEN": "token",
    }
    logs = stack.directory / "logs"
    ingress = ServiceProcess("ingress", {**shared, **own, **env}, logs, instance=f"{name}-ingress")
    router = ServiceProcess(
        "router", {**shared, "WA_METRICS_PORT": str(router_probes)}, logs, instance=f"{name}-router"
    )
    ready_url, router_ready_url = (f"http://127.0.0.1:{each}/ready" for each in (probes, router_probes))
    try:
        await ingress.start(ready_url, timeout_s=60)
        url = f"http://127.0.0.1:{port}/webhooks"
        yield Services(settings, url, ready_url, router, router_ready_url)
    finally:
        await ingress.stop()
        await router.stop()


async def outage(
    stack: LocalStack, running: Services, kind: Kind, seconds: float, rate: float, seed: int
) -> Outage:
    """Take Kafka away for so long under a steady load, give it back, wait until all has arrived."""
    found = Outage(kind, seconds)
    meta = MetaLike(kind, running.url, SECRET, rate, seed)
    sending = asyncio.create_task(meta.run())
    watch = _Readiness(running.ready_url)
    watching = asyncio.create_task(watch.run())
    try:
        await asyncio.sleep(_WARM_S)
        gone = time.monotonic()
        await _take_away(stack, kind)
        await asyncio.sleep(max(0.0, gone + seconds - time.monotonic()))
        await _give_back(stack, kind)
        back = time.monotonic()
        await asyncio.sleep(_AFTER_S)
        meta.making = False
        async with asyncio.timeout(_WITHIN_S):
            await sending
        found.sent = meta.made
        found.until_unready_s = watch.first(gone, False)
        found.until_ready_s = watch.first(back, True)
    finally:
        for task in (sending, watching):
            task.cancel()
        await asyncio.gather(sending, watching, return_exceptions=True)
    found.answers = dict(sorted(meta.answers.by_status.items()))
    found.slowest_s = max(took for _, _, took in meta.answers.times)
    found.until_503_s = meta.answers.first(gone, "503")
    found.until_200_s = meta.answers.first(back, "200")
    return found


async def _take_away(stack: LocalStack, kind: Kind) -> None:
    if kind == "stopped":
        await stack.kafka.stop()
    else:
        os.kill(stack.kafka.pid, signal.SIGSTOP)


async def _give_back(stack: LocalStack, kind: Kind) -> None:
    if kind == "stopped":
        await stack.kafka.start()
    else:
        os.kill(stack.kafka.pid, signal.SIGCONT)


async def tell(running: Services, outages: list[Outage]) -> None:
    """Count what is on the topic, and what the router tells the business of it."""
    settings = running.settings
    arrived = Counter(
        event.wamid
        for row in await read_all(settings, CONVERSATION_EVENTS)
        if isinstance(event := decode_conversation_event(row.value), MessageReceived)
    )
    await running.router.start(running.router_ready_url, timeout_s=60)
    deadline = time.monotonic() + _WITHIN_S
    told: Counter[str] = Counter()
    while len(told) < len(arrived) and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_S)
        told = Counter(_wamid(row.value) for row in await read_all(settings, MESSAGES_RECEIVED))
    for one in outages:
        sent = {wamid(one.kind, which) for which in range(one.sent)}
        one.missing = len(sent - arrived.keys())
        one.doubled_on_the_topic = sum(arrived[each] - 1 for each in sent & arrived.keys())
        one.told = len(sent & told.keys())
        one.told_twice = sum(told[each] - 1 for each in sent & told.keys())


def _wamid(value: bytes) -> str:
    found: str = msgspec.json.decode(value)["message"]["id"]
    return found


class _Readiness:
    """What /ready said, and when."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._said: list[tuple[float, bool]] = []

    async def run(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as http:
            while True:
                try:
                    async with http.get(self._url) as answer:
                        ready = answer.status == 200
                except (aiohttp.ClientError, TimeoutError):
                    ready = False
                self._said.append((time.monotonic(), ready))
                await asyncio.sleep(_LOOK_S)

    def first(self, after_s: float, ready: bool) -> float | None:
        """Seconds from `after_s` until it first said so."""
        return min((at - after_s for at, said in self._said if at >= after_s and said is ready), default=None)
