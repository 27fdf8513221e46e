"""Adapter to Meta for files: what is known of one, its bytes, a new one, none any more.

Source: Meta, Cloud API, media. The token goes only where `addresses` lets it.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import IO, Any, NamedTuple, Protocol

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, FormData, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from services.ingress.media.addresses import Address, address, host_of, is_public
from services.ingress.media.failures import LinkStale, NotFetched
from services.ingress.media.place import Place
from services.ingress.media.settings import MediaSettings
from shared.graph_calls import GraphCalls, GraphRefused, GraphUnavailable
from shared.tokens import Credentials

_PIECE_BYTES = 64 * 1024
_MOST_REDIRECTS = 3
_NO_SUCH_OBJECT = 100
"""Meta's error for an id that it does not know, or not for this number."""


class Description(NamedTuple):
    """What Meta says of a file; the link lives 5 minutes, `sha256` is hex or Base64."""

    url: str
    mime_type: str | None
    sha256: str | None
    bytes: int | None


class Download(NamedTuple):
    """A file on its way; `size` in bytes, as announced."""

    mime_type: str | None
    size: int | None
    pieces: AsyncIterator[bytes]


class Files(Protocol):
    """Meta's files."""

    async def describe(self, place: Place, credentials: Credentials) -> Description:
        """What is known of a received file. Raises NotFetched."""
        ...

    def download(self, url: str, credentials: Credentials | None) -> AbstractAsyncContextManager[Download]:
        """The bytes behind a link. Raises LinkStale or NotFetched, at once or while it is read."""
        ...

    async def node(self, method: str, media_id: str, number: str, credentials: Credentials) -> dict[str, Any]:
        """Meta's own answer to GET or DELETE of a file of a number. Raises GraphFailure."""
        ...

    async def upload(
        self,
        number: str,
        file: IO[bytes],
        mime_type: str,
        filename: str,
        more: dict[str, str],
        credentials: Credentials,
    ) -> dict[str, Any]:
        """Meta's own answer to a new file. Raises GraphFailure."""
        ...


class MetaFiles:
    """A part that calls Meta."""

    def __init__(self, settings: MediaSettings) -> None:
        self._graph_url = settings.graph_url
        self._calls = GraphCalls.of(settings)
        self._uploads = GraphCalls(
            settings.graph_url,
            settings.graph_version,
            timeout_s=settings.media_timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
        )
        self._timeout = ClientTimeout(
            total=settings.media_timeout_s,
            sock_connect=settings.connect_timeout_s,
            sock_read=settings.media_silence_s,
        )
        self._session: ClientSession

    async def start(self) -> None:
        await self._calls.start()
        await self._uploads.start()
        self._session = ClientSession(
            timeout=self._timeout,
            connector=TCPConnector(limit=0, resolver=PublicResolver(host_of(self._graph_url))),
            # Bytes are kept as they are; unpacking could make any number of them.
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def stop(self) -> None:
        await self._session.close()
        await self._uploads.stop()
        await self._calls.stop()

    async def describe(self, place: Place, credentials: Credentials) -> Description:
        try:
            found = await self.node("GET", place.key, place.number, credentials)
        except GraphRefused as refused:
            gone = refused.answer.code == _NO_SUCH_OBJECT or refused.answer.http_status == 404
            raise NotFetched("gone" if gone else "refused", str(refused)[:200]) from None
        except GraphUnavailable as unavailable:
            raise NotFetched("unreachable", str(unavailable)) from None
        url, size = found.get("url"), found.get("file_size")
        if not isinstance(url, str):
            raise NotFetched("refused", "an answer without a link")
        return Description(url, _text(found.get("mime_type")), _text(found.get("sha256")), _number(size))

    async def node(self, method: str, media_id: str, number: str, credentials: Credentials) -> dict[str, Any]:
        _, answer, _ = await self._calls.call(
            method, media_id, credentials, query={"phone_number_id": number}
        )
        return answer

    async def upload(
        self,
        number: str,
        file: IO[bytes],
        mime_type: str,
        filename: str,
        more: dict[str, str],
        credentials: Credentials,
    ) -> dict[str, Any]:
        form = FormData({"messaging_product": "whatsapp", "type": mime_type, **more})
        form.add_field("file", file, content_type=mime_type, filename=filename)
        _, answer, _ = await self._uploads.call("POST", f"{number}/media", credentials, form=form)
        return answer

    @asynccontextmanager
    async def download(self, url: str, credentials: Credentials | None) -> AsyncIterator[Download]:
        follow = url
        for _ in range(_MOST_REDIRECTS + 1):
            to = address(follow, self._graph_url)
            if to is None:
                raise NotFetched("forbidden_link", host_of(follow) or "")
            async with self._opened(to, credentials) as response:
                if response.status in (301, 302, 303, 307, 308):
                    follow = _onward(response)
                    continue
                if response.status in (403, 404, 410):
                    raise LinkStale
                if response.status != 200:
                    raise NotFetched("refused", f"HTTP {response.status}")
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise NotFetched("refused", "an encoded answer")
                mime_type = response.headers.get("Content-Type")
                yield Download(mime_type, response.content_length, _pieces(response.content))
                return
        raise NotFetched("forbidden_link", "too many redirections")

    @asynccontextmanager
    async def _opened(self, to: Address, credentials: Credentials | None) -> AsyncIterator[ClientResponse]:
        headers = credentials.headers if credentials is not None and to.token else {}
        try:
            response = await self._session.get(to.url, headers=headers, allow_redirects=False)
        except (ClientError, OSError, ValueError) as failure:
            # Not `from failure`: its text may hold the link, which is as good as the file.
            raise NotFetched("unreachable", type(failure).__name__) from None
        async with response:
            yield response


async def _pieces(content: Any) -> AsyncIterator[bytes]:
    try:
        async for piece in content.iter_chunked(_PIECE_BYTES):
            yield piece
    except (ClientError, OSError) as failure:
        raise NotFetched("unreachable", f"broke off: {type(failure).__name__}") from None


def _onward(response: ClientResponse) -> str:
    """Where an answer redirects to; empty for nowhere that can be read."""
    try:
        return str(response.url.join(URL(response.headers["Location"])))
    except (KeyError, ValueError):
        return ""


class PublicResolver(AbstractResolver):
    """Finds addresses of the open internet only; those of `trusted`, a host named by the settings, wherever they are."""

    def __init__(self, trusted: str | None) -> None:
        self._trusted = trusted
        self._resolver = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if host != self._trusted:
            found = [result for result in found if is_public(result["host"])]
        if not found:
            raise OSError(f"{host} has no public address")
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    """Meta writes sizes as numbers, and as their digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:18])
    return value if isinstance(value, int) else None
