"""Bodies of calls: read whole, within a time and a size, or refused."""

import asyncio

import msgspec
from aiohttp import ClientError, http_exceptions, web

from services.ingress.edge.errors import INVALID, Refusal

LARGEST: int = 4 * 1024 * 1024
"""A list of a thousand requests has well below a megabyte."""


async def body_of(request: web.Request, seconds: float, largest: int = LARGEST) -> bytes:
    """The whole body; raises Refusal (408 too slow, 413 too large, 415 encoded, 400 cut off)."""
    if "Content-Encoding" in request.headers:
        raise _refused(415, "content_encoded", "send the body without Content-Encoding")
    if (request.content_length or 0) > largest:
        raise _refused(413, "too_large", f"the body has more than {largest} bytes")
    chunks, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            while not request.content.at_eof():
                chunk = await request.content.readany()
                chunks.append(chunk)
                size += len(chunk)
                if size > largest:
                    raise _refused(413, "too_large", f"the body has more than {largest} bytes")
    except TimeoutError:
        raise _refused(408, "too_slow", f"the body did not come within {seconds:g} s") from None
    except (OSError, ClientError, http_exceptions.HttpProcessingError):
        raise _refused(400, "truncated", "the body ended early") from None
    return b"".join(chunks)


def json_answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer of a struct, or of JSON that is bytes already."""
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def _refused(status: int, reason: str, text: str) -> Refusal:
    return Refusal(INVALID, reason, text, status=status)
