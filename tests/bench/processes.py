"""Runs what is measured as processes on a core of their own."""

import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from shared import kafka
from shared.settings import ServiceSettings

PARTITIONS = 8
REPOSITORY = Path(__file__).resolve().parents[2]


def start(
    arguments: list[str],
    env: Mapping[str, str],
    log_path: Path,
    core: int | None,
    under: Sequence[str] = (),
) -> OwnedProcess:
    """`python -m …` pinned to `core`, run by the command `under`."""
    command = [*under, sys.executable, "-m", *arguments]
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    process = OwnedProcess(command, log_path=log_path, env={**os.environ, **env}, cwd=REPOSITORY)
    process.spawn()
    return process


async def topics(stack: LocalStack, partitions: int = PARTITIONS) -> tuple[ServiceSettings, dict[str, str]]:
    """Topics of a measurement of its own, and the environment of its services."""
    name = f"b{uuid.uuid4().hex[:8]}"
    settings = ServiceSettings(
        kafka_bootstrap=stack.endpoints.kafka_bootstrap,
        redis_url=stack.endpoints.redis_url,
        topic_prefix=f"{name}.",
        redis_namespace=name,
        partitions=partitions,
        replication=1,
    )
    await kafka.create_topics(settings)
    env = {
        "WA_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "WA_REDIS_URL": settings.redis_url,
        "WA_TOPIC_PREFIX": settings.topic_prefix,
        "WA_REDIS_NAMESPACE": name,
        "WA_PARTITIONS": str(partitions),
        "WA_REPLICATION": "1",
        "WA_METRICS_PORT": "0",
        "WA_LOG_LEVEL": "warning",
    }
    return settings, env
