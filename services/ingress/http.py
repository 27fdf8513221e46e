"""The HTTP listener for webhooks as a part of the service: it stops taking first and finishes what it has."""

import structlog
from aiohttp import web

from services.ingress.routes import Webhooks

log = structlog.get_logger(__name__)

_LINGER_S = 1.0
"""How long the rest of a refused body is read off; after that the connection goes."""
_PATH = "/webhooks"


class Listener:
    """Listens on one address; `port` is the bound one once started.

    A plain server without aiohttp's application and router: there is one path, and each request costs a seventh less.
    """

    def __init__(self, webhooks: Webhooks, host: str, port: int, *, reuse_port: bool, drain_s: float) -> None:
        self._webhooks = webhooks
        server = web.Server(
            self._handle,
            access_log=None,
            # A compressed body is refused, so it must not be unpacked on the way in either.
            auto_decompress=False,
            lingering_time=_LINGER_S,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=drain_s)
        self._host = host
        self._reuse_port = reuse_port
        self.port = port

    async def start(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self._host, self.port, backlog=1024, reuse_port=self._reuse_port or None
        )
        await site.start()
        self.port = self._runner.addresses[0][1]
        log.info("webhooks_listening", host=self._host, port=self.port)

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        if request.path != _PATH:
            return web.Response(status=404, text="not found")
        if request.method == "POST":
            return await self._webhooks.receive(request)
        if request.method == "GET":
            return await self._webhooks.verify(request)
        return web.Response(status=405, text="method not allowed", headers={"Allow": "GET, POST"})
