"""Received messages from their topic in; whose files they bring is noted in the store, and with `WA_MEDIA_AUTO` what is to be fetched in Redis.

Nothing is fetched here, so no file can hold up a partition. Redis says up to where the topic is read; what it does not know of, it is told from where Meta
still has the files: seven days back. Kafka is told no offset, so nobody goes on by it. At least once: a file that is noted twice is fetched once.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError
from aiokafka.structs import ConsumerRecord

from services.ingress.media.library import Library
from services.ingress.media.store import StoreUnavailable
from services.ingress.media.waiting import Waiting
from services.ingress.media.wanted import LIFE_MS, Wanted, decode_received, wanted_files
from shared import kafka, metrics
from shared.clock import Clock
from shared.lifecycle import Service
from shared.settings import ServiceSettings
from shared.topics import MESSAGES_RECEIVED
from shared.trying import until_stopped

log = structlog.get_logger(__name__)

GROUP = "media"
_POLL_MS = 500
_POLL_RECORDS = 500
_MARKS_AT_ONCE = 32
_LAG = metrics.STREAM_LAG.labels(GROUP)
_READ = metrics.STREAM_RECORDS.labels(GROUP)


class Following(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """A part that consumes `messages.received`; `hashed` makes of a user the reference that stands for them."""

    def __init__(
        self,
        service: Service,
        settings: ServiceSettings,
        library: Library,
        waiting: Waiting,
        hashed: Callable[[str], str],
        clock: Clock,
        *,
        fetch: bool,
    ) -> None:
        self._service = service
        self._settings = settings
        self._library = library
        self._waiting = waiting
        self._hashed = hashed
        self._clock = clock
        self._fetch = fetch
        self._noted: dict[int, int | None] = {}
        """Partition → up to where Redis, as far as we know, says it is read."""
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._consumer: AIOKafkaConsumer

    async def start(self) -> None:
        self._running = self._service.spawn(self._run(), "media-following")

    async def stop(self) -> None:
        """Finish the batch in work, leave."""
        self._stopping.set()
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=self._settings.drain_s / 4)
            self._running.cancel()

    async def _run(self) -> None:
        await until_stopped(
            self._stopping,
            self._consume,
            (KafkaError, StoreUnavailable, OSError),
            lambda error: log.error("media_following_failed", error=repr(error)),
        )

    async def _consume(self) -> None:
        """Consume until the stop or the first failure, with a client of this one run."""
        consumer = self._consumer = kafka.group_consumer(
            self._settings, f"{self._settings.topic_prefix}{GROUP}"
        )
        try:
            await consumer.start()
            consumer.subscribe([kafka.name_of(MESSAGES_RECEIVED, self._settings)], listener=self)
            while not self._stopping.is_set():
                await self._batch()
        finally:
            await consumer.stop()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing to hand over: who is next goes on from what Redis says."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Go on from what Redis says, or begin a week back."""
        await self._begin(assigned)

    async def _begin(self, places: Iterable[TopicPartition]) -> None:
        consumer = self._consumer
        for place in places:
            start = self._noted[place.partition] = await self._waiting.read_up_to(place.partition)
            first = (await consumer.beginning_offsets([place]))[place]
            end = (await consumer.end_offsets([place]))[place]
            if start is None or not first <= start <= end:
                # By the wall clock, as Kafka stamps its records.
                week_ago_ms = int(time.time() * 1000) - LIFE_MS
                recent = (await consumer.offsets_for_times({place: week_ago_ms}))[place]
                log.info("media_read_from_a_week_back", partition=place.partition, known=start)
                start = recent.offset if recent is not None else end
            consumer.seek(place, start)

    async def _batch(self) -> None:
        consumer = self._consumer
        try:
            polled = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        except NoOffsetForPartitionError:
            # The consumer looked before `_begin` had set it: what it noted then is told once.
            await self._begin(consumer.assignment())
            return
        lag = 0
        for place, rows in polled.items():
            files = [file for row in rows for file in _files(row)]
            for start in range(0, len(files), _MARKS_AT_ONCE):
                await asyncio.gather(*map(self._mark, files[start : start + _MARKS_AT_ONCE]))
            now_ms = int(self._clock.time() * 1000)
            before, after = self._noted.get(place.partition), rows[-1].offset + 1
            if not await self._waiting.note(
                place.partition, before, after, files if self._fetch else (), now_ms
            ):
                log.warning("media_position_lost", partition=place.partition, noted=before)
                await self._begin([place])
                continue
            self._noted[place.partition] = after
            _READ.inc(len(rows))
            end = consumer.highwater(place) if place in consumer.assignment() else None
            lag += max(0, (end or 0) - rows[-1].offset - 1)
        if polled:
            _LAG.set(lag)

    async def _mark(self, file: Wanted) -> None:
        refs = [self._hashed(user) for user in (file.user.user_id, file.user.bsuid) if user]
        await self._library.note_owner(file.place, refs)


def _files(row: ConsumerRecord) -> list[Wanted]:
    """The files of one message; what the router wrote and nobody can read is told, and stays in its topic."""
    try:
        return wanted_files(decode_received(row.value or b""))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        log.error(
            "media_message_unreadable",
            source=f"{row.topic}:{row.partition}:{row.offset}",
            error=str(error)[:200],
        )
        return []
