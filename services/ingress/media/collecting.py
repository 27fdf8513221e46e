"""Fetches by itself what waits, some files at once, and tells what became of each on `media`.

A file that fails is put back with a growing pause for as long as Meta keeps it, so that a slow or dead one holds up nobody: of the places for files under way
half are for those never tried. Told first, forgotten then: a kill in between tells it again, in the same bytes.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import structlog

from services.ingress.media.failures import NotFetched
from services.ingress.media.fetching import Fetching
from services.ingress.media.waiting import Waiting
from services.ingress.media.wanted import Wanted, failed_event, next_try_ms, stored_event
from services.ingress.publisher import Publisher, Unavailable
from services.ingress.record import Record
from shared import metrics
from shared.clock import Clock
from shared.events import MediaFile, encode
from shared.lifecycle import Service
from shared.topics import MEDIA
from shared.trying import pause

log = structlog.get_logger(__name__)

POLL_S = 0.25
_BACKLOG_S = 5.0
_OUTCOMES = {
    name: metrics.MEDIA_FILES.labels(name) for name in ("stored", "retried", *metrics.MEDIA_FAILURES)
}


class Collecting:
    """A part: at most `at_once` files under way; `lease_s` after a kill another process takes up what this one had."""

    def __init__(
        self,
        service: Service,
        waiting: Waiting,
        fetching: Fetching,
        publisher: Publisher,
        clock: Clock,
        *,
        at_once: int,
        lease_s: float,
    ) -> None:
        self._service = service
        self._waiting = waiting
        self._fetching = fetching
        self._publisher = publisher
        self._clock = clock
        self._at_once = at_once
        self._lease_ms = int(lease_s * 1000)
        self._under_way: dict[str, tuple[bool, asyncio.Task[None]]] = {}
        """By the file's id; whether it had been tried before."""
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        for name, work in (("take", self._take()), ("renew", self._renew()), ("backlog", self._look())):
            self._tasks.append(self._service.spawn(work, f"media-{name}"))

    async def stop(self) -> None:
        """Give up what is under way; it is leased, and fetched again."""
        tasks = [*self._tasks, *(task for _, task in self._under_way.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self) -> None:
        while True:
            tried_before = sum(tried for tried, _ in self._under_way.values())
            free = self._at_once - len(self._under_way)
            taken: list[Wanted] = []
            if free > 0:
                now_ms, further = self._now_ms(), max(0, self._at_once // 2 - tried_before)
                taken = await self._waiting.take(now_ms, now_ms + self._lease_ms, free, further)
            for file in taken:
                if file.id not in self._under_way:  # else the clock has jumped past its lease
                    self._begin(file, self._collect(file))
            if not taken:
                self._ended.clear()
                await pause(self._ended, POLL_S)

    def _begin(self, file: Wanted, work: Coroutine[Any, Any, None]) -> None:
        task = self._service.spawn(work, "media-collect")
        self._under_way[file.id] = (file.tries > 0, task)
        task.add_done_callback(lambda _: self._over(file.id))

    def _over(self, id: str) -> None:
        del self._under_way[id]
        self._ended.set()

    async def _collect(self, file: Wanted) -> None:
        try:
            stored = await self._fetching.fetch(file)
        except NotFetched as failure:
            await self._failed(file, failure)
            return
        if await self._told(file, stored_event(file, stored)):
            _OUTCOMES["stored"].inc()

    async def _failed(self, file: Wanted, failure: NotFetched) -> None:
        now_ms = self._now_ms()
        due_ms = next_try_ms(file, now_ms) if failure.again else None
        log.warning(
            "media_not_fetched", file=file.place.file, tries=file.tries + 1, reason=failure.reason, detail=failure.text, again=due_ms is not None
        )  # fmt: skip
        if due_ms is not None:
            _OUTCOMES["retried"].inc()
            await self._waiting.again(msgspec.structs.replace(file, tries=file.tries + 1), due_ms)
            return
        reason = "expired" if failure.again else failure.reason
        if await self._told(file, failed_event(file, reason, now_ms)):
            _OUTCOMES[reason].inc()

    async def _told(self, file: Wanted, event: MediaFile) -> bool:
        """Publish, then forget; while Kafka takes nothing, the lease runs out and the file comes back."""
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", event.event_id.encode()),
            ("ce_type", event.event.encode()),
            ("ce_source", b"/media"),
            ("content-type", b"application/json"),
        ]
        try:
            await self._publisher.publish([Record(MEDIA, file.conversation.encode(), encode(event), headers)])
        except Unavailable as error:
            log.error("media_not_told", file=file.place.file, error=str(error)[:200])
            return False
        await self._waiting.done(file.id)
        return True

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            if self._under_way:
                await self._waiting.renew(list(self._under_way), self._now_ms() + self._lease_ms)

    async def _look(self) -> None:
        while True:
            backlog = await self._waiting.backlog()
            metrics.MEDIA_WAITING.set(backlog.files)
            age_ms = 0 if backlog.oldest_ms is None else self._now_ms() - backlog.oldest_ms
            metrics.OLDEST_MEDIA_SECONDS.set(max(0, age_ms) / 1000)
            await asyncio.sleep(_BACKLOG_S)

    def _now_ms(self) -> int:
        return int(self._clock.time() * 1000)
