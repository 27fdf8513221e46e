"""The whole system on one machine: Kafka, Redis, the topics, all services."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.errors import StackError
from deploy.local.service import ServiceProcess
from deploy.local.services import TABLE, ServicePorts, ServiceSpec, service_specs, shared_settings
from deploy.local.stack import Endpoints, LocalStack

CreateTopics = Callable[[Mapping[str, str]], Awaitable[object]]
"""Creates the topics that are missing, given the services' settings as `WA_…` variables."""


class LocalSystem:
    """Services on a stack. The stack may be running already (then it is left running) or be started and stopped with them."""

    def __init__(
        self,
        stack: LocalStack,
        create_topics: CreateTopics,
        *,
        ports: ServicePorts | None = None,
        extra: Mapping[str, str] | None = None,
        names: tuple[str, ...] = TABLE,
        own_stack: bool = True,
        ready_within_s: float = 60.0,
    ) -> None:
        """Keeps the settings.

        Args:
            stack: where Kafka and Redis run.
            create_topics: called once they do.
            ports: of the services; free ones when None.
            extra: `WA_…` settings for all services, for one a topic prefix.
            names: the services to run, in start order.
            own_stack: False leaves starting and stopping the stack to the caller.
            ready_within_s: bound of each service's start.
        """
        self.stack = stack
        self.ports = ports or ServicePorts.free()
        self.services: dict[str, ServiceProcess] = {}
        self.specs: dict[str, ServiceSpec] = {}
        self.log_dir: Path = stack.directory / "logs"
        self._create_topics = create_topics
        self._extra = extra
        self._names = names
        self._own_stack = own_stack
        self._ready_within_s = ready_within_s

    @property
    def settings(self) -> dict[str, str]:
        """The `WA_…` settings that all services have, for clients of the same system."""
        endpoints = self.stack.endpoints
        shared = shared_settings(
            kafka_bootstrap=endpoints.kafka_bootstrap,
            redis_url=endpoints.redis_url,
            directory=self.stack.directory,
        )
        return {**shared, **(self._extra or {})}

    async def start(self) -> Endpoints:
        """Starts everything and returns when all services are ready.

        Raises:
            StackError: a part did not start; everything is stopped again.
        """
        try:
            if self._own_stack:
                await self.stack.start()
            self.stack.directory.mkdir(parents=True, exist_ok=True)
            settings = self.settings
            specs = service_specs(settings, self.ports, self._names)
            self.specs = {spec.name: spec for spec in specs}
            await self._create_topics(settings)
            self.services = {spec.name: ServiceProcess(spec.name, spec.env, self.log_dir) for spec in specs}
            outcomes = await asyncio.gather(*map(self.start_service, self._names), return_exceptions=True)
            failures = [outcome for outcome in outcomes if outcome is not None]
            if failures:
                raise failures[0]
        except BaseException:
            await self.stop()
            raise
        return self.stack.endpoints

    async def start_service(self, name: str) -> None:
        """Starts one service, again after it ended, and returns when it is ready.

        Raises:
            StackError: it did not get ready.
        """
        await self.services[name].start(self.specs[name].ready_url, self._ready_within_s)

    async def stop(self) -> None:
        """Stops the services in reverse order, then the stack; may be called twice."""
        for name in reversed(self._names):
            if name in self.services:
                await self.services[name].stop()
        if self._own_stack:
            await self.stack.stop()

    def ended(self) -> list[str]:
        """Names the services that have ended though nobody stopped them."""
        return [name for name, service in self.services.items() if service.returncode is not None]

    def require_running(self) -> None:
        """Tells early that a service has ended.

        Raises:
            StackError: one has; the text ends with its log.
        """
        for name in self.ended():
            tail = self.services[name].log_tail()
            raise StackError(
                f"{name} ended with code {self.services[name].returncode}; its log ends:\n{tail}"
            )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
