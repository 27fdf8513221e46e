"""The tallies on one core beside a Faust agent that only acknowledges: entries counted in a second, and how soon after a kill they are up to date."""

import asyncio
import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from services.billing.settings import TalliesSettings
from services.billing.tallies.faust_app import app_id
from services.billing.tallies.offsets import GroupOffsets
from shared import kafka
from shared.events import encode
from shared.stream.publisher import partition_of
from shared.stream.source import SOURCE_HEADER, source_header
from shared.topics import BILLING_CHARGES
from tests.bench import ledger, processes
from tests.bench.router import cpu_s

ENTRIES = 200_000
AFTERWARDS = 1_000
"""Entries that come while the killed process is away: it is up to date when these are counted."""
NOOP_GENERATION = 99
"""Of the agent that only acknowledges: a group and a changelog of its own."""
LOOK_EVERY_S = 0.1
WITHIN_S = 900.0


async def measure(stack: LocalStack, core: int | None) -> dict[str, tuple[float, float]]:
    """(tallies, no-op agent), entries per second of the clock and of their own CPU."""
    settings, env = await _ledger(stack, ENTRIES)
    ceiling = await _rate(stack, settings, env, core, noop=True)
    value = await _rate(stack, settings, env, core, noop=False)
    return {
        "tallies: entries counted": (value[0], ceiling[0]),
        "tallies: entries counted in a second of its own CPU": (value[1], ceiling[1]),
    }


async def restart(
    stack: LocalStack, core: int | None, *, entries: int = ENTRIES
) -> dict[str, tuple[float, float]]:
    """(tallies, no-op agent), ms from a start after SIGKILL until the entries that came meanwhile are counted, too."""
    settings, env = await _ledger(stack, entries)
    await _as_if_acknowledged(settings)
    ceiling = await _restarted(stack, settings, env, core, noop=True)
    value = await _restarted(stack, settings, env, core, noop=False)
    return {f"tallies: up to date after a kill, {entries:,} entries counted": (value, ceiling)}


async def _ledger(stack: LocalStack, entries: int) -> tuple[TalliesSettings, dict[str, str]]:
    made, env = await processes.topics(stack)
    settings = TalliesSettings(**made.model_dump(exclude_unset=True))
    await _feed(settings, range(entries))
    own = {
        "WA_TALLIES_PORT": "0",
        "WA_TALLIES_HOURS_DAYS": "36500",  # the entries' days will be long ago
        "APP_DATADIR": str(stack.directory / "faust"),
    }
    return settings, env | own


async def _feed(settings: TalliesSettings, numbers: range) -> None:
    topic = kafka.name_of(BILLING_CHARGES, settings)
    producer = kafka.producer(settings, linger_ms=5)
    await producer.start()
    try:
        for number in numbers:
            entry = ledger.entry(number)
            key = f"{entry.phone_number_id}:{entry.user_ref}".encode()
            place = partition_of(key, settings.partitions)
            headers = [(SOURCE_HEADER, source_header(place, number, 0))]
            await producer.send(topic, encode(entry), key=key, partition=place, headers=headers)
        await producer.flush()
    finally:
        await producer.stop()


def _start(
    stack: LocalStack, settings: TalliesSettings, env: dict[str, str], core: int | None, *, noop: bool
) -> tuple[OwnedProcess, GroupOffsets]:
    of = settings.model_copy(update={"tallies_generation": NOOP_GENERATION}) if noop else settings
    module = "tests.bench.noop_agent" if noop else "services.billing.tallies"
    process = processes.start(
        [module],
        env | {"WA_TALLIES_GENERATION": str(of.tallies_generation)},
        stack.directory / "logs" / f"{module}.log",
        core,
    )
    topic = kafka.name_of(BILLING_CHARGES, settings)
    return process, GroupOffsets(settings, group=app_id(of), topic=topic)


async def _rate(
    stack: LocalStack, settings: TalliesSettings, env: dict[str, str], core: int | None, *, noop: bool
) -> tuple[float, float]:
    """Entries per second of the clock and of CPU between the first tenth and the end, by the group's commits."""
    process, offsets = _start(stack, settings, env, core, noop=noop)
    await offsets.start()
    try:
        done = await _until(process, offsets, settings, lambda done, _: done >= ENTRIES // 10)
        began = (time.monotonic(), cpu_s(process.pid), done)
        done = await _until(process, offsets, settings, lambda done, end: done >= end)
        counted = done - began[2]
        return counted / (time.monotonic() - began[0]), counted / (cpu_s(process.pid) - began[1])
    finally:
        await offsets.stop()
        await process.stop(grace_s=10)


async def _restarted(
    stack: LocalStack, settings: TalliesSettings, env: dict[str, str], core: int | None, *, noop: bool
) -> float:
    process, offsets = _start(stack, settings, env, core, noop=noop)
    await offsets.start()
    try:
        end = await _until(process, offsets, settings, lambda done, end: done >= end)
        await process.kill()
        await _feed(settings, range(end, end + AFTERWARDS))
        began = time.monotonic()
        process, _ = _start(stack, settings, env, core, noop=noop)
        await _until(process, offsets, settings, lambda done, end: done >= end)
        return 1000 * (time.monotonic() - began)
    finally:
        await offsets.stop()
        await process.stop(grace_s=10)


async def _as_if_acknowledged(settings: TalliesSettings) -> None:
    """Commit the ledger's ends for the agent that only acknowledges: it has no state, so it need not have read them."""
    group = app_id(settings.model_copy(update={"tallies_generation": NOOP_GENERATION}))
    consumer = AIOKafkaConsumer(**kafka.connection(settings), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        topic = kafka.name_of(BILLING_CHARGES, settings)
        places = [TopicPartition(topic, n) for n in range(settings.partitions)]
        consumer.assign(places)
        await consumer.commit(await consumer.end_offsets(places))
    finally:
        await consumer.stop()


async def _until(
    process: OwnedProcess,
    offsets: GroupOffsets,
    settings: TalliesSettings,
    reached: Callable[[int, int], bool],
) -> int:
    """Wait until what is committed (and the end of the ledger) satisfy; what is committed then."""
    partitions = range(settings.partitions)
    end = sum((await offsets.ends(partitions)).values())
    deadline = time.monotonic() + WITHIN_S
    while not reached(done := sum((await offsets.committed(partitions)).values()), end):
        if process.returncode is not None:
            raise RuntimeError(f"ended with {process.returncode}:\n{process.log_tail(30)}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{done} of {end} in {WITHIN_S:.0f} s\n{process.log_tail(30)}")
        await asyncio.sleep(LOOK_EVERY_S)
    return done
