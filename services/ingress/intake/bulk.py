"""The bulk topic in, conversation events out, no faster than its numbers can send: released request by request, each number in its turn.

Reading path: `consume`, `_Run.turn` (look further, read again, release). What waits is in lookahead.py over held.py, how much may go in flow.py. A request is done when Kafka has
its event, or its dead letter; then its bit is set (done.py). At least once: the router knows requests by their ids.
"""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from time import monotonic

from aiokafka.structs import ConsumerRecord
from redis.asyncio import Redis

from services.ingress.intake.address import address
from services.ingress.intake.consuming import ACK_TIMEOUT_S
from services.ingress.intake.done import Done
from services.ingress.intake.flow import Flow
from services.ingress.intake.held import in_turn
from services.ingress.intake.lookahead import GROUP, LookAhead, Part
from services.ingress.intake.looking import Looks
from services.ingress.intake.settings import IntakeSettings
from services.ingress.intake.taking import outgoing
from services.ingress.publisher import KafkaPublisher
from services.ingress.record import Record
from shared import metrics
from shared.accounts import AccountFacts
from shared.clock import Clock
from shared.stream.publisher import partition_of
from shared.topics import CONVERSATION_EVENTS, SEND_REQUESTS_BULK
from shared.trying import pause

TURN_S = 0.05
"""Between two turns when there is nothing to do."""
LOOK_S = 0.1
"""Between two looks at the notes: router and sender write them as often."""
COMMIT_S = 1.0
RELEASE = 200
"""Requests released in one turn."""
SLICE = 20
"""Requests checked without a pause: so many milliseconds at most does a request of the normal topic wait for them."""
_ANY_NUMBER = 1_000_000
_PUBLISHED = (CONVERSATION_EVENTS, SEND_REQUESTS_BULK.dead_letters)
_LAG = metrics.STREAM_LAG.labels(GROUP)


class BulkIntake:
    """Takes campaigns in as they can be sent; `consume` is one run of it."""

    def __init__(
        self, settings: IntakeSettings, facts: Callable[[], AccountFacts], redis: Redis, clock: Clock
    ) -> None:
        self._settings = settings
        self._facts = facts
        self._redis = redis
        self._clock = clock

    async def consume(self, stopping: asyncio.Event) -> None:
        """Consume until the stop or the first failure, with clients and memory of this one run."""
        run = _Run(self._settings, self._facts, self._redis, self._clock)
        try:
            await run.start()
            while not stopping.is_set():
                if not await run.turn():
                    await pause(stopping, TURN_S)
            await run.ahead.commit()
        finally:
            await run.stop()


class _Run:
    def __init__(
        self, settings: IntakeSettings, facts: Callable[[], AccountFacts], redis: Redis, clock: Clock
    ) -> None:
        self._facts, self._clock, self._partitions = facts, clock, settings.partitions
        # A broken producer needs no word here: what it refuses ends this run, and the next one has another.
        self._publisher = KafkaPublisher(settings, _PUBLISHED, ACK_TIMEOUT_S, lambda _: None)
        self._done = Done(redis, settings.redis_namespace)
        self.ahead = LookAhead(settings, self._done, self._now_ms, lambda: facts().default_number())
        self._looks = Looks(settings, redis, self.ahead.reader)
        commands = lru_cache(maxsize=10_000)(lambda number: partition_of(number.encode(), self._partitions))
        self._flow = Flow(settings.bulk_horizon_s, commands)
        self._looked_s = self._committed_s = 0.0
        self._turns = 0
        self._rooms: dict[str, int] = {}
        """Number → how many more of its requests may be released until the next look."""

    async def start(self) -> None:
        await self._publisher.start()
        await self.ahead.start()

    async def stop(self) -> None:
        await self.ahead.stop()
        await self._publisher.stop()

    async def turn(self) -> bool:
        """Look further, read again, release; whether there was anything to do."""
        further = await self.ahead.look_further()
        now_s = monotonic()
        if now_s - self._looked_s >= LOOK_S and self._has_work():
            self._looked_s = now_s
            await self._looks.look(self._flow, now_s)
            self._rooms.clear()
        async with self.ahead.busy:
            again = await self.ahead.read_again(self._has_room)
            released = await self._release()
            if now_s - self._committed_s >= COMMIT_S:
                self._committed_s = now_s
                await self.ahead.commit()
                self._gauge()
        return further or again or released

    def _has_work(self) -> bool:
        """Whether anything waits here, or is out and still to be followed."""
        return self._flow.undecided > 0 or any(part.held.queues for part in self.ahead.parts.values())

    # --- releasing

    async def _release(self) -> bool:
        """Let go what may, at most so much that the normal topic does not feel it."""
        most = min(RELEASE, self._flow.room_in_all())
        parts = list(self.ahead.parts.values())
        queues = [(queue, part) for part in parts for queue in part.held.queues.values() if queue.rows]
        if not most or not queues:
            return False
        self._turns = (self._turns + 1) % len(queues)
        part_of = dict(queues[self._turns :] + queues[: self._turns])
        out: list[Record] = []
        released: list[tuple[int, int]] = []
        now_ms, default = self._now_ms(), self._facts().default_number()
        for nth, (queue, row) in enumerate(in_turn(list(part_of), self._room, most), 1):
            part = part_of[queue]
            for record in _made_of(part, row, now_ms, default):
                out.append(record)
                if record.topic is CONVERSATION_EVENTS:
                    self._flow.released(queue.number, partition_of(record.key, self._partitions))
            self._rooms[queue.number] -= 1
            released.append((part.place.partition, row.offset))
            if nth % SLICE == 0:
                await asyncio.sleep(0)
        await self._publisher.publish(out)
        await self._done.mark(released)
        for part in parts:
            part.held.drop_empty()
        return bool(released)

    def _room(self, number: str) -> int:
        """How many requests of a number may be released until the next look."""
        room = self._rooms.get(number)
        if room is None:
            known = self._facts().number(number)
            if known is None:  # or the free queue: the router says at once what it has to say
                room = _ANY_NUMBER
            else:
                room = 0 if self._paused(number) else self._flow.room(number, known.throughput)
            self._rooms[number] = room
        return room

    def _has_room(self, number: str) -> bool:
        return self._room(number) > 0

    def _paused(self, number: str) -> bool:
        """Whether an operator holds back all that the number sends: it is held here, not refused."""
        facts = self._facts()
        known, account = facts.number(number), facts.account(facts.waba_of(number) or "")
        return bool(known and known.paused) or bool(account and account.paused)

    # --- for people

    def _gauge(self) -> None:
        _LAG.set(self.ahead.behind)
        metrics.BULK_AT_HAND.set(self.ahead.at_hand)
        metrics.BULK_UNDECIDED.set(self._flow.undecided)
        waiting = dict.fromkeys(metrics.BULK_STATES, 0)
        waiting["unread"] = self.ahead.unread
        for number, requests in self.ahead.waiting().items():
            waiting[self._state(number)] += requests
        for state, requests in waiting.items():
            metrics.BULK_WAITING.labels(state).set(requests)

    def _state(self, number: str) -> str:
        if self._paused(number):
            return "paused"
        return "due" if self._has_room(number) else "number_busy"

    def _now_ms(self) -> int:
        return int(self._clock.time() * 1000)


def _made_of(part: Part, row: ConsumerRecord, now_ms: int, default: str | None) -> list[Record]:
    """What is published of a row: its cancellation goes right behind a request, not at its own turn."""
    where = address(row.value, now_ms, default)
    if where.takes_back is not None and part.taken_back.pop(where.takes_back, row) is None:
        return []
    rows = [row]
    if where.request_id is not None and (back := part.taken_back.get(where.request_id)) is not None:
        part.taken_back[where.request_id] = None
        rows.append(back)
    return [
        record
        for one in rows
        for record in outgoing(one, SEND_REQUESTS_BULK, metrics.BULK_RELEASED, now_ms, default)
    ]
