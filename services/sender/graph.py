"""The Graph API: one POST per message out, what it came to back. The only place that knows Meta's URLs."""

from time import monotonic

import aiohttp
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from services.sender.answers import Answer, NoAnswer, NotSent, read
from shared.events import Endpoint
from shared.metrics import GRAPH_SECONDS
from shared.tokens import Credentials

KEEPALIVE_S = 10.0
"""Idle connections are closed by us before Meta closes them: a request written into a closing connection is an uncertain send."""
LARGEST_ANSWER = 64 * 1024
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""Failures before there was a connection to write the request into."""


class Graph:
    """A part that calls `POST {url}/{version}/{phone_number_id}/messages`, or `/marketing_messages`.

    Nothing is ever repeated here: Meta has no idempotency key. A failure to connect is certain, any later one is not.
    """

    def __init__(self, url: str, version: str, *, timeout_s: float, connect_timeout_s: float) -> None:
        self._root = f"{url.rstrip('/')}/{version}"
        self._timeout = ClientTimeout(total=timeout_s, connect=connect_timeout_s)
        self._session: ClientSession

    async def start(self) -> None:
        self._session = ClientSession(
            # Unbounded here: the desk bounds the calls, and a wait for a connection would look like an unreachable platform.
            connector=TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            timeout=self._timeout,
            cookie_jar=DummyCookieJar(),
            raise_for_status=False,
        )

    async def stop(self) -> None:
        await self._session.close()

    async def send(
        self, phone_number_id: str, credentials: Credentials, body: bytes, endpoint: Endpoint = "messages"
    ) -> Answer:
        """Post one message; every failure is an answer too."""
        started = monotonic()
        try:
            async with self._session.post(
                f"{self._root}/{phone_number_id}/{endpoint}",
                data=body,
                params=credentials.query,
                headers={**credentials.headers, "Content-Type": "application/json"},
                allow_redirects=False,
            ) as response:
                answer = await response.content.read(LARGEST_ANSWER)
                while not response.content.at_eof() and len(answer) < LARGEST_ANSWER:
                    answer += await response.content.read(LARGEST_ANSWER - len(answer))
                return read(response.status, answer, response.headers)
        except _NOT_CONNECTED as failure:
            return NotSent(type(failure).__name__)
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            return NoAnswer(type(failure).__name__)
        finally:
            GRAPH_SECONDS.observe(monotonic() - started)
