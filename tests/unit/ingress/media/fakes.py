"""A store in memory, a Meta that gives what it is told to, and business systems by name."""

import base64
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Literal

from aiohttp import web
from pydantic import SecretStr

from services.ingress.media.failures import LinkStale, NotFetched
from services.ingress.media.meta import Description, Download
from services.ingress.media.place import Place
from services.ingress.media.store import StoreUnavailable
from shared.clock import ManualClock
from shared.graph_answers import Refused
from shared.graph_calls import GraphRefused
from shared.tokens import Credentials

CREDENTIALS = Credentials(SecretStr("meta-token"))


class MemoryStore:
    """Values in a dict; `away` makes it refuse."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.types: dict[str, str | None] = {}
        self.away = False

    async def put(self, key: str, value: bytes | AsyncIterator[bytes], mime_type: str | None = None) -> None:
        self._serve()
        whole = value if isinstance(value, bytes) else b"".join([piece async for piece in value])
        self.values[key], self.types[key] = whole, mime_type

    async def read(self, key: str) -> bytes | None:
        self._serve()
        return self.values.get(key)

    async def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes] | None:
        self._serve()
        value = self.values.get(key)
        return None if value is None else _cut(value[start:end])

    async def delete(self, keys: Sequence[str]) -> None:
        self._serve()
        for key in keys:
            self.values.pop(key, None)

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        self._serve()
        for key in [key for key in self.values if key.startswith(prefix + "/")]:
            yield key

    def _serve(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


async def _cut(value: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(value), 1000):
        yield value[start : start + 1000]


@dataclass
class MetaFile:
    """A file at the fake Meta."""

    data: bytes
    number: str = "106"
    mime_type: str = "image/jpeg"
    sha256: str | None = None
    told_bytes: int | None = None
    stale_links: int = 0
    """So many links are stale as soon as they are given."""
    breaks_off: int = 0
    """So many downloads break off in the middle."""
    takes_s: float = 0
    """By so much the clock goes on while it is downloaded."""


@dataclass
class FakeMeta:
    """Meta's files by id; `asked` and `downloads` count."""

    files: dict[str, MetaFile] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    downloads: list[tuple[str, bool]] = field(default_factory=list)
    uploads: list[dict[str, Any]] = field(default_factory=list)
    clock: ManualClock | None = None

    async def describe(self, place: Place, credentials: Credentials) -> Description:
        self.asked.append(("describe", place.number, place.key))
        file = self.files.get(place.key)
        if file is None or file.number != place.number:
            raise NotFetched("gone")
        return Description(
            f"https://lookaside.fbsbx.com/{place.key}", file.mime_type, file.sha256, file.told_bytes
        )

    @asynccontextmanager
    async def download(self, url: str, credentials: Credentials | None) -> AsyncIterator[Download]:
        self.downloads.append((url, credentials is not None))
        file = self.files[url.rpartition("/")[2]]
        if file.stale_links:
            file.stale_links -= 1
            raise LinkStale
        yield Download(file.mime_type, None, self._pieces(file))

    async def _pieces(self, file: MetaFile) -> AsyncIterator[bytes]:
        if self.clock is not None:
            self.clock.advance(file.takes_s)
        async for piece in _cut(file.data):
            yield piece
            if file.breaks_off:
                file.breaks_off -= 1
                raise NotFetched("unreachable", "broke off")

    async def node(self, method: str, media_id: str, number: str, credentials: Credentials) -> dict[str, Any]:
        self.asked.append((method, number, media_id))
        file = self.files.get(media_id)
        if file is None or file.number != number:
            raise GraphRefused(Refused(400, 100, "no such object"))
        if method == "DELETE":
            del self.files[media_id]
            return {"success": True}
        return {"id": media_id, "url": f"https://lookaside.fbsbx.com/{media_id}", "mime_type": file.mime_type}

    async def upload(
        self,
        number: str,
        file: IO[bytes],
        mime_type: str,
        filename: str,
        more: dict[str, str],
        credentials: Credentials,
    ) -> dict[str, Any]:
        data = file.read()
        self.uploads.append(
            {"number": number, "data": data, "mime_type": mime_type, "filename": filename, **more}
        )
        self.files["9001"] = MetaFile(data, number, mime_type)
        return {"id": "9001"}


class Refusal(Exception):
    """The edge's refusal, as the test application answers it."""

    def __init__(self, code: int, reason: str, text: str, *, status: int | None = None) -> None:
        super().__init__(text)
        self.code, self.reason, self.status = code, reason, status or 400


class FakeCaller:
    """May use some numbers, for some scopes."""

    def __init__(self, numbers: set[str], scopes: set[str]) -> None:
        self._numbers, self._scopes = numbers, scopes

    def may_use(self, phone_number_id: str) -> bool:
        return phone_number_id in self._numbers

    def require(self, scope: Literal["send", "read", "manage"]) -> None:
        if scope not in self._scopes:
            raise Refusal(200, "permission_missing", scope, status=403)


class FakeCallers:
    """Callers by token."""

    def __init__(self, **callers: FakeCaller) -> None:
        self._callers = callers

    def caller(self, request: web.BaseRequest) -> FakeCaller:
        caller = self._callers.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if caller is None:
            raise Refusal(190, "token_invalid", "nobody", status=401)
        return caller


@web.middleware
async def refusals(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answers as the edge does, in short."""
    try:
        response: web.StreamResponse = await handler(request)
    except Refusal as refusal:
        return web.json_response(
            {"code": refusal.code, "reason": refusal.reason, "text": str(refusal)}, status=refusal.status
        )
    return response


def sha_base64(data: bytes) -> str:
    """As webhooks tell a checksum."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
