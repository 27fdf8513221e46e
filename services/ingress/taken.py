"""The answer that nearly every webhook gets."""

import time
from email.utils import formatdate
from functools import lru_cache

from aiohttp import ClientConnectionResetError, HttpVersion11, web


def taken(request: web.BaseRequest) -> web.StreamResponse:
    """200 without a body."""
    lasting = request.version == HttpVersion11 and request.keep_alive
    return _LASTING if lasting else web.Response()


class _Lasting(web.StreamResponse):
    """200 on a connection that stays: within a second the same bytes for all, so nothing is put together for each (aiohttp's own takes a twelfth of a webhook's time). One serves all requests."""

    @property
    def keep_alive(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write it; ClientConnectionResetError, as aiohttp expects, when nobody is there any more."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("nobody waits for the answer")
        transport.write(_written_in(int(time.time())))
        if request.protocol.writing_paused:  # who sends on and on must also read
            await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """It is written."""


@lru_cache(maxsize=1)
def _written_in(second: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: {formatdate(second, usegmt=True)}\r\n\r\n".encode()


_LASTING = _Lasting()
