"""The Graph API: one POST per message out, what it came to back. The only place that knows Meta's URLs.

Nothing of a session is needed: no cookies, no redirects, no retries (docs/decisions/0013-what-a-send-costs.md).
"""

import asyncio
from collections import deque
from functools import lru_cache
from math import inf
from time import monotonic
from urllib.parse import quote, urlencode

from aiohttp import ClientError, ClientRequest, ClientTimeout, TCPConnector
from httptools import HttpParserError, HttpParserUpgrade
from yarl import URL

from services.sender.answers import Answer, NoAnswer, NotSent, Refused, read
from services.sender.wire import Wire
from shared.events import Endpoint
from shared.metrics import GRAPH_SECONDS
from shared.tokens import Credentials

KEEPALIVE_S = 10.0
"""Idle connections are closed by us before Meta closes them: a request written into a closing connection is an uncertain send."""
HEADS = 4096
"""Heads of requests kept ready; one is some 300 bytes, and a number has one or two."""
_FAILURES = (ClientError, HttpParserError, HttpParserUpgrade, TimeoutError, OSError)


class Graph:
    """A part that calls `POST {url}/{version}/{phone_number_id}/messages`, or `/marketing_messages`.

    Nothing is ever repeated here: Meta has no idempotency key. A failure before there is a connection to write into is certain, any later one is not.
    """

    def __init__(self, url: str, version: str, *, timeout_s: float, connect_timeout_s: float) -> None:
        self._root = URL(f"{url.rstrip('/')}/{version}")
        self._timeout_s = timeout_s
        self._connect_timeout = ClientTimeout(connect=connect_timeout_s)
        self._head = lru_cache(HEADS)(self._headed)
        self._idle: deque[tuple[float, Wire]] = deque()
        """With since when, ascending; the latest is taken first."""
        self._loop: asyncio.AbstractEventLoop
        self._sweeping: asyncio.TimerHandle
        self._connector: TCPConnector
        self._way: ClientRequest
        """Whom to connect to and how; never sent itself."""

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Unbounded here: the desk bounds the calls, and a wait for a connection would look like an unreachable platform.
        self._connector = TCPConnector(limit=0)
        self._way = ClientRequest("POST", self._root, loop=self._loop)
        self._sweeping = self._loop.call_later(KEEPALIVE_S, self._sweep)

    async def stop(self) -> None:
        self._sweeping.cancel()
        await self._connector.close()

    async def send(
        self,
        phone_number_id: str,
        credentials: Credentials,
        body: bytes,
        endpoint: Endpoint = "messages",
        *,
        start_within_s: float = inf,
    ) -> Answer:
        """Post one message, or don't if there is a connection too late; every failure is an answer too."""
        try:
            head = self._head(phone_number_id, endpoint, credentials)
        except ValueError:
            # Not NotSent: that would hold everybody back, and it is this account's token.
            return Refused(401, 0, "the access token is not one line of text")
        started = monotonic()
        try:
            wire = await self._connected()
        except _FAILURES as failure:
            return NotSent(type(failure).__name__)
        if monotonic() - started > start_within_s:
            self._idle.append((monotonic(), wire))
            return NotSent("too_late", reached=True)
        try:
            answer = await wire.call(b"%b%d\r\n\r\n%b" % (head, len(body), body), self._timeout_s)
        except _FAILURES as failure:
            return NoAnswer(type(failure).__name__)
        finally:
            GRAPH_SECONDS.observe(monotonic() - started)
        if wire.usable:
            self._idle.append((monotonic(), wire))
        else:
            wire.close()
        return read(answer.status, answer.body, answer.headers)

    async def _connected(self) -> Wire:
        long_ago_s = monotonic() - KEEPALIVE_S
        while self._idle:
            since_s, wire = self._idle.pop()
            if wire.usable and since_s > long_ago_s:
                return wire
            wire.close()
        return Wire(await self._connector.connect(self._way, [], self._connect_timeout))

    def _sweep(self) -> None:
        """Close what has been idle for long."""
        long_ago_s = monotonic() - KEEPALIVE_S
        while self._idle and self._idle[0][0] < long_ago_s:
            self._idle.popleft()[1].close()
        self._sweeping = self._loop.call_later(KEEPALIVE_S, self._sweep)

    def _headed(self, phone_number_id: str, endpoint: Endpoint, credentials: Credentials) -> bytes:
        """A request up to the length of its body; ValueError if the token is not one line of text."""
        target = f"{self._root.raw_path}/{quote(phone_number_id, safe='')}/{endpoint}"
        if credentials.query:
            target += f"?{urlencode(credentials.query)}"
        headers = {
            "Host": self._way.headers["Host"],
            **credentials.headers,
            "Content-Type": "application/json",
        }
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if not all(map(str.isprintable, lines)):
            raise ValueError("a control character in the head")
        return "\r\n".join([*lines, "Content-Length: "]).encode()
