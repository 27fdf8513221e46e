"""The HTTP listener of the edge as a part of the service: bounded in what a client may send or hold open; it stops taking first and finishes what it has."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

log = structlog.get_logger(__name__)

_LINGER_S = 1.0
"""How long the rest of a refused body is read off; after that the connection goes."""
_IDLE_S = 75.0
_LARGEST_LINE = _LARGEST_FIELD = 8190
_MOST_FIELDS = 64


class Listener:
    """Listens on one address; `port` is the bound one once started.

    A connection goes if the head of its first request takes longer than `head_s`: aiohttp bounds only what comes between requests.
    """

    def __init__(
        self,
        application: web.Application,
        host: str,
        port: int,
        *,
        reuse_port: bool,
        drain_s: float,
        head_s: float = 10.0,
    ) -> None:
        self._host = host
        self._reuse_port = reuse_port
        self._head_s = head_s
        self._silent: set[asyncio.Protocol] = set()
        self._server: asyncio.Server
        self.port = port
        application.middlewares.append(self._heard)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            auto_decompress=False,
            lingering_time=_LINGER_S,
            keepalive_timeout=_IDLE_S,
            max_line_size=_LARGEST_LINE,
            max_field_size=_LARGEST_FIELD,
            max_headers=_MOST_FIELDS,
            shutdown_timeout=drain_s,
        )

    async def start(self) -> None:
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(
            self._connection, self._host, self.port, backlog=1024, reuse_port=self._reuse_port or None
        )
        self.port = self._server.sockets[0].getsockname()[1]
        log.info("edge_listening", host=self._host, port=self.port)

    async def stop(self) -> None:
        self._server.close()
        await self._runner.cleanup()

    def _connection(self) -> asyncio.Protocol:
        factory = self._runner.server
        if factory is None:
            raise RuntimeError("not set up")
        connection = factory()
        self._silent.add(connection)
        asyncio.get_running_loop().call_later(self._head_s, self._look, connection)
        return connection

    def _look(self, connection: web.RequestHandler) -> None:
        if connection in self._silent:
            self._silent.discard(connection)
            connection.force_close()

    @web.middleware
    async def _heard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self._silent.discard(request.protocol)
        return await handler(request)
