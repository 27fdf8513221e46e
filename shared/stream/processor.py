"""The stateful loop: poll, load, fold, claim, commit, publish, acknowledge; one for every stateful consumer.

Per poll and partition: states are loaded in one round trip, records folded in offset order, wanted claims asked and their records folded again; then one script
**commits** (store.py), then the outbox is **published**, then the offset is committed to Kafka. So:

- nothing uncommitted is ever published, and what was committed but not published is republished, byte for byte, by whoever takes over;
- Kafka's committed offset says what has been published. Where Redis knows less (it lost a second, or everything), the records below it
  are folded *silently*: decisions are recalled from the memory topic, nothing is published.
"""

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from time import monotonic
from typing import Any, Generic, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    UnknownMemberIdError,
)
from redis.asyncio import Redis

from shared import kafka, metrics
from shared.clock import Clock
from shared.events import TimerFired, encode
from shared.lifecycle import Service
from shared.settings import ServiceSettings
from shared.stream.claims import Asked, BookIncomplete, Claims
from shared.stream.fold import Claim, Expected, Fold, Grants, Outgoing, Owned, Recalled, Step
from shared.stream.folding import Folding, Item
from shared.stream.patience import until_done
from shared.stream.publisher import (
    KafkaPublisher,
    Outbox,
    Publisher,
    Record,
    decode_outbox,
    encode_outbox,
    partition_of,
)
from shared.stream.recall import GROUP_HEADER, Recall
from shared.stream.source import SOURCE_HEADER, source_header
from shared.stream.store import Held, Keys, Refused, Store
from shared.topics import MAX_RECORD_BYTES, Topic

log = structlog.get_logger(__name__)

S = TypeVar("S")
E = TypeVar("E")
F = TypeVar("F")

Told = tuple[E, S | None, Step[S]]

_offset = attrgetter("offset")
_SPEC_VERSION = ("ce_specversion", b"1.0")
_JSON = ("content-type", b"application/json")

MAX_POLL = 1000
"""Records per poll: large enough that the fixed costs vanish, small enough that a batch is some 50 ms."""
TIMER_POLL_S = 0.1
TIMERS_PER_POLL = 500
TIMER_AGAIN_S = 600.0
"""A timer that was put on the topic and is still there after so long is put there again: its fold failed then, and may not now."""
REBUILD_POLL_S = 0.25
END_POLL_S = 10.0
"""So often the watchdog asks for the topic's true end, in case the consumer's own fetching has died."""
PARKED_BYTES = MAX_RECORD_BYTES - 64 * 1024
"""A parked record is as it came, unless its own size leaves no room for its headers; its coordinates still lead to the whole."""
GUARD_RECORDS = 1000
GUARD_POISONED = 100
"""Of the last 1,000 records, as many poisoned ones are nobody's bad record but a bad deploy: stop, park no more."""

NOT_OURS = (CommitFailedError, IllegalGenerationError, UnknownMemberIdError, IllegalStateError)


class DlqGuardOpen(Exception):
    """Too many records fail; the process stops instead of parking all traffic."""


class OffsetLost(Exception):
    """The next record to fold is no longer in the topic; going on would skip records, so an operator must decide."""


class Stalled(Exception):
    """The watchdog: records wait, and the position has not moved."""


@dataclass(slots=True, eq=False)
class _Owned(Generic[S]):
    """A partition this process holds."""

    tp: TopicPartition
    keys: Keys
    epoch: int
    offset: int | None
    """What the store says is folded up to; None before the very first commit."""
    position: int
    """The next record to fold."""
    published: int
    """Records below this are folded silently."""
    pending: Outbox | None = None
    """The former owner's outbox, to be published again before anything else."""
    recall: Recall | None = None
    cache: dict[str, S | None] = field(default_factory=dict)
    appended: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Timers put on the topic and not yet folded: member → due, and when they were put there (monotonic)."""

    @property
    def silent(self) -> bool:
        """Whether records that were published before are still to be folded, to rebuild what Redis lost."""
        return self.position < self.published

    @property
    def live(self) -> bool:
        """Whether nothing of the past is left to do, so that timers are whole."""
        return self.pending is None and not self.silent


@dataclass(slots=True, eq=False)
class _Batch(Generic[S]):
    """What one poll makes of one partition."""

    owned: _Owned[S]
    next_offset: int
    outbox: Outbox


class Processor(Generic[S, E, F], ConsumerRebalanceListener):  # type: ignore[misc]
    """A part of a service that folds one topic.

    Args:
        group: names the consumer group, the Redis keys and the metrics' label.
        fold: the service's pure part.
        source: the topic folded; every outgoing topic has as many partitions (or one).
        memory: the topic on which the fold's decisions can be found again; None when the fold decides nothing that could come out differently.
        facts: the facts as of now, read once per batch.
        told: called with what each committed batch tells, before it is published: (event, state before, step) of each record that brought forth others, in no particular order; not of a silent one.
        cache: states kept decoded per partition; 0 when others change the states too.
        most: records in one poll.
        each: so many of one partition before others have their turn; None: what has come first, whosever it is.
        room: whether a partition may take in more; while it may not, its records wait in Kafka and the other partitions go on.
        rest: for how long to leave the process to others after a batch that took so long (both in seconds).
        store, publisher: for tests that stop a worker at a certain step; the real ones otherwise.
    """

    def __init__(
        self,
        service: Service,
        settings: ServiceSettings,
        *,
        group: str,
        fold: Fold[S, E, F],
        source: Topic,
        memory: Topic | None,
        facts: Callable[[], F],
        redis: Redis,
        clock: Clock,
        cache: int = 50_000,
        told: Callable[[Iterable[Told[E, S]]], None] = lambda _: None,
        most: int = MAX_POLL,
        each: int | None = None,
        room: Callable[[int], bool] = lambda partition: True,
        rest: Callable[[float], float] = lambda took_s: 0.0,
        store: Store | None = None,
        publisher: Callable[[Publisher], Publisher] = lambda publisher: publisher,
    ) -> None:
        self.group = group
        self.owned: dict[int, int] = {}
        self._epochs: dict[int, int] = {}
        """Partition → the latest epoch we held it with."""
        self._continued: set[int] = set()
        self._service = service
        self._settings = settings
        self._fold = fold
        self._source = source
        self._memory = memory
        self._facts = facts
        self._clock = clock
        self._cache = cache
        self._told = told
        self._most = most
        self._each = each
        self._room = room
        self._rest = rest
        self._expected = Expected()
        self._store = store or Store(redis)
        self._topic = kafka.name_of(source, settings)
        self._origin = (GROUP_HEADER, b"/" + group.encode())
        self._partitions = 1 if source.single else settings.partitions
        self._claims = Claims(redis, settings.redis_namespace, group=group, partitions=self._partitions)
        self._publishing: asyncio.Task[None] | None = None
        self._parts: dict[TopicPartition, _Owned[S]] = {}
        self._busy = asyncio.Lock()
        self._changed = asyncio.Event()
        self._stopping = False
        self._verdicts: deque[bool] = deque(maxlen=GUARD_RECORDS)
        self._moved = monotonic()
        self._ends: dict[TopicPartition, int] = {}
        self._failure: BaseException | None = None
        self._consumer: AIOKafkaConsumer
        self._kafka_publisher = KafkaPublisher(settings)
        self._publisher = publisher(self._kafka_publisher)
        self._loop_task: asyncio.Task[None] | None = None
        label = (group,)
        self._m_records = metrics.STREAM_RECORDS.labels(*label)
        self._m_silent = metrics.STREAM_SILENT.labels(*label)
        self._m_granted = metrics.STREAM_CLAIMS.labels(*label, "granted")
        self._m_refused = metrics.STREAM_CLAIMS.labels(*label, "refused")
        self._m_published = metrics.STREAM_PUBLISHED.labels(*label)
        self._m_batch = metrics.STREAM_BATCH_SECONDS.labels(*label)
        self._m_lag = metrics.STREAM_LAG.labels(*label)

    # --- life

    async def start(self) -> None:
        await self._kafka_publisher.start()
        self._consumer = kafka.group_consumer(self._settings, f"{self._settings.topic_prefix}{self.group}")
        await self._consumer.start()
        self._consumer.subscribe([self._topic], listener=self)
        self._loop_task = self._service.spawn(self._run(), f"{self.group}-loop")
        self._service.spawn(self._fire_timers(), f"{self.group}-timers")
        self._service.spawn(self._watch(), f"{self.group}-watchdog")
        self._service.ready_when(
            f"{self.group} has partitions or none to take", lambda: self._changed.is_set()
        )

    async def stop(self) -> None:
        self._stopping = True
        if self._loop_task is not None:
            # Within the half, so that the clients are closed before the service's own bound; what is left undone is safe in the store.
            await asyncio.wait({self._loop_task}, timeout=self._settings.drain_s / 2)
            if self._loop_task.done():
                await self._settled()
            self._loop_task.cancel()
        try:
            async with asyncio.timeout(self._settings.drain_s / 4):
                await self._consumer.stop()
        finally:
            await self._kafka_publisher.stop()

    # --- ownership

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Called by the consumer: the batch in hand is finished, then the partitions are dropped."""
        async with self._busy:
            await self._settled()
            for tp in list(self._parts):
                await self._drop(tp)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Called by the consumer, which swallows exceptions: a failed takeover ends the process instead."""
        began = monotonic()
        try:
            await asyncio.gather(*(self._take(tp) for tp in sorted(assigned)))
        except Exception as failure:  # noqa: BLE001 the consumer would log it and go on without the partition
            self._failure = failure
        self._moved = monotonic()
        if (took := self._moved - began) > self._settings.session_timeout_s / 2:
            log.warning("takeover_slow", group=self.group, seconds=took)  # no heartbeat goes out meanwhile
        self._changed.set()

    async def _take(self, tp: TopicPartition) -> None:
        keys = Keys(self._settings.redis_namespace, self.group, tp.partition)
        taken = await self._store.take(keys)
        committed = await self._consumer.committed(tp)
        first = (await self._consumer.beginning_offsets([tp]))[tp]
        published = committed or 0
        start = first if taken.offset is None else taken.offset
        known = committed if taken.offset is None else taken.offset
        if known is not None and known < first:
            raise OffsetLost(f"{tp.topic}[{tp.partition}]: next is {known}, the topic begins at {first}")
        owned: _Owned[S] = _Owned(tp, keys, taken.epoch, taken.offset, start, published)
        if taken.offset is not None and taken.offset > published:
            owned.pending = decode_outbox(taken.outbox)
        # No await between these two: what is fetched after the seek must find its owner, or it would be passed over.
        self._consumer.seek(tp, start)
        self._parts[tp] = owned
        self.owned[tp.partition] = taken.epoch
        if self._epochs.get(tp.partition) == taken.before:
            self._continued.add(tp.partition)
        else:
            self._continued.discard(tp.partition)
        self._epochs[tp.partition] = taken.epoch
        metrics.STREAM_TAKEOVERS.labels(self.group).inc()
        log.info(
            "partition_taken",
            group=self.group,
            partition=tp.partition,
            epoch=taken.epoch,
            stored=taken.offset,
            published=committed,
        )

    async def _drop(self, tp: TopicPartition) -> None:
        owned = self._parts.pop(tp, None)
        self.owned.pop(tp.partition, None)
        if owned is not None and owned.recall is not None:
            await owned.recall.stop()

    def published(self, partition: int) -> int:
        """The offset below which Kafka too knows that the partition's records are done; 0 when it is not held."""
        held = [owned for tp, owned in self._parts.items() if tp.partition == partition]
        return held[0].published if held else 0

    def continued(self, partition: int) -> bool:
        """Whether nobody else has owned the partition between our last two times."""
        return partition in self._continued

    async def doubt(self, partition: int, epoch: int) -> None:
        """Another user of the partition's state found this epoch gone from the store: find out who owns it, and start over."""
        async with self._busy:
            for owned in list(self._parts.values()):
                if owned.tp.partition == partition and owned.epoch == epoch:
                    await self._refused(owned)

    async def _refused(self, owned: _Owned[S]) -> None:
        """Another worker owns the partition, or Redis lost data: ask the group who we are, and start over from what is stored."""
        await self._settled()
        metrics.STREAM_REFUSED.labels(self.group).inc()
        log.warning("commit_refused", group=self.group, partition=owned.tp.partition, offset=owned.offset)
        await self._drop(owned.tp)
        try:
            committed = await self._consumer.committed(owned.tp)
            await self._consumer.commit({owned.tp: committed or 0})
        except NOT_OURS as error:
            log.warning("partition_lost", group=self.group, partition=owned.tp.partition, error=repr(error))
            return
        await self._take(owned.tp)

    # --- the loop

    async def _run(self) -> None:
        while not self._stopping:
            if self._failure is not None:
                raise self._failure
            before = dict(self._parts)
            self._hold_back()
            try:
                polled = await self._poll()
            except NoOffsetForPartitionError:
                continue  # seen before the assignment's own seek; positions come from the store
            if not polled:
                async with self._busy:
                    await self._settled()
                    for owned in list(self._parts.values()):
                        await self._publish_pending(owned)
                if not self._lag():
                    self._moved = monotonic()
                continue
            started = monotonic()
            async with self._busy:
                for owned in list(self._parts.values()):
                    await self._publish_pending(owned)  # a quiet partition's too, while others have traffic
                postponed = await self._handle(polled, before)
            if postponed:
                self._moved = monotonic()  # waiting until others have rebuilt is health
                await asyncio.sleep(REBUILD_POLL_S)
            took_s = monotonic() - started
            self._m_batch.observe(took_s)
            self._lag()
            rest_s = self._rest(took_s)
            if rest_s and not self._rebuilding():
                await asyncio.sleep(rest_s)

    async def _poll(self) -> dict[TopicPartition, list[Any]]:
        """The next records, only of partitions to be rebuilt while there are any; nothing if nothing comes for a tenth of a second."""
        rebuilding = self._rebuilding()
        if self._each is not None and not rebuilding and (polled := await self._poll_in_turn(self._each)):
            return polled
        return await self._consumer.getmany(*rebuilding, timeout_ms=100, max_records=self._most)  # type: ignore[no-any-return]

    def _rebuilding(self) -> list[TopicPartition]:
        return [owned.tp for owned in self._parts.values() if owned.silent]

    async def _poll_in_turn(self, each: int) -> dict[TopicPartition, list[Any]]:
        """What has come, beginning with the partition served longest ago; those that have more fill what the others leave."""
        polled: dict[TopicPartition, list[Any]] = {}
        left, more = self._most, False
        with suppress(NoOffsetForPartitionError):  # as above; what others have given is kept
            for tp in list(self._parts):
                if left <= 0:
                    break
                came = await self._consumer.getmany(tp, timeout_ms=0, max_records=min(each, left))
                if records := came.get(tp):
                    polled[tp] = records
                    left -= len(records)
                    more |= len(records) == each
                    if tp in self._parts:
                        self._parts[tp] = self._parts.pop(tp)
            if more and left > 0:
                for tp, records in (await self._consumer.getmany(timeout_ms=0, max_records=left)).items():
                    polled[tp] = polled.get(tp, []) + records
        return polled

    def _hold_back(self) -> None:
        """Fetch nothing of partitions that have no room; go on with those that have some again. What is rebuilt had its room before."""
        paused = self._consumer.paused()
        for tp, owned in self._parts.items():
            if (owned.silent or self._room(tp.partition)) == (tp not in paused):
                continue
            if tp in paused:
                self._consumer.resume(tp)
            else:
                self._consumer.pause(tp)
            log.warning(
                "partition_held_back", group=self.group, partition=tp.partition, held=tp not in paused
            )

    async def _handle(
        self, polled: Mapping[TopicPartition, Sequence[Any]], before: Mapping[TopicPartition, _Owned[S]]
    ) -> bool:
        """Fold what was polled; whether some of it had to be put off."""
        facts = self._facts()
        work = []
        for tp, records in polled.items():
            owned = self._parts.get(tp)
            if owned is None:
                continue
            if owned is not before.get(tp):
                # Taken over while polling: these may be from elsewhere.
                self._consumer.seek(tp, owned.position)
                continue
            if records[0].offset != owned.position:
                raise OffsetLost(f"{tp}: polled {records[0].offset}, but {owned.position} is next to fold")
            await self._publish_pending(owned)
            silent = bisect_left(records, owned.published, key=_offset)
            if silent:
                await self._silently(owned, records[:silent], facts)
            if silent < len(records) and owned is self._parts.get(tp):
                work.append(self._fold_and_commit(owned, records[silent:], facts))
        folded = await asyncio.gather(*work)
        batches = [batch for batch in folded if batch is not None]
        if batches:
            self._publishing = asyncio.create_task(self._publish(batches), name=f"{self.group}-publish")
        return len(batches) < len(folded)

    async def _publish_pending(self, owned: _Owned[S]) -> None:
        if owned.pending is not None and owned.offset is not None:
            outbox, owned.pending = owned.pending, None
            await self._publish([_Batch(owned, owned.offset, outbox)])

    async def _silently(self, owned: _Owned[S], records: Sequence[Any], facts: F) -> None:
        """Rebuild: fold what was published before, publish nothing."""
        recall = owned.recall
        if recall is None and self._memory is not None:
            recall = Recall(
                kafka.reader(self._settings),
                TopicPartition(kafka.name_of(self._memory, self._settings), owned.tp.partition),
                self.group,
            )
            await recall.start(None if owned.offset is None else records[0].timestamp)
            owned.recall = recall
        recalled = [Recalled(await recall.events(r.offset) if recall is not None else ()) for r in records]
        if await self._fold_and_commit(owned, records, facts, recalled) is None:
            return
        self._m_silent.inc(len(records))
        if not owned.silent and recall is not None:
            await recall.stop()
            owned.recall = None

    async def _fold_and_commit(
        self, owned: _Owned[S], records: Sequence[Any], facts: F, recalled: Sequence[Recalled] | None = None
    ) -> _Batch[S] | None:
        items, poisoned = self._decode(records, recalled)
        known = await self._load(owned, {item.key for item in items})
        folding = Folding(self._fold, facts, dict(known), poisoned=poisoned)
        folding.feed(items)
        granted_in = ""
        try:
            while folding.wanted:
                grants, run = await self._ask(folding.wanted, force=recalled is not None)
                if granted_in not in ("", run):
                    raise BookIncomplete(owned.tp)
                granted_in = run
                folding.answer(grants)
        except BookIncomplete:
            if recalled is None:
                self._consumer.seek(owned.tp, owned.position)
            else:
                await self._refused(owned)  # what was recalled is not recalled a second time
            return None
        next_offset = records[-1].offset + 1
        outbox = Outbox([], [])
        if recalled is None:
            self._guard(len(records), len(folding.poisoned))
            outbox = Outbox(self._records(folding), folding.releases)
        else:
            # Before the commit: a rebuild that dies in between asks and releases once more.
            await self._claims.release(folding.releases, self._now_ms())
        changes = folding.changes(known)
        await self._settled()  # the outbox holds one batch
        if self._parts.get(owned.tp) is not owned:
            return None
        try:
            await self._store.commit(
                owned.keys, owned.epoch, owned.offset, next_offset, encode_outbox(outbox), changes, granted_in
            )
        except Refused:
            await self._refused(owned)
            return None
        if recalled is None:
            self._count_parked(folding)
            self._told([(item.event, item.before, step) for item, step in folding.out.values()])
        owned.offset = owned.position = next_offset
        if self._cache:
            owned.cache.update(folding.states)
            if len(owned.cache) > self._cache:
                for key in list(islice(owned.cache, len(owned.cache) // 2)):
                    del owned.cache[key]
        for member in folding.fired:
            owned.appended.pop(member, None)
        self._moved = monotonic()
        self._m_records.inc(len(records))
        return _Batch(owned, next_offset, outbox)

    def _decode(
        self, records: Sequence[Any], recalled: Sequence[Recalled] | None
    ) -> tuple[list[Item[E]], dict[int, tuple[Any, str]]]:
        items: list[Item[E]] = []
        poisoned: dict[int, tuple[Any, str]] = {}
        plain = Grants(expected=self._expected)
        decode, key_of = self._fold.decode, self._fold.key
        for index, record in enumerate(records):
            try:
                event = decode(record.value)
                key = key_of((record.key or b"").decode(), event)
            except Exception as error:  # noqa: BLE001 whatever a record does to its decoder, the next one must not suffer for it
                poisoned[record.offset] = (record, f"undecodable: {error}")
                continue
            grants = plain if recalled is None else Grants({}, recalled[index], self._expected)
            items.append(Item(record, key, event, grants))
        return items, poisoned

    async def _load(self, owned: _Owned[S], names: set[str]) -> dict[str, S | None]:
        known = {name: owned.cache[name] for name in names if name in owned.cache}
        missing = [name for name in names if name not in known]
        for name, value in zip(missing, await self._store.load(owned.keys, missing), strict=True):
            known[name] = None if value is None else self._fold.decode_state(value)
        return known

    def _guard(self, records: int, poisoned: int) -> None:
        self._verdicts.extend([True] * poisoned)
        self._verdicts.extend([False] * (records - poisoned))
        if sum(self._verdicts) >= GUARD_POISONED:
            metrics.DLQ_GUARD_OPEN.labels(self.group).set(1)
            raise DlqGuardOpen(
                f"{sum(self._verdicts)} of the last {len(self._verdicts)} records of {self._topic} failed"
            )

    async def _ask(self, wanted: Sequence[Claim | Owned], *, force: bool) -> Asked:
        asked = await self._claims.ask(wanted, self._now_ms(), force=force)
        granted = sum(grant.granted for grant in asked.grants.values())
        self._m_granted.inc(granted)
        self._m_refused.inc(len(asked.grants) - granted)
        return asked

    def _now_ms(self) -> int:
        return int(self._clock.time() * 1000)

    # --- publishing

    async def _settled(self) -> None:
        """Wait until the batch committed last is published and acknowledged; the next one is folded meanwhile."""
        if self._publishing is not None:
            await asyncio.wait({self._publishing})
            self._publishing.result()

    def _records(self, folding: Folding[S, E, F]) -> list[Record]:
        """All that a batch publishes, in the order of its source records."""
        records: list[Record] = []
        out, poisoned = folding.out, folding.poisoned
        for offset in sorted({*out, *poisoned}):
            if offset in poisoned:
                source, reason = poisoned[offset]
                records.append(self._parked(source, reason))
                key, value = (source.key or b"").decode(errors="replace"), source.value or b""
                self._outgoing(source, self._fold.malformed(key, value, reason), records)
            else:
                item, step = out[offset]
                self._outgoing(item.source, step.out, records)
        return records

    def _count_parked(self, folding: Folding[S, E, F]) -> None:
        for offset, (source, reason) in folding.poisoned.items():
            metrics.DLQ_RECORDS.labels(self._source.dead_letters.name).inc()
            log.error(
                "record_parked", group=self.group, partition=source.partition, offset=offset, reason=reason
            )

    async def _publish(self, batches: Sequence[_Batch[S]]) -> None:
        records = [record for batch in batches for record in batch.outbox.records]
        releases = [release for batch in batches for release in batch.outbox.releases]
        if records:
            await self._until_done(lambda: self._publisher.publish(records))
            self._m_published.inc(len(records))
        if releases:
            await self._claims.release(releases, self._now_ms())
        offsets = {batch.owned.tp: batch.next_offset for batch in batches}
        try:
            await self._until_done(lambda: self._consumer.commit(offsets))
        except NOT_OURS as error:
            # The group has moved on. Whoever is given the partitions next, perhaps this process, publishes again and commits for itself.
            log.warning("offset_not_committed", group=self.group, error=repr(error))
            for batch in batches:
                if self._parts.get(batch.owned.tp) is batch.owned:
                    await self._drop(batch.owned.tp)
            return
        for batch in batches:
            batch.owned.published = batch.next_offset

    async def _until_done(self, act: Callable[[], Awaitable[object]]) -> None:
        """Repeat while Kafka can't; what is repeated is idempotent or identical to the byte."""
        await until_done(
            act,
            lambda error: isinstance(error, KafkaError) and not isinstance(error, NOT_OURS),
            longest_wait_s=2.0,
            give_up_s=self._settings.watchdog_s,
            told=lambda _, error: log.warning("kafka_unavailable", group=self.group, error=repr(error)),
        )

    # --- timers, lag, watchdog

    async def _fire_timers(self) -> None:
        """Append due timers to the source topic, the fold of `TimerFired` removes them; and vouch for partitions found complete."""
        while not self._stopping:
            now_ms = self._now_ms()
            held = [owned for owned in self._parts.values() if owned.live]
            found = await self._store.due(
                [Held(o.keys, o.epoch, o.offset, TIMERS_PER_POLL + len(o.appended)) for o in held],
                now_ms,
            )
            for owned, due in zip(held, found, strict=True):
                if due is None:
                    async with self._busy:
                        if self._parts.get(owned.tp) is owned:
                            await self._refused(owned)
                    continue
                since = monotonic() - TIMER_AGAIN_S
                fresh = [
                    (member, at)
                    for member, at in due
                    if (known := owned.appended.get(member)) is None or known[0] != at or known[1] < since
                ]
                if fresh and self._parts.get(owned.tp) is owned:
                    owned.appended.update((member, (at, monotonic())) for member, at in fresh)
                    await self._append(owned, fresh, now_ms)
            await asyncio.sleep(TIMER_POLL_S)

    async def _append(self, owned: _Owned[S], timers: Sequence[tuple[str, int]], now_ms: int) -> None:
        rows = [_timer_record(self._source, owned.tp.partition, member, at, now_ms) for member, at in timers]
        await self._until_done(lambda: self._publisher.publish(rows))
        metrics.STREAM_TIMERS.labels(self.group).inc(len(rows))

    def _lag(self) -> int:
        """Records that wait in the partitions held and could be taken in, as far as the consumer has heard; the metric counts all."""
        waiting = held_back = 0
        for tp, owned in self._parts.items():
            end = max(self._consumer.highwater(tp) or 0, self._ends.get(tp, 0), owned.published)
            waiting += max(0, end - owned.position)
            if not self._room(tp.partition):
                held_back += max(0, end - owned.position)
        self._m_lag.set(waiting)
        return waiting - held_back

    async def _watch(self) -> None:
        asked = 0.0
        while not self._stopping:
            await asyncio.sleep(1)
            if self._parts and monotonic() - asked > END_POLL_S:
                asked = monotonic()
                try:
                    async with asyncio.timeout(END_POLL_S):
                        self._ends = await self._consumer.end_offsets(list(self._parts))
                except (KafkaError, TimeoutError) as error:
                    log.warning("ends_not_known", group=self.group, error=repr(error))
            waiting, idle = self._lag(), monotonic() - self._moved
            if waiting and idle > self._settings.watchdog_s:
                raise Stalled(f"{self.group}: {waiting} records wait, no progress for {idle:.0f} s")

    def _outgoing(self, source: Any, events: Iterable[Outgoing], records: list[Record]) -> None:
        """Append what a record brought forth, with CloudEvents headers and the source's coordinates."""
        origin, beside, offset = self._origin, source.partition, source.offset
        for nth, event in enumerate(events):
            key, topic = event.key.encode(), event.topic
            if topic.single:
                partition = 0
            elif key == source.key or event.beside_source:
                partition = beside
            else:
                partition = partition_of(key, self._partitions)
            headers = [
                _SPEC_VERSION,
                ("ce_id", event.id.encode()),
                _type_header(event.type),
                origin,
                _JSON,
                (SOURCE_HEADER, source_header(beside, offset, nth)),
            ]
            records.append(Record(topic.name, partition, key, event.value, headers))

    def _parked(self, source: Any, reason: str) -> Record:
        """A record that can't be folded, as it came, with the reason and its coordinates."""
        value = source.value or b""
        whole = len(value) <= PARKED_BYTES
        return Record(
            self._source.dead_letters.name,
            source.partition,
            source.key or b"",
            value[:PARKED_BYTES],
            [
                *(() if whole else (("dlq-truncated", str(len(value)).encode()),)),
                ("dlq-reason", reason[:2000].encode()),
                ("dlq-group", self.group.encode()),
                ("dlq-source", f"{source.topic}:{source.partition}:{source.offset}".encode()),
                *((name, value) for name, value in source.headers),
            ],
        )


@lru_cache(maxsize=256)
def _type_header(type: str) -> tuple[str, bytes]:
    return ("ce_type", type.encode())


def _timer_record(source: Topic, partition: int, member: str, due_ms: int, now_ms: int) -> Record:
    """A timer that has come due, as a record of the topic whose fold set it."""
    key, _, name = member.rpartition("\n")
    fired = TimerFired(event_id=f"{key}:{name}:{due_ms}", at_ms=now_ms, key=key, name=name, due_ms=due_ms)
    return Record(source.name, partition, key.encode(), encode(fired), [("ce_type", b"TimerFired")])
