"""The fake Meta's files over HTTP: uploaded, described, given out to who bears the token, deleted."""

import asyncio
from collections.abc import Callable

from aiohttp import BodyPartReader, web

from services.simulator.errors import GraphError
from services.simulator.files import LARGEST, File, node
from services.simulator.meta import Meta
from services.simulator.objections import unknown_object
from services.simulator.scheduler import Scheduler

_CHUNK = 64 * 1024


class MediaRoutes:
    """Handlers of `/{version}/{number}/media` and of the links given out; `unauthorised` says what is wrong with a call's token, `error` answers so."""

    def __init__(
        self,
        meta: Meta,
        scheduler: Scheduler,
        unauthorised: Callable[[web.Request], GraphError | None],
        error: Callable[[GraphError], web.Response],
    ) -> None:
        self._meta = meta
        self._scheduler = scheduler
        self._unauthorised = unauthorised
        self._error = error

    async def upload(self, request: web.Request) -> web.Response:
        """Take in a file as a form: `file`, `type`, `messaging_product`."""
        number = request.match_info["id"]
        refused = self._unauthorised(request)
        if refused is not None or self._meta.accounts.number(number) is None:
            return self._error(refused or unknown_object(number))
        if not request.content_type.startswith("multipart/"):
            return self._error(GraphError(100, "Param file must be uploaded as multipart/form-data."))
        fields: dict[str, str] = {}
        data: bytes | None = None
        async for part in await request.clone(client_max_size=2 * LARGEST).multipart():
            if not isinstance(part, BodyPartReader):
                continue
            if part.name == "file":
                data = bytes(await part.read())
                fields.setdefault("type", part.headers.get("Content-Type", ""))
            elif part.name is not None:
                fields[part.name] = await part.text()
        if fields.get("messaging_product") != "whatsapp":
            return self._error(GraphError(100, "The parameter messaging_product is required."))
        if data is None:
            return self._error(GraphError(100, "The parameter file is required."))
        file = self._meta.files.upload(number, fields["type"], data, self._scheduler.release())
        return self._error(file) if isinstance(file, GraphError) else web.json_response({"id": file.id})

    async def describe(self, request: web.Request) -> web.Response:
        """What is known of a file, with a link that lives 5 minutes."""
        now, id = self._scheduler.release(), request.match_info["id"]
        file = self._meta.files.find(id, now, request.query.get("phone_number_id"))
        refused = self._unauthorised(request)
        if refused is not None or file is None:
            return self._error(refused or unknown_object(id))
        return web.json_response(node(file, link(request, self._meta, file, now)))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a file."""
        id = request.match_info["id"]
        refused = self._unauthorised(request) or self._meta.files.delete(
            id, self._scheduler.release(), request.query.get("phone_number_id")
        )
        return self._error(refused) if refused else web.json_response({"success": True})

    async def download(self, request: web.Request) -> web.StreamResponse:
        """The bytes behind a link, for who bears the token."""
        query, now = request.query, self._scheduler.release()
        file = self._meta.files.linked(query.get("mid", ""), query.get("ext", ""), query.get("hash", ""), now)
        if self._unauthorised(request) is not None:
            return web.Response(status=401)
        return web.Response(status=404) if file is None else await _give(request, file)

    async def public(self, request: web.Request) -> web.StreamResponse:
        """The bytes of a file for anyone, as the links of Instagram and Messenger give them."""
        file = self._meta.files.find(request.match_info["id"], self._scheduler.release())
        return web.Response(status=404) if file is None else await _give(request, file)


def link(request: web.Request, meta: Meta, file: File, now: float) -> str:
    """The whole link, at the address the caller used."""
    return str(request.url.origin()) + meta.files.link(file, now)


async def _give(request: web.Request, file: File) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": file.mime_type})
    response.content_length = len(file.data)
    await response.prepare(request)
    cut, file.cut_after = file.cut_after, None
    chunk = _CHUNK if file.bytes_per_s is None else max(1, file.bytes_per_s // 10)
    for start in range(0, len(file.data), chunk):
        if cut is not None and start >= cut:
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write(file.data[start : start + chunk])
        if file.bytes_per_s is not None:
            await asyncio.sleep(0.1)
    await response.write_eof()
    return response
