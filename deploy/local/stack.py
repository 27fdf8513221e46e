"""Kafka and Redis on this machine, for tests, the demo and `make up`.

Endpoints named by `WA_KAFKA_BOOTSTRAP` and `WA_REDIS_URL` win: what they name is used and never started or stopped.
"""

import asyncio
import itertools
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from deploy.local.errors import StackError
from deploy.local.kafka import Kafka
from deploy.local.paths import RUNS
from deploy.local.ports import Ports, require_free
from deploy.local.redis import Appendfsync, Redis
from deploy.local.service import ServiceProcess

__all__ = ["Endpoints", "Kafka", "LocalStack", "Ports", "Redis", "ServiceProcess", "StackError"]

_numbers: Final = itertools.count(1)


@dataclass(frozen=True)
class Endpoints:
    """Where Kafka and Redis listen."""

    kafka_bootstrap: str
    redis_url: str


class LocalStack:
    """One Kafka and one Redis, started together.

    With fixed ports the directory is `<root>/run/<name>` and its data outlive the stack. With free ports it is
    `<root>/run/<name>-<pid>-<n>`; the data go with the stack, the logs stay until the next one starts.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        ports: Ports | None = None,
        name: str = "test",
        appendfsync: Appendfsync = "everysec",
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Keeps the settings; `root` defaults to `.local` of the checkout, `ports` to free ones."""
        self._runs = root / "run" if root else RUNS
        self._temporary = ports is None
        self._external_kafka = environ.get("WA_KAFKA_BOOTSTRAP") or None
        self._external_redis = environ.get("WA_REDIS_URL") or None
        self._ports = ports or Ports.free()
        self._name = name
        self.directory = self._runs / (f"{name}-{os.getpid()}-{next(_numbers)}" if self._temporary else name)
        self._kafka = Kafka(
            self.directory, port=self._ports.kafka, controller_port=self._ports.kafka_controller
        )
        self._redis = Redis(self.directory, port=self._ports.redis, appendfsync=appendfsync)

    @property
    def kafka(self) -> Kafka:
        """The broker.

        Raises:
            StackError: it is somebody else's, named by `WA_KAFKA_BOOTSTRAP`.
        """
        if self._external_kafka:
            raise StackError("Kafka is given by WA_KAFKA_BOOTSTRAP and not ours to control")
        return self._kafka

    @property
    def redis(self) -> Redis:
        """The Redis server.

        Raises:
            StackError: it is somebody else's, named by `WA_REDIS_URL`.
        """
        if self._external_redis:
            raise StackError("Redis is given by WA_REDIS_URL and not ours to control")
        return self._redis

    @property
    def parts(self) -> list[Kafka | Redis]:
        """What this stack runs itself: what the environment does not name."""
        kafka: list[Kafka | Redis] = [] if self._external_kafka else [self._kafka]
        return kafka if self._external_redis else [*kafka, self._redis]

    @property
    def endpoints(self) -> Endpoints:
        """Where both listen, or will."""
        return Endpoints(
            kafka_bootstrap=self._external_kafka or self._kafka.bootstrap,
            redis_url=self._external_redis or self._redis.url,
        )

    async def start(self) -> Endpoints:
        """Starts what the environment does not name, and returns when both serve.

        Raises:
            StackError: a port is taken, a part is missing or did not get ready; nothing is left running then.
        """
        self._require_ports()
        if self._temporary:
            _remove_leftovers(self._runs, self._name)
        self.directory.mkdir(parents=True, exist_ok=True)
        outcomes = await asyncio.gather(*(part.start() for part in self.parts), return_exceptions=True)
        failures = [outcome for outcome in outcomes if outcome is not None]
        if failures:
            await self.stop()
            raise failures[0]
        return self.endpoints

    async def stop(self) -> None:
        """Stops both; may be called twice, or after a failed start."""
        await asyncio.gather(*(part.stop() for part in self.parts))
        if self._temporary:
            shutil.rmtree(self._kafka.data_dir, ignore_errors=True)
            shutil.rmtree(self._redis.data_dir, ignore_errors=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _require_ports(self) -> None:
        if not self._external_kafka:
            require_free(self._ports.kafka, "Kafka", "WA_KAFKA_PORT")
            require_free(self._ports.kafka_controller, "Kafka's controller", "WA_KAFKA_CONTROLLER_PORT")
        if not self._external_redis:
            require_free(self._ports.redis, "Redis", "WA_REDIS_PORT")


def _remove_leftovers(runs: Path, name: str) -> None:
    """Deletes the directories of temporary stacks whose process is gone."""
    for directory in runs.glob(f"{name}-*"):
        found = re.fullmatch(rf"{re.escape(name)}-(\d+)-\d+", directory.name)
        if found and not Path(f"/proc/{found.group(1)}").exists():
            shutil.rmtree(directory, ignore_errors=True)
