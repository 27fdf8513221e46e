"""The HTTP client of one endpoint: a body out, an answer in. Nothing but public addresses is ever connected to, unless that is allowed."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from services.push.addresses import is_public
from services.push.answers import Answer, of_status
from services.push.wall import now_ms

SAID_BYTES = 512
"""So much of an answer is kept."""
_READ_BYTES = 64 * 1024
"""So much of it is read, that the connection can serve again; beyond, the connection goes."""
_CONNECT_S = 5.0


class Forbidden(OSError):
    """The address is none that webhooks may go to."""


class HttpClient:
    """Keeps up to `connections` connections to one URL. Redirects are not followed, proxies of the environment not used."""

    def __init__(
        self,
        url: str,
        *,
        connections: int,
        timeout_s: float,
        allow_private: bool,
        resolve: Callable[..., list[Any]] = socket.getaddrinfo,
    ) -> None:
        self._url = url
        self._connections = connections
        self._timeout_s = timeout_s
        self._allow_private = allow_private
        self._resolve = resolve
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make ready to connect."""
        connector = aiohttp.TCPConnector(
            limit=self._connections,
            keepalive_timeout=30,
            resolver=_OwnResolver(self._resolve),
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=_CONNECT_S),
            headers={"Content-Type": "application/json", "User-Agent": "wa-middleware-push/1"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def stop(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def post(self, body: bytes, headers: dict[str, str]) -> Answer:
        """One POST, and what the answer means; no answer is one too."""
        return await self._call("POST", data=body, headers=headers)

    async def get(self) -> Answer:
        """One GET."""
        return await self._call("GET")

    async def _call(self, method: str, **what: Any) -> Answer:
        if self._session is None:
            raise RuntimeError("not started")
        try:
            async with self._session.request(method, self._url, allow_redirects=False, **what) as response:
                said = await _begin_of(response)
                return of_status(response.status, response.headers.get("Retry-After"), said, now_ms())
        except aiohttp.ClientConnectorCertificateError:
            return Answer("failed", "TLS: certificate not valid", unreachable=True)
        except aiohttp.ClientConnectorError as error:
            return Answer("failed", _why(error), unreachable=True)
        except aiohttp.ConnectionTimeoutError:
            return Answer("failed", "no connection in time", unreachable=True)
        except TimeoutError:
            return Answer("failed", f"no answer within {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Answer("failed", f"broken off: {type(error).__name__}")

    def _socket(self, address: Any) -> socket.socket:
        """The socket to connect to an address by: here each connection passes, whatever its name resolved to."""
        family, kind, protocol, _, where = address
        if not self._allow_private and not is_public(ipaddress.ip_address(str(where[0]))):
            raise Forbidden(f"{where[0]} is no public address")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


class _OwnResolver(AbstractResolver):
    """Looks names up on a thread of its own: a name server that does not answer holds up no other endpoint."""

    def __init__(self, resolve: Callable[..., list[Any]]) -> None:
        self._resolve = resolve
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="push-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._thread, lambda: self._resolve(host, port, family=family, type=socket.SOCK_STREAM)
        )
        return [
            ResolveResult(
                hostname=host, host=where[0], port=where[1], family=kind, proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, where in found
        ]  # fmt: skip

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


async def _begin_of(response: aiohttp.ClientResponse) -> bytes:
    """The first bytes of a body; what is longer than is worth reading ends with its connection."""
    said = b""
    read = 0
    while chunk := await response.content.readany():
        said = (said + chunk)[:SAID_BYTES] if len(said) < SAID_BYTES else said
        read += len(chunk)
        if read > _READ_BYTES:
            response.close()
            break
    return said


def _why(error: aiohttp.ClientConnectorError) -> str:
    """The kind of trouble; never the text, which may hold the address."""
    cause = error.os_error
    if isinstance(cause, Forbidden) or "is no public address" in str(cause):
        return "address is not public"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "name not found"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason or 'refused'}"
    return f"no connection: {type(cause).__name__}"
