"""The bulk topic in, conversation events out, no faster than its numbers can send: released request by request, each number in its turn.

Reading path: `consume`, `_turn` (look further, read again, release). What waits is in held.py, how much may go in flow.py. A request is done when Kafka has its event, or its
dead letter; then its bit is set (done.py), and what lies below the first that is not done is committed. At least once: the router knows requests by their ids.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError
from aiokafka.structs import ConsumerRecord
from redis.asyncio import Redis

from services.ingress.intake.address import address
from services.ingress.intake.consuming import ACK_TIMEOUT_S, HANDOVER_S, NOT_OURS, Assignments, begin, pause
from services.ingress.intake.done import Done
from services.ingress.intake.flow import Flow
from services.ingress.intake.held import Held, in_turn
from services.ingress.intake.looking import Looks
from services.ingress.intake.settings import IntakeSettings
from services.ingress.intake.taking import outgoing
from services.ingress.publisher import KafkaPublisher
from services.ingress.record import Record
from shared import kafka, metrics
from shared.accounts import AccountFacts
from shared.clock import Clock
from shared.stream.publisher import partition_of
from shared.topics import CONVERSATION_EVENTS, SEND_REQUESTS_BULK

log = structlog.get_logger(__name__)

GROUP = "intake-bulk"
TURN_S = 0.05
"""Between two turns when there is nothing to do."""
LOOK_S = 0.1
"""Between two looks at the notes: router and sender write them as often."""
COMMIT_S = 1.0
LOOK_FURTHER = 500
"""Records looked at in one turn: some milliseconds."""
READ_AGAIN = 1000
RELEASE = 200
"""Requests released in one turn."""
SLICE = 20
"""Requests checked without a pause: so many milliseconds at most does a request of the normal topic wait for them."""
MOST_AT_HAND = 20_000
"""Requests in memory, of some 1 KB each; the others are read again when their turn comes."""
MOST_TAKEN_BACK = 10_000
"""Cancellations of a partition that are known before their turn."""
FREE = ""
"""The queue of requests that wait for no number."""
_ANY_NUMBER = 1_000_000
_PUBLISHED = (CONVERSATION_EVENTS, SEND_REQUESTS_BULK.dead_letters)
_LAG = metrics.STREAM_LAG.labels(GROUP)


@dataclass(slots=True, eq=False)
class _Part:
    """One partition that is ours."""

    place: TopicPartition
    held: Held
    seen_until: int
    """Where the topic ended when we got it: below, a former owner may have released some."""
    committed: int
    taken_back: dict[str, ConsumerRecord | None] = field(default_factory=dict)
    """Request id → its cancellation, which stands further behind; None once it has gone with its request."""


class BulkIntake:
    """Takes campaigns in as they can be sent; `consume` is one run of it."""

    def __init__(
        self, settings: IntakeSettings, facts: Callable[[], AccountFacts], redis: Redis, clock: Clock
    ) -> None:
        self._settings = settings
        self._facts = facts
        self._redis = redis
        self._clock = clock
        self._done = Done(redis, settings.redis_namespace)

    async def consume(self, stopping: asyncio.Event) -> None:
        """Consume until the stop or the first failure, with clients and memory of this one run."""
        run = _Run(self._settings, self._facts, self._redis, self._clock, self._done)
        try:
            await run.start()
            while not stopping.is_set():
                if not await run.turn():
                    await pause(stopping, TURN_S)
            await run.commit()
        finally:
            await run.stop()


class _Run:
    def __init__(
        self,
        settings: IntakeSettings,
        facts: Callable[[], AccountFacts],
        redis: Redis,
        clock: Clock,
        done: Done,
    ) -> None:
        self._settings, self._facts, self._clock, self._done = settings, facts, clock, done
        self._topic = kafka.name_of(SEND_REQUESTS_BULK, settings)
        self._partitions = settings.partitions
        # A broken producer needs no word here: what it refuses ends this run, and the next one has another.
        self._publisher = KafkaPublisher(settings, _PUBLISHED, ACK_TIMEOUT_S, lambda _: None)
        self._consumer: AIOKafkaConsumer = kafka.group_consumer(settings, f"{settings.topic_prefix}{GROUP}")
        self._reader: AIOKafkaConsumer = kafka.reader(settings)
        self._looks = Looks(settings, redis, self._reader)
        commands = lru_cache(maxsize=10_000)(lambda number: partition_of(number.encode(), self._partitions))
        self._listener = Assignments(self._assigned, self._revoked)
        self._flow = Flow(settings.bulk_horizon_s, commands)
        self._parts: dict[TopicPartition, _Part] = {}
        self._busy = asyncio.Lock()
        self._looked_s = self._committed_s = 0.0
        self._turns = 0
        self._rooms: dict[str, int] = {}
        """Number → how many more of its requests may be released until the next look."""

    async def start(self) -> None:
        await self._publisher.start()
        await self._reader.start()
        self._reader.assign([TopicPartition(self._topic, one) for one in range(self._partitions)])
        self._reader.pause(*self._reader.assignment())
        await self._consumer.start()
        self._consumer.subscribe([self._topic], listener=self._listener)

    async def stop(self) -> None:
        await self._consumer.stop()
        await self._reader.stop()
        await self._publisher.stop()

    # --- ownership

    async def _assigned(self, assigned: list[TopicPartition]) -> None:
        """Called by the consumer: begin where the group has come to."""
        begun = await begin(self._consumer, assigned)
        ends = await self._consumer.end_offsets(assigned)
        for place in assigned:
            if place in begun:
                await self._done.forget(place.partition, ends[place])
            position = await self._consumer.position(place)
            # What was never committed is committed soon, so that whoever comes next knows the bits for true.
            committed = position - 1 if place in begun else position
            self._parts[place] = _Part(place, Held(position), ends[place], committed)
        log.info("bulk_assigned", partitions=sorted(place.partition for place in assigned))

    async def _revoked(self, revoked: list[TopicPartition]) -> None:
        """Called by the consumer: what is in work is finished first."""
        try:
            async with asyncio.timeout(HANDOVER_S), self._busy:
                await self.commit()
                self._parts.clear()
        except TimeoutError:
            self._parts.clear()
            log.warning("bulk_handed_over_in_work", partitions=len(revoked))

    # --- one turn

    async def turn(self) -> bool:
        """Look further, read again, release; whether there was anything to do."""
        self._listener.check()
        further = await self._look_further()
        now_s = monotonic()
        if now_s - self._looked_s >= LOOK_S and self._has_work():
            self._looked_s = now_s
            await self._looks.look(self._flow, now_s)
            self._rooms.clear()
        async with self._busy:
            again = await self._read_again()
            released = await self._release()
            if now_s - self._committed_s >= COMMIT_S:
                self._committed_s = now_s
                await self.commit()
                self._gauge()
        return further or again or released

    async def _look_further(self) -> bool:
        """Find the next requests a place: where their number's queue is whole in memory they stay, of the others the offset is kept."""
        before = dict(self._parts)
        full = [one.place for one in self._parts.values() if len(one.held) >= self._settings.bulk_look_ahead]
        self._consumer.pause(*full)
        self._consumer.resume(*(place for place in self._consumer.paused() if place not in full))
        try:
            polled = await self._consumer.getmany(timeout_ms=0, max_records=LOOK_FURTHER)
        except NoOffsetForPartitionError:
            return False  # it looked before the assignment had set it
        async with self._busy:
            for place, rows in polled.items():
                part = self._parts.get(place)
                if part is None:
                    continue
                ours = part is before.get(place)
                if not ours or rows[0].offset < part.held.position:
                    self._consumer.seek(place, part.held.position)  # polled under an earlier assignment
                    continue
                await self._place(part, rows)
        return bool(polled)

    async def _place(self, part: _Part, rows: list[ConsumerRecord]) -> None:
        known = [row.offset for row in rows if row.offset < part.seen_until]
        done = await self._done.among(part.place.partition, known) if known else set()
        now_ms, default = self._now_ms(), self._facts().default_number()
        keep = self._at_hand() < MOST_AT_HAND
        for row in rows:
            if row.offset in done:
                part.held.pass_over(row.offset)
                continue
            number, _, takes_back = address(row.value, now_ms, default)
            if takes_back is not None and len(part.taken_back) < MOST_TAKEN_BACK:
                part.taken_back[takes_back] = row
            part.held.add(number or FREE, row, keep=keep)

    async def _read_again(self) -> bool:
        """Fetch once more what could go now and is known by its offset only."""
        if self._at_hand() >= MOST_AT_HAND:
            for part in self._parts.values():
                part.held.let_go(self._has_room)
        wanted = {
            part.place: offset
            for part in self._parts.values()
            if (offset := part.held.wanted(self._has_room)) is not None
        }
        self._reader.pause(*(place for place in self._reader.assignment() if place not in wanted))
        if not wanted:
            return False
        self._reader.resume(*wanted)
        for place, offset in wanted.items():
            if await self._reader.position(place) != offset:
                self._reader.seek(place, offset)
        polled = await self._reader.getmany(*wanted, timeout_ms=int(1000 * LOOK_S), max_records=READ_AGAIN)
        for place, rows in polled.items():
            if place not in self._parts:
                continue
            held = self._parts[place].held
            if rows[0].offset > wanted[place] and (gone := held.drop_unread(rows[0].offset)):
                log.error(
                    "bulk_requests_gone", partition=place.partition, before=rows[0].offset, requests=gone
                )
            held.read_again(rows)
        return bool(polled)

    async def _release(self) -> bool:
        """Let go what may, at most so much that the normal topic does not feel it."""
        most = min(RELEASE, self._flow.room_in_all())
        parts = list(self._parts.values())
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
            for record in self._made_of(part, row, now_ms, default):
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

    def _made_of(self, part: _Part, row: ConsumerRecord, now_ms: int, default: str | None) -> list[Record]:
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

    # --- what may go

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

    def _state(self, number: str) -> str:
        if self._paused(number):
            return "paused"
        return "due" if self._has_room(number) else "number_busy"

    # --- the end of a turn

    async def commit(self) -> None:
        """Tell Kafka up to where all is done."""
        moved = {
            place: part.held.low_water
            for place, part in self._parts.items()
            if part.held.low_water > part.committed
        }
        if not moved:
            return
        try:
            await self._consumer.commit(moved)
        except NOT_OURS as error:
            # The partitions are another consumer's by now; it releases once more what we did last, and the router knows the ids.
            log.warning("bulk_commit_refused", error=repr(error))
            return
        for place, offset in moved.items():
            self._parts[place].committed = offset

    def _gauge(self) -> None:
        unread, lag = 0, 0
        for place, part in self._parts.items():
            end = self._consumer.highwater(place) or 0
            unread += max(0, end - part.held.position)
            lag += max(0, end - part.held.low_water)
        _LAG.set(lag)
        queues: dict[str, int] = {}
        for part in self._parts.values():
            for number, queue in part.held.queues.items():
                queues[number] = queues.get(number, 0) + len(queue)
        metrics.BULK_AT_HAND.set(self._at_hand())
        metrics.BULK_UNDECIDED.set(self._flow.undecided)
        waiting = dict.fromkeys(metrics.BULK_STATES, 0)
        waiting["unread"] = unread
        for number, requests in queues.items():
            waiting[self._state(number)] += requests
        for state, requests in waiting.items():
            metrics.BULK_WAITING.labels(state).set(requests)

    def _has_work(self) -> bool:
        """Whether anything waits here, or is out and still to be followed."""
        return self._flow.undecided > 0 or any(part.held.queues for part in self._parts.values())

    def _at_hand(self) -> int:
        return sum(part.held.at_hand for part in self._parts.values())

    def _now_ms(self) -> int:
        return int(self._clock.time() * 1000)
