"""Those who wait in this process for what becomes of their requests, and the subscription by which they hear it, whichever process reads it from Kafka."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from redis.exceptions import RedisError

from services.ingress.edge import book
from services.ingress.edge.book import Known
from services.ingress.edge.index import Index, news
from shared import metrics
from shared.lifecycle import Service

log = structlog.get_logger(__name__)

_PAUSE_S = 0.5
"""Before Redis is asked again for a subscription that broke."""
_QUIET_S = 30.0
"""How long the subscription is listened to at a stretch."""


class Waiter:
    """One call that waits for the news of one request."""

    __slots__ = ("_news", "_woken", "closed")

    def __init__(self, *, closed: bool) -> None:
        self._news: list[bytes | None] = []
        self._woken: asyncio.Future[None] | None = None
        self.closed = closed

    def tell(self, entries: bytes | None) -> None:
        """New entries; None: some may have been missed."""
        self._news.append(entries)
        self._wake()

    def close(self) -> None:
        """Nothing will be told any more."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def next(self) -> list[bytes | None]:
        """The news since the last time; waits for some, and gives none once it is closed."""
        if not self._news and not self.closed:
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken
        told, self._news = self._news, []
        return told


class Waiting:
    """A part that hands the news to who waits. Stop it before the listener: then all are answered with what is known."""

    def __init__(self, service: Service, index: Index) -> None:
        self._service = service
        self._index = index
        self._waiters: defaultdict[str, set[Waiter]] = defaultdict(set)
        self._listening: asyncio.Task[None] | None = None
        self._closed = False
        self.subscribed = False
        """Whether news have ever been heard: before, nobody may wait for them."""

    async def start(self) -> None:
        self._listening = self._service.spawn(self._listen(), "edge-news")

    async def stop(self) -> None:
        self._closed = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.close()
        if self._listening is not None:
            self._listening.cancel()

    @contextmanager
    def on(self, name: str) -> Iterator[Waiter]:
        """Hear of a request from now on."""
        waiter = Waiter(closed=self._closed)
        self._waiters[name].add(waiter)
        metrics.EDGE_WAITING.inc()
        try:
            yield waiter
        finally:
            metrics.EDGE_WAITING.dec()
            self._waiters[name].discard(waiter)
            if not self._waiters[name]:
                del self._waiters[name]

    async def until(
        self,
        waiter: Waiter,
        name: str,
        row: bytes,
        digest: str | None,
        enough: Callable[[Known], bool],
        seconds: float,
    ) -> Known:
        """What is known of a request once it is enough, or after so long; `row` is the request's as the call found it.

        What a row says counts only from the moment that the router has answered this very call: before, it may be of another request of that id. Without a
        `digest` any news will do.
        """
        answered, ours = digest is None, digest or ""
        try:
            async with asyncio.timeout(seconds):
                while told := await waiter.next():
                    if None in told:
                        row = await self._index.row(name)
                        answered = answered or _is_of(row, ours)
                    fresh = b"".join(entries for entries in told if entries is not None)
                    row += fresh
                    answered = answered or book.known(name, fresh, ours).answered
                    known = book.known(name, row, ours)
                    if known.conflict or (answered and enough(known)):
                        return known
        except TimeoutError:
            pass
        row = await self._index.row(name)
        return book.known(name, row if answered or _is_of(row, ours) else b"", ours)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._index.redis.pubsub() as subscription:
                    await subscription.subscribe(self._index.channel)
                    while True:
                        message = await subscription.get_message(timeout=_QUIET_S)
                        if message is not None:
                            self._heard(message)
            except RedisError as error:
                log.warning("edge_news_lost", error=repr(error))
                await asyncio.sleep(_PAUSE_S)

    def _heard(self, message: dict[str, Any]) -> None:
        if message["type"] == "message":
            self.tell(*news(message["data"]))
        elif message["type"] == "subscribe":  # after a lost connection too
            self.subscribed = True
            self.look_again()

    def look_again(self) -> None:
        """News may have been missed: let all who wait read their rows."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.tell(None)

    def tell(self, name: str, entries: bytes) -> None:
        """Hand new entries of a request's row to who waits for it."""
        for waiter in self._waiters.get(name, ()):
            waiter.tell(entries)


def _is_of(row: bytes, digest: str) -> bool:
    """Whether the row is that of the request of this digest."""
    return book.taken_by(row) == book.short(digest)
