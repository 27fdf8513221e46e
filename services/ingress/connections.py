"""HTTP connections, bounded in number and time until something of theirs was verified; what is no HTTP is answered with a bare 400.

aiohttp has no time limit for headers and no limit on connections of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from shared import metrics

log = structlog.get_logger(__name__)

_LINGER_S = 1.0
"""How long the rest of a refused body is read off; after that the connection goes."""
_LINE_BYTES, _FIELD_BYTES, _FIELDS = 2048, 4096, 64
"""Longest request line, longest header field, most of them: several times what Meta and the proxies before us send."""
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds that the headers of a request may take, seconds a connection may be idle, connections at once."""

    header_s: float = 5.0
    idle_s: float = 75.0
    most: int = 2000


class Connection(web.RequestHandler):
    """One connection; `prove` says that a verified webhook came over it."""

    __slots__ = ("_door", "_late")

    def __init__(self, door: "Door", **options: Any) -> None:
        super().__init__(door, **options)
        self._door = door
        self._late: asyncio.TimerHandle | None = None

    def prove(self) -> None:
        """From now on it makes no room for others."""
        self._door.unproven.pop(self, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._door.admit(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._punctual()
        self._door.unproven.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waiter is None or self._waiter.done():
            if self._late is not None:
                self._punctual()
        elif self._late is None and data:
            self._late = self._loop.call_later(self._door.limits.header_s, self._too_late)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or what a handler failed at, without a word of why."""
        if isinstance(exc, HttpProcessingError):
            status, text = 400, "bad request"
            self._door.count("bad_request")
            log.warning("request_refused", status=status, detail=type(exc).__name__)
        else:
            text = "try again later"
            self._door.count("failed")
            log.error("request_failed", error=type(exc).__name__, exc_info=exc)
        response = web.Response(status=status, text=text)
        response.force_close()
        return response

    def cut(self, last_words: bytes = b"") -> None:
        """Close it now."""
        if self.transport is not None and last_words:
            self.transport.write(last_words)
        self.force_close()

    def _too_late(self) -> None:
        self._late = None
        _CUT["late_headers"].inc()
        self.cut(_TOO_LATE)

    def _punctual(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class Door(web.Server):
    """Hands each connection to a `Connection`.

    When there are too many, the oldest one over which nothing verified came makes room for the new one; those that Meta has used stay.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        limits: ConnectionLimits,
        count: Callable[[str], None],
    ) -> None:
        super().__init__(handler)
        self.limits = limits
        self.count = count
        self.unproven: dict[Connection, None] = {}

    def __call__(self) -> web.RequestHandler:
        return Connection(
            self,
            loop=self._loop,
            access_log=None,
            # A compressed body is refused, so it must not be unpacked on the way in either.
            auto_decompress=False,
            keepalive_timeout=self.limits.idle_s,
            lingering_time=_LINGER_S,
            max_line_size=_LINE_BYTES,
            max_field_size=_FIELD_BYTES,
            max_headers=_FIELDS,
        )

    def admit(self, connection: Connection) -> None:
        """Let it in, at the cost of another one if need be."""
        open_now = len(self._connections)
        if open_now > self.limits.most:
            oldest = next(iter(self.unproven), None)
            if oldest is None:
                _CUT["full"].inc()
                connection.cut(_FULL)
                return
            _CUT["made_room"].inc()
            del self.unproven[oldest]
            oldest.cut()
        self.unproven[connection] = None


_CUT = {why: metrics.WEBHOOK_CUT.labels(why) for why in metrics.CUTS}
