"""Feeds a topic, runs workers as processes, and reads what came of it."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import cast

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from redis.asyncio import Redis

from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from shared import kafka
from shared.settings import ServiceSettings
from shared.stream.source import Source
from shared.stream.store import Keys
from shared.topics import CONVERSATION_EVENTS, SEND_COMMANDS, SEND_EVENTS, Topic
from tests.conftest import Prefix
from tests.forking import ForkedProcess
from tests.integration.stream.counting import Add, Total, Totalled
from tests.losing import lose
from tests.reading import Row, committed, length, read_all, standing_at_start

PARTITIONS = 4
REPOSITORY = Path(__file__).resolve().parents[3]


class Bench:
    """One test's topics, workers and readings."""

    def __init__(self, stack: LocalStack, prefix: Prefix, logs: Path) -> None:
        self.stack = stack
        self.logs = logs
        self.env = {
            "WA_KAFKA_BOOTSTRAP": stack.endpoints.kafka_bootstrap,
            "WA_REDIS_URL": stack.endpoints.redis_url,
            "WA_PARTITIONS": str(PARTITIONS),
            "WA_REPLICATION": "1",
            "WA_METRICS_PORT": "0",
            "WA_SESSION_TIMEOUT_S": "6",
            "WA_CLOCK_FILE": str(logs / "clock"),
            **prefix.env,
        }
        self.settings = ServiceSettings(
            kafka_bootstrap=stack.endpoints.kafka_bootstrap,
            redis_url=stack.endpoints.redis_url,
            partitions=PARTITIONS,
            replication=1,
            topic_prefix=prefix.topics,
            redis_namespace=prefix.redis,
            clock_file=logs / "clock",
        )
        self.redis = Redis.from_url(stack.endpoints.redis_url)
        self._workers: list[OwnedProcess] = []

    async def start(self) -> None:
        await kafka.create_topics(self.settings)

    async def stop(self) -> None:
        for worker in self._workers:
            if worker.returncode is None:
                await worker.kill()
        await self.redis.aclose()

    def worker(self, instance: str = "0", **env: str) -> OwnedProcess:
        """Start a worker process."""
        process = ForkedProcess(
            "tests.integration.stream.worker",
            log_path=self.logs / f"worker-{instance}-{len(self._workers)}.log",
            env={**os.environ, **self.env, "WA_INSTANCE": instance, **env},
        )
        process.spawn()
        self._workers.append(process)
        return process

    async def feed(self, events: Iterable[tuple[str, bytes]], topic: Topic = CONVERSATION_EVENTS) -> None:
        """Append (key, value) records, in order."""
        producer = kafka.producer(self.settings, linger_ms=5)
        await producer.start()
        try:
            sent = [
                await producer.send(kafka.name_of(topic, self.settings), value, key=key.encode())
                for key, value in events
            ]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    async def read(self, topic: Topic) -> list[Row]:
        """All records of a topic now."""
        return await read_all(self.settings, topic)

    async def states(self) -> dict[str, Total]:
        """The stored state of every key."""
        found: dict[str, Total] = {}
        for partition in range(PARTITIONS):
            keys = Keys(self.settings.redis_namespace, "router", partition)
            rows = cast(dict[bytes, bytes], await self.redis.hgetall(keys.state))
            found |= {key.decode(): msgspec.json.decode(value, type=Total) for key, value in rows.items()}
        return found

    async def offsets(self) -> list[int]:
        """What the store says is folded of each partition."""
        offsets = [
            await self.redis.hget(Keys(self.settings.redis_namespace, "router", p).meta, "offset")
            for p in range(PARTITIONS)
        ]
        return [int(offset or 0) for offset in offsets]

    async def folded(self) -> int:
        """Records of the source folded by now, by what the store says."""
        return sum(await self.offsets())

    async def published(self) -> int:
        """Records of the source published by now: the group's committed offsets."""
        return await committed(self.settings, "router")

    async def settled(self) -> None:
        """Wait until the group has committed the whole topic: what is to be seen was published for good.

        Only then may a test kill the worker and lose Redis too: between publication and commit that may decide anew (docs/architecture.md).
        """

        async def done() -> bool:
            return await self.published() >= await length(self.settings, CONVERSATION_EVENTS)

        await until(done, "everything folded and published", timeout_s=80, every_s=0.3)

    async def lose_redis(self) -> None:
        """Empty all that this test has in Redis."""
        await lose(self.redis, f"*{self.settings.redis_namespace}*")

    async def truncate(self, topic: Topic) -> None:
        """Delete all records of a topic up to now, as retention does."""
        admin = AIOKafkaAdminClient(**kafka.connection(self.settings))
        await admin.start()
        try:
            async with standing_at_start(self.settings, topic) as (_, ends):
                await admin.delete_records(
                    {place: RecordsToDelete(before_offset=end) for place, end in ends.items()}
                )
        finally:
            await admin.close()


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = 60, every_s: float = 0.05
) -> None:
    """Wait for a condition, at most so long."""
    deadline = monotonic() + timeout_s
    while not await condition():
        if monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        await asyncio.sleep(every_s)


def adds(count: int, keys: int = 100, claims: bool = True) -> list[tuple[str, Add]]:
    """A fixed load: every fourth event claims a place."""
    return [
        (f"k{i % keys}", Add(f"k{i % keys}/{i}", i % 17, claim=claims and i % 4 == 0)) for i in range(count)
    ]


def expected(load: Iterable[tuple[str, Add]]) -> tuple[dict[str, tuple[int, int]], set[str], set[str]]:
    """What an undisturbed run gives: (count, sum) by key, ids of the events, ids of the commands."""
    totals: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    ids, commands = set(), set()
    for key, add in load:
        count, total = totals[key]
        totals[key] = (count + 1, total + add.n)
        ids.add(add.id)
        if add.n % 5 == 0:
            commands.add(f"{add.id}:command")
    return dict(totals), ids, commands


async def assert_exactly_once(
    bench: Bench, load: list[tuple[str, Add]], places: int | None
) -> dict[str, int]:
    """Every effect came exactly once, whatever was repeated; returns how much was."""
    totals, ids, commands = expected(load)
    states = await bench.states()
    assert {key: (s.count, s.sum) for key, s in states.items()} == totals
    published = await bench.read(SEND_EVENTS)
    assert_repeats_are_identical(published)
    assert {h["ce_id"].decode() for _, _, _, h in published} == ids
    sent = await bench.read(SEND_COMMANDS)
    assert_repeats_are_identical(sent)
    assert {h["ce_id"].decode() for _, _, _, h in sent} == commands
    assert_one_memory_per_partition_suffices(published, ids)
    granted = {e.id for e in (msgspec.json.decode(v, type=Totalled) for _, _, v, _ in published) if e.granted}
    if places is not None:
        assert len(granted) == places
    assert sum(s.granted for s in states.values()) == len(granted)
    return {"published": len(published), "repeated": len(published) - len(ids)}


def assert_repeats_are_identical(rows: Iterable[Row]) -> None:
    """A repeated event is the same to the byte, headers too."""
    seen: dict[bytes, tuple[object, ...]] = {}
    for partition, key, value, headers in rows:
        row = (partition, key, value, tuple(sorted(headers.items())))
        assert seen.setdefault(headers["ce_id"], row) == row


def assert_one_memory_per_partition_suffices(rows: Iterable[Row], ids: set[str]) -> None:
    """A consumer that remembers the greatest (offset, index) per source partition sees everything exactly once."""
    last: dict[int, Source] = {}
    taken = []
    for _, _, _, headers in rows:
        source = Source.parse(headers["wa-source"])
        if source > last.get(source.partition, Source(0, -1, 0)):
            last[source.partition] = source
            taken.append(headers["ce_id"].decode())
    assert len(taken) == len(ids) == len(set(taken))
