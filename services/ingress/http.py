"""The HTTP listener for webhooks as a part of the service: it stops taking first and finishes what it has."""

import asyncio
import resource
import socket
from collections.abc import Callable

import structlog
from aiohttp import web

from services.ingress.apps import App
from services.ingress.connections import ConnectionLimits, Door
from services.ingress.routes import Webhooks
from shared import metrics

log = structlog.get_logger(__name__)

_BACKLOG = 4096
"""What waits to be accepted; who finds no place there hears nothing, and comes again after 1, 3, 7 s."""
_AT_A_TURN = 64
"""Connections accepted before others have their turn: some milliseconds. uvloop's own server accepts one, so among thousands a good one waited for seconds."""
_NO_MORE_FILES_S = 1.0
_OTHER_FILES = 256
"""Open files beside the connections: Kafka, Redis, logs, the probes."""


class Listener:
    """Listens on one address; `port` is the bound one once started.

    A plain server without aiohttp's application and router: a path is looked up, and each request costs a seventh less.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        app_at: Callable[[str], App | None],
        host: str,
        port: int,
        *,
        reuse_port: bool,
        drain_s: float,
        limits: ConnectionLimits,
    ) -> None:
        self._webhooks = webhooks
        self._app_at = app_at
        self._counts = metrics.webhook_requests("none")
        self._door = Door(self._handle, limits, lambda verdict: self._counts[verdict].inc())
        self._runner = web.ServerRunner(self._door, shutdown_timeout=drain_s)
        self._socket: socket.socket | None = None
        self._entering: set[asyncio.Task[object]] = set()
        self._most_files = limits.most + _OTHER_FILES
        self._host = host
        self._reuse_port = reuse_port
        self.port = port

    async def start(self) -> None:
        _allow_files(self._most_files)
        await self._runner.setup()
        self._socket = socket.create_server(
            (self._host, self.port),
            family=socket.AF_INET6 if ":" in self._host else socket.AF_INET,
            backlog=_BACKLOG,
            reuse_port=self._reuse_port,
        )
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._socket, self._accept)
        log.info("webhooks_listening", host=self._host, port=self.port)

    async def stop(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        await asyncio.gather(*self._entering, return_exceptions=True)
        await self._runner.cleanup()

    def _accept(self) -> None:
        """Let in who waits."""
        loop, listening = asyncio.get_running_loop(), self._socket
        for _ in range(_AT_A_TURN):
            if listening is None:
                return
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("no_connection_accepted", error=repr(error))
                loop.remove_reader(listening)
                loop.call_later(_NO_MORE_FILES_S, self._accept_again)
                return
            connection.setblocking(False)
            entering = loop.create_task(loop.connect_accepted_socket(self._door, connection))
            self._entering.add(entering)
            entering.add_done_callback(self._entering.discard)

    def _accept_again(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        app = self._app_at(request.raw_path) or self._app_at(request.path)
        if app is None:
            self._counts["unknown_app"].inc()
            return _closing(web.Response(status=404, text="not found"), request)
        if request.method == "POST":
            return await self._webhooks.receive(request, app)
        if request.method == "GET":
            return _closing(await self._webhooks.verify(request, app), request)
        refusal = web.Response(status=405, text="method not allowed", headers={"Allow": "GET, POST"})
        return _closing(refusal, request)


def _closing(response: web.Response, request: web.BaseRequest) -> web.Response:
    """An answer after which a body that nobody reads is not waited for."""
    if not request.content.is_eof():
        response.force_close()
    return response


def _allow_files(wanted: int) -> None:
    """Raise this process's limit of open files (often 1,024) as far as it may, for a connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < wanted:
        log.warning("too_few_open_files", wanted=wanted, allowed=possible)
