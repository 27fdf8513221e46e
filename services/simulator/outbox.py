"""Posts webhooks: takes updates, makes signed batches, posts them, repeats what is not answered with 200.

At least once and, beyond the first attempt, in no order, as Meta does (Meta, webhooks: retries, batching).
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import aiohttp
import structlog

from services.simulator.agenda import Agenda
from services.simulator.envelope import MAX_BYTES, Update, encode, envelope, signature
from services.simulator.metrics import SimulatorMetrics
from services.simulator.options import Options
from shared.clock import Clock

log = structlog.get_logger("simulator.outbox")


@dataclass(slots=True)
class _Post:
    raw: bytes
    updates: int
    first_at: float
    attempt: int = 0


class Outbox:
    """All updates between the moment they are due and the answer 200."""

    def __init__(
        self, clock: Clock, options: Callable[[], Options], url: str, secret: bytes, metrics: SimulatorMetrics
    ) -> None:
        self._clock = clock
        self._options = options
        self._url = url
        self._secret = secret
        self._metrics = metrics
        self._session: aiohttp.ClientSession | None = None
        self._waiting: deque[Update] = deque()
        self._retries: deque[_Post] = deque()
        self._later: Agenda[Update | _Post] = Agenda()
        self._tasks: set[asyncio.Task[None]] = set()
        self._random = random.Random(0)
        self.counts: Counter[str] = Counter()

    async def start(self) -> None:
        """Open the connections' pool."""
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64))

    async def stop(self) -> None:
        """Give up what is in flight and close."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def reseed(self, seed: int) -> None:
        """Start the sequence of duplicates and disorder anew."""
        self._random = random.Random(seed)

    def put(self, happened: Iterable[tuple[float, Update]]) -> None:
        """Take in updates, each with the time it happened, from which it is held back: so that no round's own time decides an order."""
        options = self._options()
        for at, update in happened:
            self._metrics.updates.inc()
            self.counts["updates"] += 1
            self._enter(update, options, at)
            if options.duplicate and self._random.random() < options.duplicate:
                self.counts["duplicates"] += 1
                self._enter(update, options, at)
        self._fill()

    def release(self, now: float) -> None:
        """Take up what was held back or is to be repeated by now."""
        for _, item in self._later.release(now):
            if isinstance(item, _Post):
                self._retries.append(item)
            else:
                self._waiting.append(item)
        self._fill()

    def clear(self) -> None:
        """Forget what is not in flight."""
        self._waiting.clear()
        self._retries.clear()
        self._later.clear()

    @property
    def next_due(self) -> float | None:
        """When the next held or repeated item is due."""
        return self._later.next_due

    @property
    def waiting(self) -> int:
        """Updates and repetitions not in flight."""
        return len(self._waiting) + len(self._retries) + len(self._later)

    @property
    def in_flight(self) -> int:
        """POSTs without an answer yet."""
        return len(self._tasks)

    def _enter(self, update: Update, options: Options, at: float) -> None:
        if options.shuffle:
            self._later.add(at + self._random.uniform(0, options.shuffle_s), update)
        else:
            self._waiting.append(update)

    def _fill(self) -> None:
        """Start POSTs up to the allowed number of connections."""
        options = self._options()
        while len(self._tasks) < options.connections and (self._retries or self._waiting):
            post = self._retries.popleft() if self._retries else self._batch(options)
            task = asyncio.create_task(self._post(post, options))
            self._tasks.add(task)
            task.add_done_callback(self._posted)
        self._metrics.waiting.set(self.waiting)

    def _posted(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # A failure that is not the receiver's is a fault of the simulator: let the loop's handler report it.
            task.result()
            self._fill()

    def _batch(self, options: Options) -> _Post:
        updates = [self._waiting.popleft()]
        while (
            self._waiting
            and len(updates) < options.batch
            and updates[0].kind != "raw"
            and self._waiting[0].kind != "raw"
        ):
            updates.append(self._waiting.popleft())
        if options.shuffle:
            self._random.shuffle(updates)
        raw = encode(envelope(updates))
        while len(raw) > MAX_BYTES and len(updates) > 1:
            half = len(updates) // 2
            self._waiting.extendleft(reversed(updates[half:]))
            updates = updates[:half]
            raw = encode(envelope(updates))
        return _Post(raw, len(updates), self._clock.time())

    async def _post(self, post: _Post, options: Options) -> None:
        if self._session is None:
            raise RuntimeError("the outbox was not started")
        url = options.webhook_url or self._url
        headers = {"Content-Type": "application/json", **signature(self._secret, post.raw)}
        try:
            timeout = aiohttp.ClientTimeout(total=options.timeout_s)
            async with self._session.post(
                url, data=post.raw, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                await answer.read()
                result = "ok" if answer.status == 200 else "refused"
        except (aiohttp.ClientError, TimeoutError, OSError):
            result = "unreachable"
        self._metrics.posts[result].inc()
        self.counts["posts"] += 1
        if result == "ok":
            self.counts["posted_updates"] += post.updates
        else:
            self.counts[result] += 1
            if post.attempt == 0:
                log.warning("webhook_not_taken", result=result, updates=post.updates)
            self._repeat(post, options)

    def _repeat(self, post: _Post, options: Options) -> None:
        now = self._clock.time()
        due = now + min(options.retry_initial_s * 2 ** min(post.attempt, 30), options.retry_max_s)
        if due > post.first_at + options.retry_for_s:
            self._metrics.posts["dropped"].inc()
            self.counts["dropped_updates"] += post.updates
            log.error("webhook_dropped", updates=post.updates, attempts=post.attempt + 1)
            return
        post.attempt += 1
        self._later.add(due, post)
