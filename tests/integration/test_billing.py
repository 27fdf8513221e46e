"""Billing on a real Kafka and Redis: the tallies stay exact over kills, the ledger through its processor."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

import aiohttp
import msgspec
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis

from deploy.local.paths import REPOSITORY
from deploy.local.ports import free_ports
from deploy.local.stack import LocalStack
from services.billing.forgetting import Forgetting
from services.billing.ledger import FORGET
from services.billing.settings import TalliesSettings
from services.billing.tallies.answers import (
    AccountMonths,
    DaysAnswer,
    HoursAnswer,
    KnownAccounts,
    MonthAnswer,
)
from services.billing.tallies.faust_app import app_id
from services.billing.tallies.offsets import GroupOffsets
from services.billing.tally import Spend, Tally, Totals, month_tally, spend_of_month
from services.billing.tally_rows import days_key, month_key
from shared import kafka
from shared.clock import ManualClock
from shared.events import LedgerEntry, decode_ledger_entry, encode
from shared.ids import conversation_key
from shared.lifecycle import Service
from shared.pricing import Market, PriceBook
from shared.stream.publisher import partition_of
from shared.stream.source import SOURCE_HEADER, source_header
from shared.stream.store import Keys
from shared.topics import BILLING_CHARGES, SEND_EVENTS, Topic
from tests.conftest import Prefix
from tests.losing import lose
from tests.unit.billing.events import charge, event, pmp

T = TypeVar("T")
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
        tallies_hours_days=36_500,  # the entries' days will be long ago
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
        metrics, queries = free_ports(2)
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
            "APP_DATADIR": str(Path(self._output.name).parent / "faust"),
            "WA_TALLIES_PORT": str(queries),
            "WA_TALLIES_GENERATION": str(settings.tallies_generation),
            "WA_TALLIES_HOURS_DAYS": str(settings.tallies_hours_days),
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
    """The nth entry of a small, uneven business: three accounts, three categories, some free, over three days and half the hours."""
    free = number % 7 == 0
    day, hour = 19 + number % 3, number % 12
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
        delivered_at=f"2026-11-{day}T{hour:02}:15:00.000Z",
        day=f"2026-11-{day if hour else day - 1}",
        conversations=int(number % 4 == 0),
    )


async def publish(producer: AIOKafkaProducer, settings: TalliesSettings, numbers: range) -> None:
    """Append entries, each at the partition of its key; the nth comes of the nth send event."""
    topic = kafka.name_of(BILLING_CHARGES, settings)
    sent = []
    for number in numbers:
        one = entry(number)
        key = f"{one.phone_number_id}:{one.user_ref}".encode()
        place = partition_of(key, PARTITIONS)
        headers = [(SOURCE_HEADER, source_header(place, number, 0))]
        sent.append(await producer.send(topic, encode(one), key=key, partition=place, headers=headers))
    await asyncio.gather(*sent)


Sums = tuple[int, int, int, int, int]
"""Free, paid, conversations free, conversations paid, micros."""


def expected(count: int) -> dict[tuple[str, ...], Sums]:
    """The sums of each line of the month, of each day and of each hour, counted naively."""
    lines: dict[tuple[str, ...], Sums] = {}
    for number in range(count):
        one = entry(number)
        opened = one.conversations
        own = (one.free, not one.free, opened * one.free, opened * (not one.free), one.amount_micros)
        for line in (
            (one.waba_id, one.phone_number_id, one.unit, one.category, one.market, one.type),
            (one.waba_id, one.day, "None", one.category),
            (one.waba_id, one.day, f"{one.delivered_at[:13]}:00:00Z", one.category),
        ):
            before = lines.get(line, (0, 0, 0, 0, 0))
            lines[line] = tuple(a + b for a, b in zip(before, own, strict=True))  # type: ignore[assignment]
    return lines


def lines_of(answers: list[tuple[Tally, Spend]]) -> dict[tuple[str, ...], Sums]:
    lines: dict[tuple[str, ...], Sums] = {}
    for tally, spend in answers:
        for row in tally.rows:
            line = (row.phone_number_id, row.unit, row.category, row.market, row.type)
            lines[tally.waba_id, *line] = sums(row)
        for of in (*spend.days, *spend.hours):
            lines[spend.waba_id, of.day, str(of.hour), of.category] = sums(of)
    return lines


def sums(of: Totals) -> Sums:
    return of.free, of.paid, of.conversations_free, of.conversations_paid, of.micros.get("USD", 0)


async def tallied(redis: Redis, settings: TalliesSettings) -> list[tuple[Tally, Spend]]:
    namespace = settings.redis_namespace
    return [
        (
            await month_tally(redis, namespace, f"W{n}", MONTH),
            await spend_of_month(redis, namespace, f"W{n}", MONTH),
        )
        for n in range(3)
    ]


def total(answers: list[tuple[Tally, Spend]]) -> int:
    """How many entries are counted in rows of both kinds."""
    return min(
        sum(line.free + line.paid for tally, _ in answers for line in tally.rows),
        sum(line.free + line.paid for _, spend in answers for line in spend.hours),
    )


async def until_counted(
    redis: Redis, settings: TalliesSettings, reached: Callable[[int], bool], within_s: float
) -> int:
    deadline = time.monotonic() + within_s
    while not reached(count := total(await tallied(redis, settings))):
        assert time.monotonic() < deadline, f"after {within_s} s {count} are counted"
        await asyncio.sleep(0.02)
    return count


async def until_committed(settings: TalliesSettings, within_s: float = 30) -> None:
    """Wait until the tallies have taken every entry of the ledger."""
    topic = kafka.name_of(BILLING_CHARGES, settings)
    offsets = GroupOffsets(settings, group=app_id(settings), topic=topic)
    await offsets.start()
    try:
        async with asyncio.timeout(within_s):
            while await offsets.committed(range(PARTITIONS)) != await offsets.ends(range(PARTITIONS)):
                await asyncio.sleep(0.1)
    finally:
        await offsets.stop()


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
        record_property("ready_after_s", [round(wait, 1) for wait in waits])
        assert tallies.terminate() == 0


async def test_entries_that_the_ledger_published_twice_are_tallied_once(
    settings: TalliesSettings, redis: Redis, tmp_path: Path
) -> None:
    async with (
        process("services.billing.tallies", settings, tmp_path / "log") as tallies,
        producer(settings) as to_ledger,
    ):
        tallies.start()
        await tallies.ready()
        await publish(to_ledger, settings, range(200))
        await publish(to_ledger, settings, range(100, 200))
        await publish(to_ledger, settings, range(150, 300))
        await until_counted(redis, settings, lambda n: n >= 300, 30)
        await until_committed(settings)
        assert lines_of(await tallied(redis, settings)) == expected(300)


async def test_a_row_that_redis_lost_comes_back_with_the_next_start(
    settings: TalliesSettings, redis: Redis, tmp_path: Path
) -> None:
    async with (
        process("services.billing.tallies", settings, tmp_path / "log") as tallies,
        producer(settings) as to_ledger,
    ):
        tallies.start()
        await tallies.ready()
        await publish(to_ledger, settings, range(200))
        await until_counted(redis, settings, lambda n: n >= 200, 30)
        tallies.kill()
        await redis.delete(
            *(
                key(settings.redis_namespace, settings.tallies_generation, f"W{n}", MONTH)
                for n in range(3)
                for key in (month_key, days_key)
            )
        )
        tallies.start()
        await tallies.ready()
        assert lines_of(await tallied(redis, settings)) == expected(200)


async def test_what_is_counted_is_told_over_http_with_the_word_that_it_is_all(
    settings: TalliesSettings, redis: Redis, tmp_path: Path
) -> None:
    async with (
        process("services.billing.tallies", settings, tmp_path / "log") as tallies,
        producer(settings) as to_ledger,
        aiohttp.ClientSession(raise_for_status=True) as client,
    ):

        async def told(path: str, kind: type[T]) -> T:
            async with client.get(f"{tallies.url}/v1/tallies{path}") as answer:
                return msgspec.json.decode(await answer.read(), type=kind)

        await publish(to_ledger, settings, range(200))
        tallies.start()
        await tallies.ready()
        await until_counted(redis, settings, lambda n: n >= 200, 30)
        await until_committed(settings)
        (tally, spend), *_ = await tallied(redis, settings)
        month = await told(f"/W0/{MONTH}", MonthAnswer)
        assert (month.rows, month.totals) == (tally.rows, tally.totals)
        assert month.as_of.waiting == 0
        days = await told(f"/W0/{MONTH}/days", DaysAnswer)
        assert days.days == spend.days
        day = spend.hours[0].day
        hours = await told(f"/W0/{MONTH}/hours?day={day}", HoursAnswer)
        assert hours.hours == [line for line in spend.hours if line.day == day]
        known = await told("", KnownAccounts)
        assert known.accounts == [AccountMonths(f"W{n}", [MONTH]) for n in range(3)]


async def test_an_emptied_redis_gets_the_rows_back_though_no_entry_comes(
    settings: TalliesSettings, redis: Redis, tmp_path: Path
) -> None:
    async with (
        process("services.billing.tallies", settings, tmp_path / "log") as tallies,
        producer(settings) as to_ledger,
    ):
        tallies.start()
        await tallies.ready()
        await publish(to_ledger, settings, range(200))
        await until_counted(redis, settings, lambda n: n >= 200, 30)
        await lose(redis, f"{settings.redis_namespace}:tallies:*")
        await until_counted(redis, settings, lambda n: n >= 200, 30)
        assert lines_of(await tallied(redis, settings)) == expected(200)


async def test_an_entry_nobody_can_read_is_parked_and_the_rest_is_tallied(
    settings: TalliesSettings, redis: Redis, tmp_path: Path
) -> None:
    async with (
        process("services.billing.tallies", settings, tmp_path / "log") as tallies,
        producer(settings) as to_ledger,
    ):
        await to_ledger.send_and_wait(
            kafka.name_of(BILLING_CHARGES, settings), b"{", key=b"broken", partition=0
        )
        await publish(to_ledger, settings, range(50))
        tallies.start()
        await tallies.ready()
        await until_counted(redis, settings, lambda n: n >= 50, 30)
    (parked,) = await read(settings, BILLING_CHARGES.dead_letters, 1)
    assert parked.value == b"{"
    assert dict(parked.headers)["dlq-source"] == f"{kafka.name_of(BILLING_CHARGES, settings)}:0:0".encode()


# --- the ledger


async def read(settings: TalliesSettings, topic: Topic, least: int, within_s: float = 60) -> list[Any]:
    """The records of a topic, once it has `least` of them with keys of their own, in order per partition."""
    consumer = kafka.reader(settings)
    await consumer.start()
    places = [TopicPartition(kafka.name_of(topic, settings), n) for n in range(PARTITIONS)]
    records: list[Any] = []
    try:
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        deadline = time.monotonic() + within_s
        while len({record.value for record in records}) < least:
            assert time.monotonic() < deadline, f"{len(records)} records of {least} after {within_s} s"
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
        for batch in (await consumer.getmany(timeout_ms=1000)).values():
            records += batch
        return records
    finally:
        await consumer.stop()


async def send(producer: AIOKafkaProducer, settings: TalliesSettings, numbers: Iterable[int]) -> None:
    """Deliveries of 100 conversations, and a word of Meta's on every third, some of them twice."""
    topic = kafka.name_of(SEND_EVENTS, settings)
    sent = []
    for number in numbers:
        user = f"49151{number % 100:08d}"
        one = event("delivered", wamid=f"wamid.{number}", predicted=charge(), user=user)
        events = [one]
        if number % 3 == 0:
            word = pmp("marketing" if number % 2 else "utility", billable=number % 4 != 0)
            events.append(event("priced", wamid=f"wamid.{number}", seq=4, pricing=word, user=user))
        if number % 10 == 0:
            events += events
        key = conversation_key("N1", user).encode()
        place = partition_of(key, PARTITIONS)
        sent += [await producer.send(topic, encode(e), key=key, partition=place) for e in events]
    await asyncio.gather(*sent)


def balances(records: Iterable[Any]) -> dict[str, tuple[int, int]]:
    """Count and money per message; an entry published twice (same bytes) is one."""
    found: dict[str, tuple[int, int]] = {}
    for entry in {record.value: decode_ledger_entry(record.value) for record in records}.values():
        counts, micros = found.get(entry.wamid, (0, 0))
        found[entry.wamid] = (counts + entry.counts, micros + entry.amount_micros)
    return found


def balance(number: int, marketing: int) -> tuple[int, int]:
    if number % 3:
        return 1, 55_000
    if number % 4 == 0:
        return 1, 0
    return 1, marketing if number % 2 else 55_000


async def test_the_ledger_has_each_charge_once_over_a_kill_and_a_lost_redis(
    settings: TalliesSettings, redis: Redis, tmp_path: Path
) -> None:
    half, count = 600, 1200
    marketing = (
        PriceBook.load(REPOSITORY / "config")
        .cards.by_id["usd_2026-10-01"]
        .micros[Market("Germany"), "marketing"]
    )
    truth = {f"wamid.{number}": balance(number, marketing) for number in range(count)}
    heard_of = range(0, count, 3)
    corrected = [n for n in heard_of if n % 4 == 0 or n % 2]
    confirmed = len(heard_of) - len(corrected)
    entries = count + 2 * len(corrected) + confirmed
    async with (
        process("services.billing", settings, tmp_path / "log") as ledger,
        producer(settings) as sending,
    ):
        ledger.start()
        await ledger.ready()
        await send(sending, settings, range(half))
        await read(settings, BILLING_CHARGES, half // 4)
        ledger.kill()
        await send(sending, settings, range(half, count))
        ledger.start()
        await ledger.ready()
        records = await read(settings, BILLING_CHARGES, entries)
        assert balances(records) == truth
        assert len({decode_ledger_entry(record.value).event_id for record in records}) == entries
        for record in records:
            assert b":49151" not in record.key
            assert b"49151" not in record.value
        ledger.kill()
        for key in await redis.keys(f"{{{settings.redis_namespace}:ledger:*"):
            await redis.delete(key)
        await send(sending, settings, range(0, count, 10))
        await send(sending, settings, [count])
        ledger.start()
        await ledger.ready()
        records = await read(settings, BILLING_CHARGES, entries + 1)
        assert balances(records) == truth | {f"wamid.{count}": balance(count, marketing)}


async def test_messages_whose_time_is_over_are_forgotten_by_their_owner_only(
    settings: TalliesSettings, redis: Redis
) -> None:
    clock = ManualClock(datetime(2026, 11, 20, tzinfo=UTC))
    now_ms = int(clock.time() * 1000)
    keys = Keys(settings.redis_namespace, "ledger", 1)
    await redis.hset(keys.meta, "epoch", 7)
    await redis.hset(keys.state, mapping={"old": b"a", "young": b"b"})
    await redis.zadd(keys.set(FORGET), {"old": now_ms - 1, "young": now_ms + 60_000})
    service = Service("billing", settings)
    stranger = Forgetting(service, redis, clock, settings.redis_namespace, "ledger", {1: 6})
    owner = Forgetting(service, redis, clock, settings.redis_namespace, "ledger", {1: 7})
    assert await stranger.round() == 0
    assert await owner.round() == 1
    assert await redis.hkeys(keys.state) == [b"young"]
    clock.advance(60)
    assert await owner.round() == 1
    assert await redis.zcard(keys.set(FORGET)) == 0
