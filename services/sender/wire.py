"""One connection to the Graph API, for calls one after the other: a request's bytes in, the answer out.

aiohttp makes the connection (addresses, TLS); what it is used for here needs neither its sessions nor its streams (docs/decisions/0013-what-a-send-costs.md).
"""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from aiohttp.connector import Connection
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

LARGEST_ANSWER = 64 * 1024
"""What is longer is cut off."""
_SIZES = ("content-length", "transfer-encoding")


class Whole(NamedTuple):
    """An HTTP answer; the names of its headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire(asyncio.Protocol):
    """A connection that aiohttp has made. `usable`: the next call may take it; anything that comes unasked spoils it, for it would be taken for an answer."""

    def __init__(self, connection: Connection) -> None:
        handler = connection.protocol
        if (
            handler is None
            or handler.transport is None
            or handler.should_close
            or handler.transport.is_closing()
        ):
            connection.close()
            raise ConnectionError("it ended, or began to speak by itself")
        self.usable = True
        self._connection = connection
        self._handler = handler
        self._transport = handler.transport
        self._parser = HttpResponseParser(self)
        self._waiting: asyncio.Future[Whole] | None = None
        self._headers: dict[str, str] = {}
        self._body = b""
        self._headed = False
        """Whether the answer under way has all its headers."""
        self._came = 0
        """Bytes since the call began."""
        self._transport.set_protocol(self)

    async def call(self, request: bytes, within_s: float) -> Whole:
        """Write a request and read its answer.

        Raises:
            TimeoutError: the answer was not complete in time.
            ConnectionError: the connection ended before the answer.
            HttpParserError, HttpParserUpgrade: it is no HTTP.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Whole] = loop.create_future()
        self._waiting, self._came = waiting, 0
        limit = loop.call_later(within_s, self._fail, TimeoutError())
        try:
            self._transport.write(request)
            return await waiting
        except BaseException:
            self.close()
            raise
        finally:
            limit.cancel()
            self._waiting = None

    def close(self) -> None:
        """End it at once."""
        self.usable = False
        self._transport.abort()

    def _fail(self, error: Exception) -> None:
        self.usable = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    def _answer(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(Whole(self._parser.get_status_code(), self._headers, self._body))

    # --- called by the loop

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._waiting is None or self._waiting.done():
            self.close()
            return
        self._came += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(error)
        if self._came > LARGEST_ANSWER and not self._headed:
            self._fail(HttpParserError("a head without end"))

    def eof_received(self) -> None:
        """Nothing more comes; the transport closes itself."""
        self.usable = False

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that gives no length ends like this, if it is the other side that ends it; any other one is broken."""
        self.usable = False
        theirs = exc is None and self._handler.transport is not None
        if theirs and self._headed and not any(name in self._headers for name in _SIZES):
            self._answer()
        self._fail(ConnectionResetError("the connection ended"))
        self._handler.connection_lost(exc)
        self._connection.close()
        del self._parser  # it refers back: together they would wait for the cyclic collector

    # --- called by the parser

    def on_message_begin(self) -> None:
        """Begin an answer; what comes behind the one that was asked for spoils the connection."""
        if self._waiting is None or self._waiting.done():
            self.usable = False
        self._headers, self._body, self._headed = {}, b"", False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """All headers."""
        self._headed = True

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self._body += body
        if len(self._body) > LARGEST_ANSWER:
            self.usable = False
            self._answer()

    def on_message_complete(self) -> None:
        """The end; of an interim answer (1xx) it is not that of the call."""
        self._headed = False
        if self._parser.get_status_code() < 200:
            return
        if not self._parser.should_keep_alive():
            self.usable = False
        self._answer()
