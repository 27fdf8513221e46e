"""Checked requests in; published, and what is known of them once it is enough, out. The one way by which the edge's calls reach the router."""

from collections.abc import Callable, Sequence

import structlog

from services.ingress.edge import book, verdicts
from services.ingress.edge.book import Known
from services.ingress.edge.errors import unavailable
from services.ingress.edge.index import Index
from services.ingress.edge.waiting import Waiting
from services.ingress.publisher import Publisher, Unavailable
from services.ingress.record import Record
from services.ingress.requests import key_of
from shared.events import CancelRequested, SendRequested, encode
from shared.ids import request_name
from shared.topics import CONVERSATION_EVENTS

log = structlog.get_logger(__name__)


def settled(known: Known) -> bool:
    """Enough for who wants to know whether it goes out."""
    return known.settled


def decided(known: Known) -> bool:
    """Enough for who wants the decision."""
    return known.decision is not None


class Sending:
    """Publishes, and waits.

    A request is published each time it is asked for: the router alone knows whether it did so before, and answers the same again.
    """

    def __init__(self, publisher: Publisher, index: Index, waiting: Waiting) -> None:
        self._publisher = publisher
        self._index = index
        self._waiting = waiting

    async def send(self, request: SendRequested, enough: Callable[[Known], bool], wait_s: float) -> Known:
        """Publish one request and wait. Raises Refusal: its id was used for another one, or Kafka does not take it; and RedisError."""
        name = _name(request)
        with self._waiting.on(name) as waiter:
            row = await self._index.take(name, _taken(request))
            if not _is_free(row, request):
                raise verdicts.conflict()
            await self._publish([request])
            if wait_s <= 0:
                return book.known(name, b"", request.digest)
            return await self._waiting.until(waiter, name, row, request.digest, enough, wait_s)

    async def take(self, requests: Sequence[SendRequested | CancelRequested]) -> list[bool]:
        """Publish many and wait for none; whether each was taken (False: its id was used for another one). Raises Refusal and RedisError."""
        sends = [request for request in requests if isinstance(request, SendRequested)]
        rows = await self._index.take_all([(_name(request), _taken(request)) for request in sends])
        used = {id(send) for send, row in zip(sends, rows, strict=True) if not _is_free(row, send)}
        free = [id(request) not in used for request in requests]
        await self._publish([request for request, is_free in zip(requests, free, strict=True) if is_free])
        return free

    async def cancel(
        self, cancellation: CancelRequested, enough: Callable[[Known], bool], wait_s: float
    ) -> Known:
        """Publish a cancellation and wait for what became of its request. Raises Refusal and RedisError."""
        name = request_name(cancellation.request_id, dry_run=False)
        with self._waiting.on(name) as waiter:
            asks = book.Taken(b"", cancellation.phone_number_id, cancellation.user, cancellation.at_ms)
            row = await self._index.take(name, asks)
            await self._publish([cancellation])
            return await self._waiting.until(waiter, name, row, None, enough, wait_s)

    async def _publish(self, events: Sequence[SendRequested | CancelRequested]) -> None:
        try:
            await self._publisher.publish(
                [Record(CONVERSATION_EVENTS, key_of(event).encode(), encode(event)) for event in events]
            )
        except Unavailable as error:
            log.warning("edge_not_published", error=str(error)[:200])
            raise unavailable(
                "Kafka did not acknowledge the request; it may go out all the same. Repeat it with the same Idempotency-Key or request_id."
            ) from None


def _taken(request: SendRequested) -> book.Taken:
    return book.Taken(book.short(request.digest), request.phone_number_id, request.user, request.at_ms)


def _name(request: SendRequested) -> str:
    return request_name(request.request_id, dry_run=request.dry_run)


def _is_free(row: bytes, request: SendRequested) -> bool:
    """Whether the edge has taken no other request under this name."""
    return book.taken_by(row) in (None, book.short(request.digest))
