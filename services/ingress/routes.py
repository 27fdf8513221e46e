"""Meta's HTTP requests in; records to publish and an answer out. 200 only after Kafka has acknowledged everything.

Source: Meta, webhooks, getting started (handshake, X-Hub-Signature-256 over the raw bytes) and delivery (anything but 200 is sent again for days).
"""

import asyncio
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from aiohttp import ClientError, http_exceptions, web

from services.ingress.dead_letters import dead_letters
from services.ingress.publisher import Publisher, Unavailable
from services.ingress.record import Record
from services.ingress.updates import Part, Undecodable, Update
from services.ingress.webhooks import NotJson, UnknownObject, updates
from shared import metrics
from shared.clock import Clock
from shared.events import MessageReceived, encode
from shared.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS, MAX_RECORD_BYTES, WEBHOOKS

log = structlog.get_logger(__name__)

PUBLISHED = (CONVERSATION_EVENTS, ACCOUNT_EVENTS, WEBHOOKS.dead_letters)
"""The topics that webhooks go to."""
MAX_BODY_BYTES = 4 * 1024 * 1024
"""Meta sends up to 3 MB (Meta, webhooks, delivery)."""
_RECORD_ROOM = 4096
"""Bytes that Kafka's framing of one record may add."""
_RETRY_AFTER_S = "5"
_SIGNATURE = "X-Hub-Signature-256"
_REASONS = {
    400: "bad body",
    401: "bad signature",
    404: "unknown object",
    408: "body too slow",
    413: "body too large",
    415: "content encoding not supported",
    503: "try again later",
}
_VERDICTS = {
    400: "bad_body",
    401: "bad_signature",
    404: "unknown_object",
    408: "timeout",
    413: "too_large",
    415: "encoded",
    503: "unavailable",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is waited for and held: seconds a body may take, verified webhooks at once, bytes of bodies at once."""

    body_s: float = 5.0
    in_flight: int = 1000
    held_bytes: int = 256 * 1024 * 1024


class _Refused(Exception):
    """The answer is not 200."""

    def __init__(self, status: int, detail: str = "") -> None:
        super().__init__(detail)
        self.status = status


class Webhooks:
    """The two handlers of `/webhooks`; `in_flight` counts the verified webhooks being worked on."""

    def __init__(
        self,
        publisher: Publisher,
        clock: Clock,
        secrets: Sequence[bytes],
        token: bytes,
        limits: Limits = Limits(),
        inbound: Callable[[str], None] = lambda number: None,
    ) -> None:
        self._publisher = publisher
        self._inbound = inbound
        self._clock = clock
        self._secrets = tuple(secrets)
        self._token = token
        self._limits = limits
        self.in_flight = 0
        self._held = 0

    async def verify(self, request: web.BaseRequest) -> web.Response:
        """Meta's handshake when callback URL or token is set: the challenge comes back as it is."""
        query = request.query
        given = query.get("hub.verify_token", "").encode(errors="surrogateescape")
        challenge = query.get("hub.challenge")
        if (
            query.get("hub.mode") != "subscribe"
            or challenge is None
            or not hmac.compare_digest(given, self._token)
        ):
            log.warning("webhook_handshake_refused")
            return web.Response(status=403, text="forbidden")
        log.info("webhook_verified")
        return web.Response(text=challenge, headers={"X-Content-Type-Options": "nosniff"})

    async def receive(self, request: web.BaseRequest) -> web.Response:
        """One POST of updates."""
        started = asyncio.get_running_loop().time()
        try:
            count, size = await self._take(request)
        except _Refused as refused:
            status = refused.status
            metrics.WEBHOOK_REQUESTS.labels(_VERDICTS[status]).inc()
            log.warning("webhook_refused", status=status, detail=str(refused), length=request.content_length)
            response = web.Response(status=status, text=_REASONS[status])
            if status == 503:
                response.headers["Retry-After"] = _RETRY_AFTER_S
            if not request.content.is_eof():
                response.force_close()
            return response
        elapsed = asyncio.get_running_loop().time() - started
        _OK.inc()
        metrics.WEBHOOK_SECONDS.observe(elapsed)
        log.debug("webhook_taken", updates=count, bytes=size, seconds=elapsed)
        return web.Response()

    async def _take(self, request: web.BaseRequest) -> tuple[int, int]:
        """Read, verify, break up, publish; the number of updates and of bytes."""
        size = 0
        try:
            if "Content-Encoding" in request.headers:
                raise _Refused(415)
            if (request.content_length or 0) > MAX_BODY_BYTES:
                raise _Refused(413)
            chunks: list[bytes] = []
            try:
                if request.content.is_eof():
                    chunks.append(request.content.read_nowait(-1))
                    size = self._hold(0, chunks[0])
                else:
                    async with asyncio.timeout(self._limits.body_s):
                        while not request.content.at_eof():
                            chunks.append(await request.content.readany())
                            size = self._hold(size, chunks[-1])
            except TimeoutError:
                raise _Refused(408) from None
            except (OSError, ClientError, http_exceptions.HttpProcessingError) as error:
                raise _Refused(400, f"truncated: {type(error).__name__}") from None
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            if not self._signed(request.headers.get(_SIGNATURE), body):
                raise _Refused(401)
            return await self._publish(body), size
        finally:
            self._held -= size

    def _hold(self, size: int, chunk: bytes) -> int:
        """Count a chunk as held; the size of the body so far."""
        size += len(chunk)
        self._held += len(chunk)
        if size > MAX_BODY_BYTES or self._held > self._limits.held_bytes:
            self._held -= len(chunk)
            raise _Refused(413) if size > MAX_BODY_BYTES else _Refused(503, "too many bytes held")
        return size

    def _signed(self, header: str | None, body: bytes) -> bool:
        """Whether any of the secrets signed exactly these bytes; compared as bytes, so any header is only a wrong one."""
        given = (header or "").encode(errors="surrogateescape")
        matches = [
            hmac.compare_digest(given, b"sha256=" + hmac.digest(secret, body, "sha256").hex().encode())
            for secret in self._secrets
        ]
        return any(matches)

    async def _publish(self, body: bytes) -> int:
        now = self._clock.time()
        metrics.WEBHOOK_LAST.set(now)
        if self.in_flight >= self._limits.in_flight:
            raise _Refused(503, "too many in flight")
        if not self._publisher.taking:
            raise _Refused(503, "Kafka takes no records")
        self.in_flight += 1
        try:
            parts = updates(body, int(now * 1000))
            if parts:
                await self._publisher.publish([record for part in parts for record in records(part)])
        except NotJson as error:
            raise _Refused(400, str(error)[:200]) from error
        except UnknownObject as error:
            raise _Refused(404) from error
        except Unavailable as error:
            raise _Refused(503, str(error)[:200]) from error
        finally:
            self.in_flight -= 1
        for part in parts:
            _KINDS["undecodable" if isinstance(part, Undecodable) else part.kind].inc()
            if isinstance(part, Update) and isinstance(part.event, MessageReceived):
                self._inbound(part.event.phone_number_id)
            if isinstance(part, Undecodable):
                log.error("webhook_update_parked", place=part.place, reason=part.reason[:200])
                _PARKED.inc()
        return len(parts)


_OK = metrics.WEBHOOK_REQUESTS.labels("ok")
_PARKED = metrics.DLQ_RECORDS.labels(WEBHOOKS.dead_letters.name)
_KINDS = {
    kind: metrics.WEBHOOK_UPDATES.labels(kind)
    for kind in ("message", "status", "account", "other", "undecodable")
}


def records(part: Part) -> list[Record]:
    """The records of one update: one, or the dead letters of what can't be read or is too large for Kafka. Pure."""
    if isinstance(part, Undecodable):
        return dead_letters(WEBHOOKS, part.place, part.raw, part.reason, f"webhook:{part.place}")
    value = encode(part.event)
    if len(value) + len(part.key) + _RECORD_ROOM > MAX_RECORD_BYTES:
        return dead_letters(
            WEBHOOKS, part.key, value, "too large for Kafka", f"webhook:{part.event.event_id}"
        )
    return [Record(part.topic, part.key.encode(), value)]
