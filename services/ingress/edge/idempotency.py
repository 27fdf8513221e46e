"""`Idempotency-Key`: of sends it is the request's id; any other POST is made once under its key, and answered the same again for a day."""

import hashlib
import uuid
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from services.ingress.edge import verdicts
from services.ingress.edge.bodies import json_answer
from services.ingress.edge.errors import INVALID, Refusal, invalid
from services.ingress.edge.index import Index, StoredAnswer
from services.ingress.requests import is_request_id

log = structlog.get_logger(__name__)

HEADER = "Idempotency-Key"
_KEPT_S = 24 * 3600.0
_LEASE_S = 60.0
"""Longer than any call takes; after it a call whose process died may be made again."""


def key_of(request: web.BaseRequest) -> str | None:
    """The key; raises Refusal when it is none that a request may have as its id."""
    key = request.headers.get(HEADER)
    if key is not None and not is_request_id(key):
        raise invalid(f"{HEADER}: 1 to 200 of the characters A-Z a-z 0-9 . _ : / + = @ , ~ -", HEADER)
    return key


def request_id_of(request: web.BaseRequest) -> str:
    """The id of the send request that a call makes: its key, or one of ours."""
    return key_of(request) or f"edge-{uuid.uuid4().hex}"


class Repeats:
    """Calls that are made once per key."""

    def __init__(self, index: Index) -> None:
        self._index = index

    async def once(
        self, request: web.Request, caller: str, body: bytes, call: Callable[[], Awaitable[bytes]]
    ) -> web.Response:
        """What `call` answers (JSON), or what it answered before to the same key and body; raises what it raises, which is not kept."""
        key = key_of(request)
        if key is None:
            return json_answer(await call())
        name = f"{caller} {request.method} {request.path} {key}"
        digest = hashlib.sha256(body).digest()
        before = await self._index.begin(name, digest, _LEASE_S)
        if before is not None:
            if before.body != digest:
                raise verdicts.conflict()
            if not before.status:
                raise Refusal(
                    INVALID,
                    "in_progress",
                    "the first call of this key is under way",
                    status=409,
                    retry_after_s=1,
                )
            return json_answer(before.answer, before.status, {"Idempotent-Replayed": "true"})
        try:
            answer = await call()
        except Refusal:
            await self._index.abandon(name)
            raise
        await self._index.finish(name, StoredAnswer(digest, 200, answer), _KEPT_S)
        return json_answer(answer)
