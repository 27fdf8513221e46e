"""The router's throughput on one core, beside the raw aiokafka loop on the same records; by the clock, and by the processor time used.

The second does not suffer from what Kafka, Redis and strangers do on the other core meanwhile.
"""

import asyncio
import os
import time
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from shared import events, kafka
from shared.settings import ServiceSettings
from shared.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS
from tests.bench import load, processes
from tests.reading import committed

CONVERSATIONS = 6000
RECORDS = CONVERSATIONS * load.EVENTS_PER_CONVERSATION


async def measure(stack: LocalStack, core: int | None) -> dict[str, tuple[float, float]]:
    """(router, raw loop), events per second, by what is measured."""
    settings, env = await processes.topics(stack)
    name = settings.redis_namespace
    await _feed(settings)
    source = kafka.name_of(CONVERSATION_EVENTS, settings)
    logs = stack.directory / "logs"
    await _create(settings, f"{name}.raw")
    raw = processes.start(
        ["tests.bench.raw_loop", source, f"{name}.raw", f"{name}.raw-loop"],
        env,
        logs / "raw.log",
        core,
    )
    ceiling = await _rate(settings, raw, "raw-loop")
    router = processes.start(["services.router"], env, logs / "router.log", core)
    value = await _rate(settings, router, "router")
    return {
        "router: events folded": (value[0], ceiling[0]),
        "router: events folded in a second of its own CPU": (value[1], ceiling[1]),
    }


async def _feed(settings: ServiceSettings) -> None:
    start_ms = int(time.time() * 1000)  # no timer of these conversations comes due meanwhile
    producer = kafka.producer(settings, linger_ms=5)
    await producer.start()
    try:
        for fact in load.accounts(8, start_ms - 1000):
            await producer.send(
                kafka.name_of(ACCOUNT_EVENTS, settings), events.encode(fact), key=fact.waba_id.encode()
            )
        topic = kafka.name_of(CONVERSATION_EVENTS, settings)
        for key, value in load.conversation_events(CONVERSATIONS, start_ms):
            await producer.send(topic, value, key=key.encode())
        await producer.flush()
    finally:
        await producer.stop()


async def _create(settings: ServiceSettings, name: str) -> None:
    """The raw loop's own output topic."""
    admin = AIOKafkaAdminClient(**kafka.connection(settings))
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(name=name, num_partitions=processes.PARTITIONS, replication_factor=1)]
        )
    finally:
        await admin.close()


async def _rate(settings: ServiceSettings, process: OwnedProcess, group: str) -> tuple[float, float]:
    """Events per second of the clock and of CPU between the first tenth and the end, by the group's committed offsets."""
    began: tuple[float, float, int] | None = None
    deadline = time.monotonic() + 120
    try:
        while time.monotonic() < deadline:
            done = await committed(settings, group)
            now, cpu = time.monotonic(), cpu_s(process.pid)
            if began is None and done >= RECORDS // 10:
                began = (now, cpu, done)
            if done >= RECORDS and began is not None:
                events = done - began[2]
                return events / (now - began[0]), events / (cpu - began[1])
            if process.returncode not in (None, 0):
                raise RuntimeError(f"{group} ended with {process.returncode}:\n{process.log_tail(30)}")
            await asyncio.sleep(0.2)  # asking costs the broker something too
        raise TimeoutError(f"{group}: {done} of {RECORDS} in 120 s\n{process.log_tail(30)}")
    finally:
        await process.stop(grace_s=10)


def cpu_s(pid: int) -> float:
    """User and system time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
