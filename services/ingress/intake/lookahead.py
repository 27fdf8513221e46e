"""What waits in our partitions of the bulk topic: looked at once, kept at hand or read again when its turn comes, committed as far as all is done.

Memory is bounded: `WA_BULK_LOOK_AHEAD` offsets of a partition, MOST_AT_HAND requests of the process.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError
from aiokafka.structs import ConsumerRecord

from services.ingress.intake.address import address
from services.ingress.intake.consuming import HANDOVER_S, NOT_OURS, Assignments, begin
from services.ingress.intake.done import Done
from services.ingress.intake.held import Held
from services.ingress.intake.settings import IntakeSettings
from shared import kafka
from shared.topics import SEND_REQUESTS_BULK

log = structlog.get_logger(__name__)

GROUP = "intake-bulk"
LOOK_FURTHER = 500
"""Records looked at in one go: some milliseconds."""
READ_AGAIN = 1000
READ_AGAIN_MS = 100
MOST_AT_HAND = 20_000
"""Requests in memory, of some 1 KB each."""
MOST_TAKEN_BACK = 10_000
"""Cancellations of a partition that are known before their turn."""
FREE = ""
"""The queue of requests that wait for no number."""


@dataclass(slots=True, eq=False)
class Part:
    """One partition that is ours."""

    place: TopicPartition
    held: Held
    seen_until: int
    """Where the topic ended when we got it: below, a former owner may have released some."""
    committed: int | None
    """What Kafka has of us; None where the group never was."""
    taken_back: dict[str, ConsumerRecord | None] = field(default_factory=dict)
    """Request id → its cancellation, which stands further behind; None once it has gone with its request."""


class LookAhead:
    """The partitions of one run. Whoever changes what is held does so under `busy`: partitions are handed over only when nobody does."""

    def __init__(
        self,
        settings: IntakeSettings,
        done: Done,
        now_ms: Callable[[], int],
        default_number: Callable[[], str | None],
    ) -> None:
        self.busy = asyncio.Lock()
        self.parts: dict[TopicPartition, Part] = {}
        self.reader: AIOKafkaConsumer = kafka.reader(settings)
        """Reads again; it belongs to no group."""
        self._consumer: AIOKafkaConsumer = kafka.group_consumer(settings, f"{settings.topic_prefix}{GROUP}")
        self._listener = Assignments(self._assigned, self._revoked)
        self._most = settings.bulk_look_ahead
        self._done, self._now_ms, self._default_number = done, now_ms, default_number
        topic = kafka.name_of(SEND_REQUESTS_BULK, settings)
        self._places = [TopicPartition(topic, one) for one in range(settings.partitions)]

    async def start(self) -> None:
        await self.reader.start()
        self.reader.assign(self._places)
        self.reader.pause(*self._places)
        await self._consumer.start()
        self._consumer.subscribe([self._places[0].topic], listener=self._listener)

    async def stop(self) -> None:
        await self._consumer.stop()
        await self.reader.stop()

    # --- ownership

    async def _assigned(self, assigned: list[TopicPartition]) -> None:
        """Begin where the group has come to."""
        starts = await begin(self._consumer, assigned)
        ends = await self._consumer.end_offsets(assigned)
        for place, start in starts.items():
            if start.anew:
                await self._done.forget(place.partition, ends[place])
        for place, start in starts.items():
            # No await between these two: what is fetched after the seek must find its part, or it would be passed over.
            self._consumer.seek(place, start.offset)
            committed = None if start.anew else start.offset
            self.parts[place] = Part(place, Held(start.offset), ends[place], committed)
        log.info("bulk_assigned", partitions=sorted(place.partition for place in assigned))

    async def _revoked(self, revoked: list[TopicPartition]) -> None:
        """Finish first what is in work."""
        try:
            async with asyncio.timeout(HANDOVER_S), self.busy:
                await self.commit()
                self.parts.clear()
        except TimeoutError:
            self.parts.clear()
            log.warning("bulk_handed_over_in_work", partitions=len(revoked))

    async def commit(self) -> None:
        """Tell Kafka up to where all is done."""
        moved = {
            place: part.held.low_water
            for place, part in self.parts.items()
            if part.committed is None or part.held.low_water > part.committed
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
            if place in self.parts:
                self.parts[place].committed = offset

    # --- reading

    async def look_further(self) -> bool:
        """Find the next requests a place: where their number's queue is whole in memory they stay, of the others the offset is kept."""
        self._listener.check()
        before = dict(self.parts)
        full = [one.place for one in self.parts.values() if len(one.held) >= self._most]
        self._consumer.pause(*full)
        self._consumer.resume(*(place for place in self._consumer.paused() if place not in full))
        try:
            polled = await self._consumer.getmany(timeout_ms=0, max_records=LOOK_FURTHER)
        except NoOffsetForPartitionError:
            return False  # it looked before the assignment had set it
        async with self.busy:
            if any(part.committed is None for part in self.parts.values()):
                await self.commit()  # before anything is released: whoever comes next is to believe the bits
            for place, rows in polled.items():
                part = self.parts.get(place)
                if part is None:
                    continue
                ours = part is before.get(place)
                if not ours or rows[0].offset < part.held.position:
                    self._consumer.seek(place, part.held.position)  # polled under an earlier assignment
                    continue
                await self._place(part, rows)
        return bool(polled)

    async def _place(self, part: Part, rows: list[ConsumerRecord]) -> None:
        known = [row.offset for row in rows if row.offset < part.seen_until]
        done = await self._done.among(part.place.partition, known) if known else set()
        now_ms, default = self._now_ms(), self._default_number()
        keep = self.at_hand < MOST_AT_HAND
        for row in rows:
            if row.offset in done:
                part.held.pass_over(row.offset)
                continue
            number, _, takes_back = address(row.value, now_ms, default)
            if takes_back is not None and len(part.taken_back) < MOST_TAKEN_BACK:
                part.taken_back[takes_back] = row
            part.held.add(number or FREE, row, keep=keep)

    async def read_again(self, has_room: Callable[[str], bool]) -> bool:
        """Fetch once more what could go now and is known by its offset only. Under `busy`."""
        if self.at_hand >= MOST_AT_HAND:
            for part in self.parts.values():
                part.held.let_go(has_room)
        wanted = {
            part.place: offset
            for part in self.parts.values()
            if (offset := part.held.wanted(has_room)) is not None
        }
        self.reader.pause(*(place for place in self._places if place not in wanted))
        if not wanted:
            return False
        self.reader.resume(*wanted)
        for place, offset in wanted.items():
            if await self.reader.position(place) != offset:
                self.reader.seek(place, offset)
        polled = await self.reader.getmany(*wanted, timeout_ms=READ_AGAIN_MS, max_records=READ_AGAIN)
        for place, rows in polled.items():
            if place not in self.parts:
                continue
            held = self.parts[place].held
            if rows[0].offset > wanted[place] and (gone := held.drop_unread(rows[0].offset)):
                log.error(
                    "bulk_requests_gone", partition=place.partition, before=rows[0].offset, requests=gone
                )
            held.read_again(rows)
        return bool(polled)

    # --- for people

    @property
    def at_hand(self) -> int:
        """Requests in memory."""
        return sum(part.held.at_hand for part in self.parts.values())

    @property
    def unread(self) -> int:
        """Requests not looked at yet."""
        return sum(max(0, self._end(part) - part.held.position) for part in self.parts.values())

    @property
    def behind(self) -> int:
        """From the first request that is not done to the end."""
        return sum(max(0, self._end(part) - part.held.low_water) for part in self.parts.values())

    def waiting(self) -> dict[str, int]:
        """Number → its requests that were looked at."""
        found: dict[str, int] = {}
        for part in self.parts.values():
            for number, queue in part.held.queues.items():
                found[number] = found.get(number, 0) + len(queue)
        return found

    def _end(self, part: Part) -> int:
        return self._consumer.highwater(part.place) or 0
