"""A siege: ingress on a real Kafka, good webhooks at a steady rate, and the attacks one after the other, at last all at once, twice."""

import asyncio
import os
import statistics
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from deploy.local.paths import REPOSITORY
from deploy.local.ports import free_ports
from deploy.local.process import OwnedProcess
from deploy.local.service import ServiceProcess
from deploy.local.stack import LocalStack
from shared import kafka
from shared.settings import ServiceSettings
from tests.outage.meta import signature, webhook
from tests.siege.attacks import NAMES, SECRET

P50_MS, P99_MS = 250, 1000
"""What Meta wants of a receiver: half of the answers within 250 ms, 99 % within a second (Meta, webhooks, delivery)."""
GROWTH_MB = 128
"""What may stay of an attack: the allocator's and Python's own reserves. All of them once more must find them there."""
PEAK_MB = 256 + 128
"""Above the memory in peace: the bodies that may be held at once, and what they are read with."""
RATE = 50.0
_CONNECTIONS = 32
"""Of the good webhooks: enough for twenty times the rate at 30 ms each, so that none waits for another's answer."""
_FRESH_EVERY = 10
"""Each tenth good webhook comes over a connection of its own."""
_CALM_S = 10.0
_LOOK_S = 0.1
_TIMEOUT_S = 10.0


@dataclass
class Phase:
    """One attack, and the good traffic meanwhile."""

    name: str
    answers: Counter[str] = field(default_factory=Counter)
    times_ms: list[float] = field(default_factory=list)
    peace_mb: float = 0.0
    """The memory before the first attack."""
    before_mb: float = 0.0
    peak_mb: float = 0.0
    after_mb: float = 0.0
    attack_code: int = 0

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.times_ms) if self.times_ms else 0.0

    @property
    def p99_ms(self) -> float:
        return sorted(self.times_ms)[int(len(self.times_ms) * 0.99)] if self.times_ms else 0.0

    @property
    def held(self) -> bool:
        """Whether all good webhooks were answered with 200 and in time, and the memory came back."""
        return (
            set(self.answers) == {"200"}
            and self.p50_ms <= P50_MS
            and self.p99_ms <= P99_MS
            and self.peak_mb <= self.peace_mb + PEAK_MB
            and self.after_mb <= self.peace_mb + GROWTH_MB
            and self.attack_code == 0
        )

    def as_json(self) -> dict[str, object]:
        """As in the report."""
        return {
            "name": self.name,
            "answers": dict(self.answers),
            "p50_ms": round(self.p50_ms, 1),
            "p99_ms": round(self.p99_ms, 1),
            "slowest_ms": round(max(self.times_ms, default=0.0), 1),
            "rss_before_mb": round(self.before_mb, 1),
            "rss_peak_mb": round(self.peak_mb, 1),
            "rss_after_mb": round(self.after_mb, 1),
            "held": self.held,
        }


@dataclass
class Besieged:
    """The running ingress."""

    port: int
    process: ServiceProcess
    log: Path
    metrics_url: str = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def rss_mb(self) -> float:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


@asynccontextmanager
async def besieged(
    stack: LocalStack, *, shared_port: int | None = None, instance: str = "ingress"
) -> AsyncIterator[Besieged]:
    """Ingress with the settings of production, on `stack`; with `shared_port`, one of several processes of a host."""
    prefix = f"s{uuid.uuid4().hex[:8]}."
    settings = ServiceSettings(
        kafka_bootstrap=stack.endpoints.kafka_bootstrap, topic_prefix=prefix, partitions=4, replication=1
    )
    await kafka.create_topics(settings)
    port, probes = free_ports(2)
    env = {
        "WA_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "WA_REDIS_URL": stack.endpoints.redis_url,
        "WA_TOPIC_PREFIX": prefix,
        "WA_PARTITIONS": "4",
        "WA_REPLICATION": "1",
        "WA_HTTP_PORT": str(shared_port or port),
        "WA_HTTP_REUSE_PORT": str(shared_port is not None),
        "WA_METRICS_PORT": str(probes),
        "WA_APP_SECRET": SECRET,
        "WA_VERIFY_TOKEN": "token",
    }
    logs = stack.directory / "logs"
    ingress = ServiceProcess("ingress", env, logs, instance=instance)
    try:
        await ingress.start(f"http://127.0.0.1:{probes}/ready", timeout_s=60)
        url = f"http://127.0.0.1:{probes}/metrics"
        yield Besieged(shared_port or port, ingress, logs / f"{instance}.log", url)
    finally:
        await ingress.stop()


async def siege(
    target: Besieged, names: Sequence[str], seconds: float, wrong_signatures: int, seed: int
) -> list[Phase]:
    """Each attack alone, then all together, twice; before them a phase without any."""
    await _phase(target, "warm-up", [], min(seconds, 3.0), target.rss_mb, wrong_signatures, seed)
    peace_mb = target.rss_mb
    attacks: dict[str, list[str]] = {
        "peace": [],
        **{name: [name] for name in names},
        "all at once": list(names),
        "and again": list(names),
    }
    return [
        await _phase(target, name, each, seconds, peace_mb, wrong_signatures, seed)
        for name, each in attacks.items()
    ]


async def _phase(
    target: Besieged,
    name: str,
    attacks: Sequence[str],
    seconds: float,
    peace_mb: float,
    wrong_signatures: int,
    seed: int,
) -> Phase:
    phase = Phase(name, peace_mb=peace_mb, before_mb=target.rss_mb)
    processes = [
        OwnedProcess(
            [
                sys.executable,
                "-m",
                "tests.siege.attacks",
                attack,
                *map(str, (target.port, seconds, wrong_signatures, seed)),
            ],
            log_path=target.log.parent / f"attack-{attack}.log",
            cwd=REPOSITORY,
        )
        for attack in attacks
    ]
    for process in processes:
        process.spawn()
    fighting = asyncio.create_task(_over(processes, seconds))
    await asyncio.gather(_good(target.port, phase, fighting, seed), _watch(target, phase, fighting))
    phase.attack_code = max((abs(process.returncode or 0) for process in processes), default=0)
    deadline = time.monotonic() + _CALM_S
    phase.after_mb = target.rss_mb
    while phase.after_mb > peace_mb + GROWTH_MB and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_S)
        phase.after_mb = target.rss_mb
    return phase


async def _over(processes: Sequence[OwnedProcess], seconds: float) -> None:
    """Until the attackers have ended, at least so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end or any(process.running for process in processes):
        await asyncio.sleep(_LOOK_S)


async def _watch(target: Besieged, phase: Phase, fighting: asyncio.Task[None]) -> None:
    while not fighting.done():
        phase.peak_mb = max(phase.peak_mb, target.rss_mb)
        await asyncio.sleep(_LOOK_S)


async def _good(port: int, phase: Phase, fighting: asyncio.Task[None], seed: int) -> None:
    """A webhook each fiftieth of a second, however long the last one takes."""
    url, posts, nth, began = f"http://127.0.0.1:{port}/webhooks", set(), 0, time.monotonic()
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as kept:
        while not fighting.done():
            nth += 1
            due = began + nth / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            name = f"{phase.name}.{seed}.{nth}"
            post = asyncio.create_task(
                _post(None if nth % _FRESH_EVERY == 0 else kept, url, name, phase, due)
            )
            posts.add(post)
            post.add_done_callback(posts.discard)
        await asyncio.gather(*posts)


async def _post(http: aiohttp.ClientSession | None, url: str, name: str, phase: Phase, due: float) -> None:
    message: dict[str, object] = {
        "id": f"wamid.{name}", "from": "4915112345678", "timestamp": "1764158400", "type": "text", "text": {"body": "hi"},
    }  # fmt: skip
    body = webhook([message])
    headers = {"X-Hub-Signature-256": signature(SECRET, body)}
    fresh = http is None
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) if http is None else http
    try:
        async with session.post(url, data=body, headers=headers) as answer:
            phase.answers[str(answer.status)] += 1
    except (aiohttp.ClientError, TimeoutError) as error:
        phase.answers[type(error).__name__] += 1
    finally:
        if fresh:
            await session.close()
    phase.times_ms.append((time.monotonic() - due) * 1000)


ALL = tuple(NAMES)
