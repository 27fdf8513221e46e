"""A form with a file in (as the Cloud API takes it), its fields and the file on disk out: checked before Meta hears of it, and never whole in memory.

The file may come before the field that says of what type it is, so it can't be handed on while it comes.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import IO, Any, NamedTuple, TypeVar

from aiohttp import BodyPartReader, ClientError, http_exceptions, web

from shared.message_content.files import FILE_KINDS, MAX_FILE, MAX_FILE_BYTES, kind_of

T = TypeVar("T")

_PIECE_BYTES = 256 * 1024
_MOST_FIELD_BYTES = 4096
_MOST_FIELDS = 16


class Unfit(Exception):
    """The form can't be taken; `field` says where, `status` is HTTP's."""

    def __init__(self, field: str, text: str, status: int = 400) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field
        self.status = status


class Upload(NamedTuple):
    """A file for sending, and the form's other fields."""

    file: IO[bytes]
    filename: str
    mime_type: str
    more: dict[str, str]
    """Without `messaging_product` and `type`."""


@asynccontextmanager
async def spooled(request: web.Request, silence_s: float) -> AsyncIterator[Upload]:
    """The upload, until the block ends; raises Unfit. `silence_s`: longest that nothing may come."""
    with tempfile.TemporaryFile() as file:
        try:
            yield await _read(request, file, silence_s)
        finally:
            await asyncio.to_thread(file.close)


async def _read(request: web.Request, file: IO[bytes], silence_s: float) -> Upload:
    if not request.content_type.startswith("multipart/"):
        raise Unfit("file", "must be uploaded as multipart/form-data")
    fields: dict[str, str] = {}
    name: str | None = None
    given_type = ""
    try:
        form = await request.multipart()
        while (part := await _within(form.next(), silence_s)) is not None:
            if not isinstance(part, BodyPartReader) or part.name is None or len(fields) >= _MOST_FIELDS:
                raise Unfit("form", "parts must be fields with a name, and few")
            if part.name != "file":
                fields[part.name] = await _text(part, silence_s)
                continue
            if name is not None:
                raise Unfit("file", "comes twice")
            name, given_type = part.filename or "file", part.headers.get("Content-Type", "")
            await _file(part, file, silence_s)
    except (ValueError, AssertionError, OSError, ClientError, http_exceptions.HttpProcessingError) as error:
        raise Unfit("form", f"broken: {type(error).__name__}") from None
    if fields.pop("messaging_product", None) != "whatsapp":
        raise Unfit("messaging_product", "must be `whatsapp`")
    if name is None:
        raise Unfit("file", "is missing")
    mime_type = fields.pop("type", "") or given_type
    kind = kind_of(mime_type)
    if kind is None:
        raise Unfit("type", f"{mime_type[:100]!r} is none of {', '.join(sorted(FILE_KINDS))}")
    size = await asyncio.to_thread(file.tell)
    if not size:
        raise Unfit("file", "is empty")
    if size > MAX_FILE_BYTES[kind]:
        raise _too_large(MAX_FILE_BYTES[kind])
    await asyncio.to_thread(file.seek, 0)
    return Upload(file, name, mime_type, fields)


async def _file(part: BodyPartReader, file: IO[bytes], silence_s: float) -> None:
    if part.headers.get("Content-Transfer-Encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
        raise Unfit("file", "must not be encoded for transfer")
    size = 0
    while piece := await _within(part.read_chunk(_PIECE_BYTES), silence_s):
        size += len(piece)
        if size > MAX_FILE:
            raise _too_large(MAX_FILE)
        await asyncio.to_thread(file.write, piece)


async def _text(part: BodyPartReader, silence_s: float) -> str:
    value = b""
    while piece := await _within(part.read_chunk(_MOST_FIELD_BYTES), silence_s):
        value += piece
        if len(value) > _MOST_FIELD_BYTES:
            raise Unfit(part.name or "form", "is too long")
    return value.decode()


async def _within(coming: Coroutine[Any, Any, T], silence_s: float) -> T:
    try:
        async with asyncio.timeout(silence_s):
            return await coming
    except TimeoutError:
        raise Unfit("form", f"nothing came for {silence_s:g} s", 408) from None


def _too_large(most: int) -> Unfit:
    return Unfit("file", f"is larger than the {most} bytes that Meta takes of this type", 413)
