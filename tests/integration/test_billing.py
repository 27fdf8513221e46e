"""Billing on a real Kafka and Redis: the tallies stay exact over kills, the ledger through its processor."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from deploy.local.paths import REPOSITORY
from deploy.local.stack import LocalStack
from services.billing.settings import TalliesSettings
from services.billing.tally import Tally, month_tally
from shared import kafka
from shared.events import LedgerEntry, encode
from shared.stream.publisher import partition_of
from shared.topics import BILLING_CHARGES
from tests.conftest import Prefix

PARTITIONS = 4
MONTH = "2026-11"


def settings_of(stack: LocalStack, prefix: Prefix) -> TalliesSettings:
    return TalliesSettings(
        kafka_bootstrap=stack.endpoints.kafka_bootstrap,
        redis_url=stack.endpoints.redis_url,
        topic_prefix=prefix.topics,
        redis_namespace=prefix.redis,
        partitions=PARTITIONS,
        replication=1,
        session_timeout_s=6,
    )


class Process:
    """A billing process of the operating system."""

    def __init__(self, module: str, settings: TalliesSettings, output: IO[bytes]) -> None:
        self._module = module
        self._settings = settings
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        metrics, queries = free_port(), free_port()
        self.url = f"http://127.0.0.1:{queries}"
        self._ready = f"http://127.0.0.1:{metrics}/ready"
        self._metrics = f"http://127.0.0.1:{metrics}/metrics"
        settings = self._settings
        environment = os.environ | {
            "WA_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "WA_REDIS_URL": settings.redis_url,
            "WA_TOPIC_PREFIX": settings.topic_prefix,
            "WA_REDIS_NAMESPACE": settings.redis_namespace,
            "WA_PARTITIONS": str(settings.partitions),
            "WA_REPLICATION": "1",
            "WA_SESSION_TIMEOUT_S": str(settings.session_timeout_s),
            "WA_METRICS_PORT": str(metrics),
            "WA_TALLIES_PORT": str(queries),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            cwd=REPOSITORY,
            env=environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    async def ready(self, within_s: float = 60) -> float:
        """Wait until it says so; the seconds that took."""
        began = time.monotonic()
        async with asyncio.timeout(within_s), aiohttp.ClientSession() as client:
            while True:
                assert self._process is not None
                assert self._process.poll() is None, "the process has ended"
                try:
                    async with client.get(self._ready) as answer:
                        if answer.status == 200:
                            return time.monotonic() - began
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def process(module: str, settings: TalliesSettings, log: Path) -> AsyncIterator[Process]:
    with log.open("wb") as output:
        one = Process(module, settings, output)
        try:
            yield one
        finally:
            if one.running:
                one.kill()


@asynccontextmanager
async def producer(settings: TalliesSettings) -> AsyncIterator[AIOKafkaProducer]:
    one = kafka.producer(settings)
    await one.start()
    try:
        yield one
    finally:
        await one.stop()


def entry(number: int) -> LedgerEntry:
    """The nth entry of a small, uneven business: three accounts, five categories of price, some free."""
    free = number % 7 == 0
    return LedgerEntry(
        event_id=f"wamid.{number}:charge",
        entry="charge",
        at="2026-11-20T12:00:00.000Z",
        month=MONTH,
        waba_id=f"W{number % 3}",
        phone_number_id=f"N{number % 5}",
        user_ref=f"{number % 997:016x}",
        wamid=f"wamid.{number}",
        request_id=f"R{number}",
        conversation_id=None,
        unit="message",
        category=("marketing", "utility", "service")[number % 11 % 3],
        market=("Germany", "India", "Rest of Africa")[number % 13 % 3],
        regime="2026-10-01",
        rate_card="usd_2026-10-01",
        type="free_tier" if free else "regular",
        free=free,
        counts=1,
        amount_micros=0 if free else number,
        currency="USD",
        basis="meta",
        tags={},
    )


async def publish(producer: AIOKafkaProducer, settings: TalliesSettings, numbers: range) -> None:
    """Append entries, each at the partition of its key."""
    topic = kafka.name_of(BILLING_CHARGES, settings)
    sent = []
    for number in numbers:
        one = entry(number)
        key = f"{one.phone_number_id}:{one.user_ref}".encode()
        sent.append(await producer.send(topic, encode(one), key=key, partition=partition_of(key, PARTITIONS)))
    await asyncio.gather(*sent)


def expected(count: int) -> dict[tuple[str, ...], tuple[int, int, int]]:
    """Free, paid and micros per account, number, category, market and type, counted naively."""
    lines: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for number in range(count):
        one = entry(number)
        line = (one.waba_id, one.phone_number_id, one.category, one.market, one.type)
        free, paid, micros = lines.get(line, (0, 0, 0))
        lines[line] = (free + one.free, paid + (not one.free), micros + one.amount_micros)
    return lines


def lines_of(tallies: list[Tally]) -> dict[tuple[str, ...], tuple[int, int, int]]:
    return {
        (tally.waba_id, row.phone_number_id, row.category, row.market, row.type): (
            row.free,
            row.paid,
            row.micros.get("USD", 0),
        )
        for tally in tallies
        for row in tally.rows
    }


async def tallied(redis: Redis, settings: TalliesSettings) -> list[Tally]:
    return [await month_tally(redis, settings.redis_namespace, f"W{n}", MONTH) for n in range(3)]


def total(tallies: list[Tally]) -> int:
    return sum(totals.free + totals.paid for tally in tallies for totals in tally.totals.values())


async def until_counted(
    redis: Redis, settings: TalliesSettings, reached: Callable[[int], bool], within_s: float
) -> int:
    deadline = time.monotonic() + within_s
    while not reached(count := total(await tallied(redis, settings))):
        assert time.monotonic() < deadline, f"after {within_s} s {count} are counted"
        await asyncio.sleep(0.02)
    return count


@pytest.fixture
async def settings(stack: LocalStack, prefix: Prefix) -> TalliesSettings:
    """Settings of processes on topics of their own."""
    settings = settings_of(stack, prefix)
    await kafka.create_topics(settings)
    return settings


@pytest.fixture
async def redis(settings: TalliesSettings) -> AsyncIterator[Redis]:
    client = Redis.from_url(settings.redis_url)
    yield client
    await client.aclose()


@pytest.mark.timeout(300)
async def test_tallies_are_exact_over_three_kills(
    settings: TalliesSettings, redis: Redis, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    count, kills = 5000, 3
    async with (
        process("services.billing.tallies", settings, tmp_path / "log") as tallies,
        producer(settings) as to_ledger,
    ):
        tallies.start()
        waits = [await tallies.ready()]
        share = count // (kills + 1)
        for kill in range(kills):
            await publish(to_ledger, settings, range(kill * share, (kill + 1) * share))
            await until_counted(redis, settings, lambda n, kill=kill: n > kill * share + share // 4, 30)  # type: ignore[misc]
            tallies.kill()
            tallies.start()
            waits.append(await tallies.ready())
        await publish(to_ledger, settings, range(kills * share, count))
        await until_counted(redis, settings, lambda n: n >= count, 20)
        assert lines_of(await tallied(redis, settings)) == expected(count)
        print("ready after", [round(wait, 1) for wait in waits], "s")
        assert tallies.terminate() == 0
