"""The life of a service process: parts start in order and stop in reverse; a part that fails ends the process; `/live`, `/ready`, `/metrics`."""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import structlog
import uvloop
from aiohttp import web
from prometheus_client import generate_latest

from shared import logs
from shared.metrics import REGISTRY
from shared.settings import ServiceSettings

log = structlog.get_logger(__name__)

GC_ALLOCATIONS = 100_000
"""Allocations between two runs of the cyclic collector. A batch makes tens of thousands of objects and no cycles; at Python's own 700 the
collector looks at every cached state again and again."""


class Part(Protocol):
    """One part of a service; `stop` waits for its work in flight and may be called once after `start`."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


P = TypeVar("P", bound=Part)


class Service:
    """The parts of one process, and the first failure, which ends them all."""

    def __init__(self, name: str, settings: ServiceSettings) -> None:
        self.name = name
        self.settings = settings
        self._parts: list[Part] = []
        self._checks: list[tuple[str, Callable[[], bool]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._started = False

    def add(self, part: P) -> P:
        """Append a part to the start order and hand it back."""
        self._parts.append(part)
        return part

    def ready_when(self, name: str, check: Callable[[], bool]) -> None:
        """`/ready` answers 200 only while all checks hold."""
        self._checks.append((name, check))

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` beside the rest; if it raises, the process ends with that as its reason."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def fail(self, failure: BaseException) -> None:
        """End the process: stop all parts, exit 1."""
        if self._failure is None:
            self._failure = failure
            log.error("service_failed", error=repr(failure), exc_info=failure)
        self._stop.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.fail(failure)

    def unready(self) -> list[str]:
        """The names of the checks that do not hold; `starting` or `stopping` outside the served time."""
        if not self._started:
            return ["starting"]
        if self._stop.is_set():
            return ["stopping"]
        return [name for name, check in self._checks if not check()]

    async def run(self) -> int:
        """Start, serve until SIGTERM or SIGINT or a failure, stop; the process's exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        probes = _Probes(self)
        started: list[Part] = []
        try:
            for part in (probes, *self._parts):
                starting = asyncio.ensure_future(part.start())
                stopping = asyncio.ensure_future(self._stop.wait())
                await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                if not starting.done():
                    starting.cancel()
                    break
                starting.result()
                started.append(part)
            else:
                gc.freeze()
                self._started = True
                log.info("service_started", metrics_port=probes.port)
                await self._stop.wait()
        except Exception as failure:  # noqa: BLE001 the outermost loop: whatever a part raised is the reason of the exit
            self.fail(failure)
        for part in reversed(started):
            try:
                await asyncio.wait_for(part.stop(), self.settings.drain_s)
            except Exception as failure:  # noqa: BLE001 stopping goes on: the other parts have work to save
                self.fail(failure)
        for task in list(self._tasks):
            task.cancel()
        log.info("service_stopped", failed=self._failure is not None)
        return 1 if self._failure is not None else 0


class _Probes:
    """`/live`, `/ready` and `/metrics` on their own port."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/live", self._live)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        settings = self._service.settings
        await web.TCPSite(self._runner, settings.metrics_host, settings.metrics_port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def _ready(self, _: web.Request) -> web.Response:
        unready = self._service.unready()
        return web.Response(status=503 if unready else 200, text=(", ".join(unready) or "ready") + "\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(REGISTRY),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )


def run(name: str, settings: ServiceSettings, build: Callable[[Service], None]) -> int:
    """Run a service as this process: configure logs, let `build` wire the parts (no network yet), serve; the exit code."""
    logs.configure(settings.log_level, name)
    gc.set_threshold(GC_ALLOCATIONS, 50, 100)

    async def main() -> int:
        service = Service(name, settings)
        build(service)
        return await service.run()

    return uvloop.run(main())
