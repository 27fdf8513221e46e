"""The media calls of business systems in, files and Meta's answers out.

    GET    /v1/media/{number}/{key}             a received file: from the store, or else from Meta into the store first
    DELETE /v1/media/{number}/{key}             our copy of it
    POST   /{version}/{number}/media            a file for sending, to Meta
    GET    /{version}/{media_id}                what Meta knows of a file, with a link to this edge in the place of Meta's
    DELETE /{version}/{media_id}                a file, at Meta and here

Source: Meta, Cloud API, media. Numbers and tokens are the middleware's own; the caller's token opens this edge only.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Literal, Protocol
from urllib.parse import quote

import structlog
from aiohttp import web

from services.ingress.media.failures import NotFetched, Reason
from services.ingress.media.fetching import Fetching
from services.ingress.media.library import Library
from services.ingress.media.meta import Files
from services.ingress.media.place import Place, Stored
from services.ingress.media.spool import Unfit, spooled
from services.ingress.media.store import StoreUnavailable
from services.ingress.media.wanted import on_demand
from shared import metrics
from shared.graph_calls import GraphFailure, GraphRefused
from shared.tokens import Credentials

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_VERSION = r"/{version:v\d+\.\d+}"
_REMEMBERED = 10_000
"""Ids of which it is remembered whose they are, so that Meta is asked once."""
_MOST_NUMBERS = 50
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\":;%]')
_INVALID, _UNAVAILABLE, _NOT_YOURS, _DOWNLOAD, _UPLOAD = 100, 2, 10, 131052, 131053
"""Meta's codes: invalid parameter, temporary downtime, permission, media download error, media upload error (Meta, Cloud API, error codes)."""
_STATUSES: dict[Reason, tuple[int, int]] = {
    "gone": (404, _INVALID),
    "too_large": (413, _DOWNLOAD),
    **dict.fromkeys(("refused", "forbidden_link", "checksum"), (502, _DOWNLOAD)),
    **dict.fromkeys(
        ("no_token", "unreachable", "link_stale", "store", "timeout", "expired"), (503, _UNAVAILABLE)
    ),
}
_UPLOADS = {outcome: metrics.MEDIA_UPLOADS.labels(outcome) for outcome in ("ok", "refused", "failed")}


class Caller(Protocol):
    """A business system."""

    def may_use(self, phone_number_id: str) -> bool:
        """Whether the number is its own."""
        ...

    def require(self, scope: Literal["send", "read", "manage"]) -> None:
        """Raises the edge's refusal without the scope."""
        ...


class Callers(Protocol):
    """Who is calling."""

    def caller(self, request: web.BaseRequest) -> Caller:
        """Raises the edge's refusal if nobody known."""
        ...


class Refuse(Protocol):
    """The edge's refusal of a call: an exception that is answered in Graph's shape."""

    def __call__(self, code: int, reason: str, text: str, *, status: int | None = None) -> Exception:
        """`code` is Meta's, `reason` ours, `status` HTTP's where it is not the code's own."""
        ...


def routes(calls: "MediaCalls") -> list[web.RouteDef]:
    """All routes."""
    return [
        web.get("/v1/media/{number}/{key}", calls.give),
        web.delete("/v1/media/{number}/{key}", calls.erase),
        web.post(_VERSION + "/{number}/media", calls.upload),
        web.get(_VERSION + "/{media_id}", calls.describe),
        web.delete(_VERSION + "/{media_id}", calls.delete),
    ]


class MediaCalls:
    """The handlers.

    Args:
        numbers: all that are known.
        credentials: those of a number, None if it has none.
        at_once: downloads from Meta that callers wait for, and uploads to it, at once each; more wait their turn.
        silence_s: longest that an upload may send nothing.
        public_url: the edge's root for links; None: as the call named it.
    """

    def __init__(
        self,
        callers: Callers,
        refuse: Refuse,
        library: Library,
        fetching: Fetching,
        meta: Files,
        numbers: Callable[[], Iterable[str]],
        credentials: Callable[[str], Credentials | None],
        *,
        at_once: int,
        silence_s: float,
        public_url: str | None = None,
    ) -> None:
        self._callers = callers
        self._refuse = refuse
        self._library = library
        self._fetching = fetching
        self._meta = meta
        self._numbers = numbers
        self._credentials = credentials
        self._downloads = asyncio.Semaphore(at_once)
        self._uploads = asyncio.Semaphore(at_once)
        self._silence_s = silence_s
        self._public_url = public_url
        self._owners: OrderedDict[str, str] = OrderedDict()

    # --- received files

    async def give(self, request: web.Request) -> web.StreamResponse:
        """The bytes, whole or a range; a file once stored never changes, so its checksum is its ETag."""
        place = self._place(request, "read")
        stored = await self._stored(place)
        headers = _headers(stored)
        if any(tag.value in (stored.sha256, "*") for tag in request.if_none_match or ()):
            return web.Response(status=304, headers={"ETag": headers["ETag"]})
        start, end, partial = self._range(request, stored)
        try:
            pieces = await self._library.read(place, start, end)
        except StoreUnavailable as error:
            raise self._refuse(_UNAVAILABLE, "store", str(error), status=503) from error
        if pieces is None:
            raise self._refuse(_INVALID, "gone", "the file has just been erased", status=404)
        response = web.StreamResponse(status=206 if partial else 200, headers=headers)
        if partial:
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.bytes}"
        response.content_length = end - start
        await response.prepare(request)
        if request.method != "HEAD":
            await _write(request, response, pieces)
        await response.write_eof()
        return response

    async def erase(self, request: web.Request) -> web.Response:
        """Delete our copy; what Meta has is its own."""
        place = self._place(request, "manage")
        try:
            await self._library.erase(place)
        except StoreUnavailable as error:
            raise self._refuse(_UNAVAILABLE, "store", str(error), status=503) from error
        return web.json_response({"success": True})

    async def _stored(self, place: Place) -> Stored:
        try:
            if (stored := await self._library.find(place)) is not None:
                return stored
            wanted = on_demand(place)
            if wanted is None:
                raise NotFetched("gone", "it came as a link and is not stored")
            async with self._downloads:
                stored = await self._fetching.fetch(wanted)
        except StoreUnavailable as error:
            raise self._refuse(_UNAVAILABLE, "store", str(error), status=503) from error
        except NotFetched as failure:
            metrics.MEDIA_FILES.labels(failure.reason).inc()
            status, code = _STATUSES[failure.reason]
            raise self._refuse(code, failure.reason, failure.text, status=status) from failure
        metrics.MEDIA_FILES.labels("stored").inc()
        return stored

    def _range(self, request: web.Request, stored: Stored) -> tuple[int, int, bool]:
        """From where up to, without, where; and whether that is a part. A range of another version (`If-Range`) is the whole."""
        condition = request.headers.get("If-Range")
        if "Range" not in request.headers or condition not in (None, f'"{stored.sha256}"'):
            return 0, stored.bytes, False
        try:
            start, end, _ = request.http_range.indices(stored.bytes)
        except ValueError:
            return 0, stored.bytes, False  # not bytes, or several: to be ignored (RFC 9110, range)
        if start >= end:
            raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{stored.bytes}"})
        return start, end, True

    # --- Meta's files

    async def upload(self, request: web.Request) -> web.Response:
        """Hand a file on to Meta; its answer."""
        caller = self._callers.caller(request)
        caller.require("send")
        number = self._own(caller, request.match_info["number"])
        credentials = self._token(number)
        try:
            async with self._uploads, spooled(request, self._silence_s) as upload:
                answer = await self._meta.upload(
                    number, upload.file, upload.mime_type, upload.filename, upload.more, credentials
                )
        except Unfit as unfit:
            _UPLOADS["refused"].inc()
            code = _UPLOAD if unfit.status == 413 else _INVALID
            raise self._refuse(code, "malformed", str(unfit), status=unfit.status) from unfit
        except GraphFailure as failure:
            _UPLOADS["refused" if isinstance(failure, GraphRefused) else "failed"].inc()
            raise self._by_meta(failure) from failure
        _UPLOADS["ok"].inc()
        self._remember(str(answer.get("id", "")), number)
        return web.json_response(answer)

    async def describe(self, request: web.Request) -> web.Response:
        """Meta's own answer but for the link, which leads here."""
        caller = self._callers.caller(request)
        caller.require("read")
        number, answer = await self._node(request, caller)
        root = self._public_url or str(request.url.origin())
        place = Place(number, request.match_info["media_id"])
        return web.json_response({**answer, "url": root.rstrip("/") + place.path})

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a file at Meta, and our copy of it."""
        caller = self._callers.caller(request)
        caller.require("send")
        number, answer = await self._node(request, caller)
        try:
            await self._library.erase(Place(number, request.match_info["media_id"]))
        except StoreUnavailable as error:
            raise self._refuse(
                _UNAVAILABLE, "store", f"deleted at Meta, not here: {error}", status=503
            ) from error
        self._owners.pop(request.match_info["media_id"], None)
        return web.json_response(answer)

    async def _node(self, request: web.Request, caller: Caller) -> tuple[str, dict[str, Any]]:
        """Meta's answer about a file, and the number whose it is: the one the call names, or that of the caller's numbers whose Meta says it is.

        Meta is always asked for a number's file, never for any file that a token may see: several callers may share an account.
        """
        media_id, named = request.match_info["media_id"], request.query.get("phone_number_id")
        if not Place("0", media_id).valid:
            raise self._refuse(_INVALID, "malformed", "the id is none that a file can have")
        refused: GraphFailure | None = None
        for number in [self._own(caller, named)] if named is not None else self._likely(caller, media_id):
            try:
                answer = await self._meta.node(request.method, media_id, number, self._token(number))
            except GraphRefused as failure:
                refused = failure
                if failure.answer.code != _INVALID:
                    break
            except GraphFailure as failure:
                refused = failure
                break
            else:
                self._remember(media_id, number)
                return number, answer
        if refused is None:
            raise self._refuse(
                _INVALID, "gone", "the token may use no number that could have this file", status=404
            )
        raise self._by_meta(refused) from refused

    def _likely(self, caller: Caller, media_id: str) -> list[str]:
        """The numbers whose file it may be, the likeliest first."""
        known = self._owners.get(media_id)
        own = [number for number in self._numbers() if number != known and caller.may_use(number)]
        if known is not None and caller.may_use(known):
            return [known, *own[:_MOST_NUMBERS]]
        if len(own) > _MOST_NUMBERS:
            raise self._refuse(
                _INVALID, "malformed", "the token may use many numbers: name one in `phone_number_id`"
            )
        return own

    def _remember(self, media_id: str, number: str) -> None:
        self._owners[media_id] = number
        self._owners.move_to_end(media_id)
        while len(self._owners) > _REMEMBERED:
            self._owners.popitem(last=False)

    # --- who may

    def _place(self, request: web.Request, scope: Literal["read", "manage"]) -> Place:
        caller = self._callers.caller(request)
        caller.require(scope)
        place = Place(request.match_info["number"], request.match_info["key"])
        if not place.valid:
            raise self._refuse(_INVALID, "malformed", "the path is none that a file can have")
        self._own(caller, place.number)
        return place

    def _own(self, caller: Caller, number: str) -> str:
        if not caller.may_use(number):
            raise self._refuse(
                _NOT_YOURS, "permission_missing", "the token may not use this phone number", status=403
            )
        return number

    def _token(self, number: str) -> Credentials:
        credentials = self._credentials(number)
        if credentials is None:
            raise self._refuse(
                _UNAVAILABLE, "no_token", "the middleware has no token for this number", status=503
            )
        return credentials

    def _by_meta(self, failure: GraphFailure) -> Exception:
        if isinstance(failure, GraphRefused):
            answer = failure.answer
            return self._refuse(answer.code or _UNAVAILABLE, "meta", str(failure), status=answer.http_status)
        return self._refuse(_UNAVAILABLE, "unavailable", str(failure), status=503)


def _headers(stored: Stored) -> dict[str, str]:
    """What a stranger sent is only ever saved, never shown or run."""
    return {
        "Content-Type": stored.mime_type,
        "Content-Disposition": _saved_as(stored.filename),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "bytes",
        "ETag": f'"{stored.sha256}"',
    }


def _saved_as(filename: str | None) -> str:
    """A name without a way to anywhere else; one form of it alone, for some clients take all that follows `filename=` (RFC 6266)."""
    name = _UNSAFE.sub("_", filename or "").lstrip(".")[:200]
    if not name:
        return "attachment"
    if name.isascii():
        return f'attachment; filename="{name}"'
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


async def _write(request: web.Request, response: web.StreamResponse, pieces: AsyncIterator[bytes]) -> None:
    try:
        async for piece in pieces:
            await response.write(piece)
            metrics.MEDIA_GIVEN_BYTES.inc(len(piece))
    except StoreUnavailable as error:
        log.error("media_broke_off", error=str(error))
        if request.transport is not None:
            request.transport.abort()  # the head is out: only a broken connection says that something is missing
