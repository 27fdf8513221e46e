"""The ledger and the tallies as processes, kept alive as an orchestrator does, and what kills them."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import monotonic
from typing import Literal, Protocol

import aiohttp
from redis.asyncio import Redis

from deploy.local.ports import free_ports
from deploy.local.service import ServiceProcess
from deploy.local.stack import LocalStack
from services.billing.settings import TalliesSettings
from services.billing.tallies.faust_app import app_id
from services.billing.tallies.offsets import GroupOffsets
from shared import kafka
from shared.clock import FileClock
from shared.topics import BILLING_CHARGES, SEND_EVENTS
from tests.billing_month.rawlog import RawLog

Name = Literal["ledger", "tallies"]
Fault = Literal["ledger", "tallies", "redis killed", "redis emptied"]

LOOK_S = 0.1
STILL_S = 400.0
"""Without progress for so long, something is wrong."""
SESSION_S = 6.0
PARTITIONS = 8


class Watching(Protocol):
    """Who looks on."""

    def doing(self, what: str) -> None:
        """Something begins."""

    def moved(self, done: int, total: int) -> None:
        """So much of it is done."""


class Crew:
    """The two billing processes on a stack of their own.

    Attributes:
        ended: how often each ended by itself and was started again.
        killed: faults so far.
        env: settings that all processes share.
    """

    def __init__(self, stack: LocalStack, config: Path, raw: RawLog, watching: Watching) -> None:
        endpoints = stack.endpoints
        self.settings = TalliesSettings(
            kafka_bootstrap=endpoints.kafka_bootstrap,
            redis_url=endpoints.redis_url,
            topic_prefix="month.",
            redis_namespace="month",
            partitions=PARTITIONS,
            replication=1,
            session_timeout_s=SESSION_S,
        )
        self.ended: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()
        self._stack = stack
        self._raw = raw
        self._watching = watching
        self._clock = FileClock(stack.directory / "clock", datetime.fromtimestamp(raw.time_at(0) / 1000, UTC))
        metrics, tallies_metrics, queries = free_ports(3)
        self.url = f"http://127.0.0.1:{queries}"
        self._ready = f"http://127.0.0.1:{tallies_metrics}/ready"
        self.env = {
            "WA_KAFKA_BOOTSTRAP": endpoints.kafka_bootstrap,
            "WA_REDIS_URL": endpoints.redis_url,
            "WA_TOPIC_PREFIX": self.settings.topic_prefix,
            "WA_REDIS_NAMESPACE": self.settings.redis_namespace,
            "WA_PARTITIONS": str(PARTITIONS),
            "WA_REPLICATION": "1",
            "WA_SESSION_TIMEOUT_S": str(SESSION_S),
            "WA_CONFIG_DIR": str(config),
            "WA_CLOCK_FILE": str(stack.directory / "clock"),
            "WA_LOG_LEVEL": "warning",
        }
        faust = {"WA_TALLIES_PORT": str(queries), "APP_DATADIR": str(stack.directory / "faust")}
        self._processes: dict[Name, ServiceProcess] = {
            "ledger": ServiceProcess(
                "billing", self.env | {"WA_METRICS_PORT": str(metrics)}, stack.directory
            ),
            "tallies": ServiceProcess(
                "billing.tallies",
                self.env | faust | {"WA_METRICS_PORT": str(tallies_metrics)},
                stack.directory,
            ),
        }
        self._wanted: set[Name] = set()
        group = f"{self.settings.topic_prefix}ledger"
        self._offsets: dict[Name, GroupOffsets] = {
            "ledger": GroupOffsets(
                self.settings, group=group, topic=kafka.name_of(SEND_EVENTS, self.settings)
            ),
            "tallies": GroupOffsets(
                self.settings,
                group=app_id(self.settings),
                topic=kafka.name_of(BILLING_CHARGES, self.settings),
            ),
        }
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Crew":
        for offsets in self._offsets.values():
            await offsets.start()
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._wanted.clear()
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        for process in self._processes.values():
            await process.kill()
        for offsets in self._offsets.values():
            await offsets.stop()
        self._clock.close()

    async def start(self, name: Name) -> None:
        """Start one, to be kept alive from now on."""
        self._wanted.add(name)
        await self._processes[name].start()

    async def stop(self, name: Name) -> None:
        """SIGTERM one, for good."""
        self._wanted.discard(name)
        await self._processes[name].stop()

    async def kill(self, name: Name) -> None:
        """SIGKILL one, for good."""
        self._wanted.discard(name)
        await self._processes[name].kill()

    async def ready(self) -> None:
        """Return when the tallies say that their rows are back; TimeoutError if that takes too long."""
        async with asyncio.timeout(STILL_S), aiohttp.ClientSession() as http:
            while True:
                with suppress(aiohttp.ClientError):
                    async with http.get(self._ready) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(LOOK_S)

    async def up_to_date(self, name: Name) -> float:
        """Wait until it has committed all that is there; the time (monotonic) of that.

        Raises:
            TimeoutError: it stands still; the text ends with its log.
        """
        moved, before = monotonic(), -1
        while True:
            done, total = await self.progress(name)
            if done >= total:
                return monotonic()
            if done != before:
                moved, before = monotonic(), done
                self._watching.moved(done, total)
            if monotonic() - moved > STILL_S:
                log = self._processes[name].log_tail()
                raise TimeoutError(f"{name} stands still at {done} of {total}:\n{log}")
            await asyncio.sleep(LOOK_S)

    async def progress(self, name: Name) -> tuple[int, int]:
        """How many records it has committed, and how many there are; the clock follows the ledger's slowest partition."""
        partitions = range(PARTITIONS)
        done = await self._offsets[name].committed(partitions)
        ends = await self._offsets[name].ends(partitions)
        total = sum(ends.values())
        if name == "ledger" and total:
            slowest = min(done[n] / ends[n] if ends[n] else 1.0 for n in partitions)
            at_s = self._raw.time_at(slowest * total / self._raw.events) / 1000
            if at_s > self._clock.time():
                self._clock.stand(datetime.fromtimestamp(at_s, UTC))
        return sum(done.values()), total

    async def suffer(self, faults: Iterator[tuple[float, Fault]]) -> None:
        """Let each fault happen when the ledger has done its share of the log."""
        for share, fault in faults:
            while (await self.progress("ledger"))[0] < share * self._raw.events:
                await asyncio.sleep(LOOK_S)
            self._watching.doing(f"{fault} at {share:.0%}")
            self.killed[fault] += 1
            if fault == "redis killed":
                await self._stack.redis.kill()
                await self._stack.redis.start()
            elif fault == "redis emptied":
                redis = Redis.from_url(self.settings.redis_url)
                await redis.flushall()
                await redis.aclose()
            else:
                await self._processes[fault].kill()
                await self._processes[fault].start()

    async def _keep(self) -> None:
        while True:
            for name in self._wanted:
                if self._processes[name].returncode not in (None, -9):
                    self.ended[name] += 1
                    await self._processes[name].start()
            await asyncio.sleep(LOOK_S)


def faults(seed: int, kills: int, *, redis: bool = True) -> list[tuple[float, Fault]]:
    """When what happens: each process is killed so often, the Redis server once, and once it is emptied."""
    random = Random(seed)
    found: list[tuple[float, Fault]] = [
        (random.uniform(0.02, 0.98), name) for name in ("ledger", "tallies") for _ in range(kills)
    ]
    if redis and kills:
        found += [(random.uniform(0.3, 0.5), "redis killed"), (random.uniform(0.6, 0.8), "redis emptied")]
    return sorted(found)
