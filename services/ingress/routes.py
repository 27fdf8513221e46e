"""Meta's HTTP requests in; records to publish and an answer out. 200 only after Kafka has acknowledged everything.

Source: Meta, webhooks, getting started (handshake, X-Hub-Signature-256 over the raw bytes) and delivery (anything but 200 is sent again for days).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiohttp import HttpVersion11, web
from prometheus_client import Counter

from services.ingress.apps import App
from services.ingress.bodies import (
    MAX_BODY_BYTES,
    Bodies,
    Body,
    BodyBroken,
    BodyTooLarge,
    BodyTooSlow,
    NoRoom,
)
from services.ingress.connections import Connection
from services.ingress.dead_letters import dead_letters
from services.ingress.publisher import Publisher, Unavailable
from services.ingress.record import Record
from services.ingress.taken import taken
from services.ingress.updates import Part, Undecodable, Update
from services.ingress.webhooks import NotJson, UnknownObject, in_steps, updates
from shared import metrics
from shared.clock import Clock
from shared.events import MessageReceived, encode
from shared.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS, MAX_RECORD_BYTES, WEBHOOKS

log = structlog.get_logger(__name__)

PUBLISHED = (CONVERSATION_EVENTS, ACCOUNT_EVENTS, WEBHOOKS.dead_letters)
"""The topics that webhooks go to."""
_RECORD_ROOM = 4096
"""Bytes that Kafka's framing of one record may add."""
_RETRY_AFTER_S = "5"
_SIGNATURE = "X-Hub-Signature-256"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_REASONS = {
    400: "bad body",
    401: "bad signature",
    404: "unknown object",
    408: "body too slow",
    413: "body too large",
    415: "content encoding not supported",
    417: "expectation not met",
    503: "try again later",
}
_VERDICTS = {
    400: "bad_body",
    401: "bad_signature",
    404: "unknown_object",
    408: "timeout",
    413: "too_large",
    415: "encoded",
    417: "bad_request",
    503: "unavailable",
}


_LARGE_BYTES = 64 * 1024
"""What is nested deep on purpose takes 0.2 µs a byte."""


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
    """The two handlers of an app's path; `in_flight` counts the verified webhooks being worked on."""

    def __init__(
        self,
        publisher: Publisher,
        clock: Clock,
        limits: Limits = Limits(),
        inbound: Callable[[str], None] = lambda number: None,
    ) -> None:
        self._publisher = publisher
        self._inbound = inbound
        self._clock = clock
        self._most_in_flight = limits.in_flight
        self._bodies = Bodies(limits.held_bytes, limits.body_s)
        self._large = asyncio.Lock()
        self._counts: dict[str, dict[str, Counter]] = {}
        # Bound here, for the module's logger asks for its configuration at each line.
        self._log = log.bind()
        self.in_flight = 0

    @property
    def has_room(self) -> bool:
        """Whether a fifth of the work in flight, or of the bytes held, is still free: below that, others should get the next webhooks."""
        return self.in_flight <= self._most_in_flight * 0.8 and self._bodies.held <= self._bodies.most * 0.8

    async def verify(self, request: web.BaseRequest, app: App) -> web.Response:
        """Meta's handshake when callback URL or token is set: the challenge comes back as it is."""
        query = request.query
        challenge = query.get("hub.challenge")
        if (
            query.get("hub.mode") != "subscribe"
            or challenge is None
            or not app.greeted(query.get("hub.verify_token", ""))
        ):
            log.warning("webhook_handshake_refused", app=app.name)
            return web.Response(status=403, text="forbidden")
        log.info("webhook_verified", app=app.name)
        return web.Response(text=challenge, headers={"X-Content-Type-Options": "nosniff"})

    async def receive(self, request: web.BaseRequest, app: App) -> web.StreamResponse:
        """One POST of updates."""
        started = asyncio.get_running_loop().time()
        counts = self._counts.get(app.name)
        if counts is None:
            counts = self._counts[app.name] = metrics.webhook_requests(app.name)
        try:
            count, size = await self._take(request, app)
        except _Refused as refused:
            status = refused.status
            counts[_VERDICTS[status]].inc()
            log.warning(
                "webhook_refused", app=app.name, status=status, detail=str(refused), length=request.content_length
            )  # fmt: skip
            response = web.Response(status=status, text=_REASONS[status])
            if status == 503:
                response.headers["Retry-After"] = _RETRY_AFTER_S
            if not request.content.is_eof():
                response.force_close()
            return response
        elapsed = asyncio.get_running_loop().time() - started
        counts["ok"].inc()
        metrics.WEBHOOK_SECONDS.observe(elapsed)
        self._log.debug("webhook_taken", app=app.name, updates=count, bytes=size, seconds=elapsed)
        return taken(request)

    async def _take(self, request: web.BaseRequest, app: App) -> tuple[int, int]:
        """Read, verify, break up, publish; the number of updates and of bytes."""
        headers = request.headers
        if "Content-Encoding" in headers:
            raise _Refused(415)
        if not request.content.is_eof():
            _expected(request)
        body = Body()
        try:
            signature = app.signature()
            await self._bodies.read(body, request.content, signature.update)
            if not signature.matches(headers.get(_SIGNATURE), body.data):
                raise _Refused(401)
            if isinstance(request.protocol, Connection):
                request.protocol.prove()
            return await self._publish(body.data), body.size
        except BodyTooLarge:
            raise _Refused(413) from None
        except BodyTooSlow:
            raise _Refused(408) from None
        except BodyBroken as error:
            raise _Refused(400, f"truncated: {error}") from None
        except NoRoom:
            raise _Refused(503, "too many bytes held") from None
        finally:
            self._bodies.release(body)

    async def _broken_up(self, body: bytes, now_ms: int) -> list[Part]:
        """Its updates; a large one's step by step, one after the other, so that the small ones wait for none."""
        if len(body) < _LARGE_BYTES:
            return updates(body, now_ms)
        async with self._large:
            parts: list[Part] = []
            for _ in in_steps(body, now_ms, parts):
                await asyncio.sleep(0)
            return parts

    async def _publish(self, body: bytes) -> int:
        now = self._clock.time()
        metrics.WEBHOOK_LAST.set(now)
        if self.in_flight >= self._most_in_flight:
            raise _Refused(503, "too many in flight")
        if not self._publisher.taking:
            raise _Refused(503, "Kafka takes no records")
        self.in_flight += 1
        try:
            parts = await self._broken_up(body, int(now * 1000))
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


def _expected(request: web.BaseRequest) -> None:
    """Refuse a body that says it is too large; tell a client that waits for it to send its body (curl does, above 1 MB)."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _Refused(413)
    expectation = request.headers.get("Expect")
    if expectation is None:
        return
    if expectation.lower() != "100-continue":
        raise _Refused(417)
    if request.version >= HttpVersion11 and request.transport is not None:
        request.transport.write(_CONTINUE)


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
