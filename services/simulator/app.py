"""Composition root of the simulator: builds its parts, starts and stops them."""

import asyncio
import json
import secrets

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from services.simulator.accounts import AccountsBody
from services.simulator.control import ControlRoutes
from services.simulator.meta import Meta
from services.simulator.metrics import SimulatorMetrics
from services.simulator.outbox import Outbox
from services.simulator.routes import GraphRoutes
from services.simulator.scheduler import Scheduler
from services.simulator.settings import SimulatorSettings
from shared.clock import Clock, MovableClock

MAX_BODY_BYTES = 4 * 1024 * 1024
STOP_S = 1.0
"""Longest wait for calls in progress at a stop: a scripted hang must not delay it."""


class Simulator:
    """One fake Meta with its two ports."""

    def __init__(self, settings: SimulatorSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.metrics = SimulatorMetrics()
        self.meta = Meta(secrets.token_hex(4))
        self.outbox = Outbox(
            clock,
            lambda: self.meta.options,
            settings.webhook_url,
            settings.app_secret.get_secret_value().encode(),
            self.metrics,
        )
        self.scheduler = Scheduler(self.meta, self.outbox, clock)
        graph = GraphRoutes(
            self.meta,
            self.scheduler,
            settings.access_token.get_secret_value(),
            settings.app_secret.get_secret_value(),
            self.metrics,
        )
        mover: MovableClock | None = clock if isinstance(clock, MovableClock) else None
        control = ControlRoutes(
            self.meta, self.scheduler, self.outbox, clock, mover, graph, self.refuse_connections
        )
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes([*graph.table(), *control.table()])
        self._http = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S)
        operations = web.Application()
        operations.add_routes(
            [
                web.get("/metrics", self._metrics_page),
                web.get("/live", self._live),
                web.get("/ready", self._ready),
            ]
        )
        self._operations = web.AppRunner(operations, access_log=None, shutdown_timeout=STOP_S)
        self.running: asyncio.Task[None] | None = None
        self._away: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Apply the accounts file, then listen."""
        settings = self._settings
        if settings.accounts_file is not None:
            given = AccountsBody.model_validate(json.loads(settings.accounts_file.read_bytes()))
            for waba in given.wabas:
                self.meta.put(waba, self._clock.time())
        await self.outbox.start()
        self.running = asyncio.create_task(self.scheduler.run(), name="scheduler")
        for runner, host, port in (
            (self._http, settings.http_host, settings.http_port),
            (self._operations, settings.metrics_host, settings.metrics_port),
        ):
            await runner.setup()
            await web.TCPSite(runner, host, port, backlog=1024).start()

    async def stop(self) -> None:
        """Stop in reverse."""
        if self._away is not None:
            self._away.cancel()
            await asyncio.gather(self._away, return_exceptions=True)
        await self._operations.cleanup()
        await self._http.cleanup()
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
        await self.outbox.stop()

    def refuse_connections(self, for_s: float) -> None:
        """Let nobody connect for so many seconds by the wall clock, from now on; connections without a call on them are closed."""
        if self._away is None or self._away.done():
            self._away = asyncio.create_task(self._stay_away(for_s), name="away")

    async def _stay_away(self, for_s: float) -> None:
        port = self.port
        for site in list(self._http.sites):
            await site.stop()
        if self._http.server is not None:
            self._http.server.pre_shutdown()
        await asyncio.sleep(for_s)
        await web.TCPSite(self._http, self._settings.http_host, port, backlog=1024).start()

    @property
    def port(self) -> int:
        """The port of the Graph and control APIs, once started."""
        return int(self._http.addresses[0][1])

    @property
    def operations_port(self) -> int:
        """The port of /metrics, /live and /ready, once started."""
        return int(self._operations.addresses[0][1])

    async def _metrics_page(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _live(self, _: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def _ready(self, _: web.Request) -> web.Response:
        ready = self.running is not None and not self.running.done()
        return web.Response(status=200 if ready else 503, text="ready\n" if ready else "not ready\n")
