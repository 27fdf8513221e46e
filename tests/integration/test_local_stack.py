"""The local stack: serves, keeps its data, leaves no process behind, and does not mind a second one."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio
import redis.asyncio as redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.paths import REPOSITORY
from deploy.local.stack import Endpoints, LocalStack, Ports, StackError
from tests.conftest import missing
from tests.integration.processes import exists, until


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """A stack that these tests may stop and kill, whatever the environment names."""
    own = LocalStack(tmp_path_factory.mktemp("own"), environ={})
    try:
        await own.start()
    except StackError as error:
        missing(str(error))
    yield own
    await own.stop()


@pytest.mark.usefixtures("own_stack")  # by then everything is installed
async def test_both_serve_once_it_has_started(tmp_path: Path) -> None:
    async with LocalStack(tmp_path, environ={}) as own:
        await write(own.endpoints, "served", "text")
        assert await read(own.endpoints, "served") == ["text"]


async def test_a_restart_keeps_records_and_values(own_stack: LocalStack) -> None:
    await write(own_stack.endpoints, "kept", "text")
    await own_stack.kafka.stop()
    await own_stack.redis.stop()
    await own_stack.kafka.start()
    await own_stack.redis.start()
    assert await read(own_stack.endpoints, "kept") == ["text"]
    assert await value(own_stack.endpoints, "kept") == "text"


async def test_a_kill_keeps_acknowledged_records(own_stack: LocalStack) -> None:
    await write(own_stack.endpoints, "acknowledged", "text")
    await own_stack.kafka.kill()
    await own_stack.redis.kill()
    await own_stack.kafka.start()
    await own_stack.redis.start()
    assert await read(own_stack.endpoints, "acknowledged") == ["text"]
    assert await value(own_stack.endpoints, "acknowledged") == "text"


async def test_redis_is_durable_and_never_evicts(own_stack: LocalStack) -> None:
    async with redis.from_url(own_stack.endpoints.redis_url, decode_responses=True) as client:
        settings = await client.config_get("appendonly", "appendfsync", "maxmemory-policy")
    assert settings == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}


async def test_two_stacks_run_side_by_side(own_stack: LocalStack, tmp_path: Path) -> None:
    async with LocalStack(tmp_path, environ={}) as second:
        await write(own_stack.endpoints, "same", "first")
        await write(second.endpoints, "same", "second")
        assert await read(own_stack.endpoints, "same") == ["first"]
        assert await read(second.endpoints, "same") == ["second"]


async def test_a_taken_port_is_named_with_the_way_out(own_stack: LocalStack, tmp_path: Path) -> None:
    taken = int(own_stack.kafka.bootstrap.rpartition(":")[2])
    second = LocalStack(tmp_path, ports=Ports(kafka=taken), environ={})
    with pytest.raises(StackError, match=rf"port {taken} for Kafka is taken.*WA_KAFKA_PORT"):
        await second.start()


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name
)
async def test_no_process_outlives_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    parent = start_parent(tmp_path, fail="")
    children = pids_told_by(parent)
    parent.send_signal(number)
    await asyncio.to_thread(parent.wait, 30)
    await until(lambda: not any(map(exists, children)), within_s=10)


async def test_no_process_outlives_a_parent_that_raised(tmp_path: Path) -> None:
    parent = start_parent(tmp_path, fail="yes")
    children = pids_told_by(parent)
    assert await asyncio.to_thread(parent.wait, 30) == 1
    await until(lambda: not any(map(exists, children)), within_s=10)


PARENT = """
import asyncio, sys
from pathlib import Path
from deploy.local.stack import LocalStack

async def run(root, fail):
    own = LocalStack(Path(root), environ={})
    await own.start()
    print(own.kafka.pid, own.redis.pid, flush=True)
    if fail:
        raise ValueError("on purpose")
    await asyncio.Event().wait()

asyncio.run(run(*sys.argv[1:]))
"""


def start_parent(root: Path, *, fail: str) -> subprocess.Popen[str]:
    """Runs a process that starts a stack and never stops it."""
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(root), fail],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def pids_told_by(parent: subprocess.Popen[str]) -> list[int]:
    assert parent.stdout is not None
    return [int(pid) for pid in parent.stdout.readline().split()]


async def write(endpoints: Endpoints, name: str, text: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=endpoints.kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=endpoints.kafka_bootstrap, acks="all")
    await producer.start()
    await producer.send_and_wait(name, text.encode())
    await producer.stop()
    async with redis.from_url(endpoints.redis_url) as client:
        await client.set(name, text)


async def read(endpoints: Endpoints, name: str) -> list[str]:
    consumer = AIOKafkaConsumer(bootstrap_servers=endpoints.kafka_bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(name, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        texts: list[str] = []
        while await consumer.position(partition) < end:
            batch = await consumer.getmany(timeout_ms=500)
            texts += [record.value.decode() for record in batch.get(partition, [])]
        return texts
    finally:
        await consumer.stop()


async def value(endpoints: Endpoints, name: str) -> str | None:
    async with redis.from_url(endpoints.redis_url, decode_responses=True) as client:
        return cast("str | None", await client.get(name))
