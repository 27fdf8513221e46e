"""One endpoint: its consumer group in, its webhooks out. It shares nothing with other endpoints but the process.

The group's offset is the only progress: the first event of a partition that is not delivered. What was delivered beyond it is delivered again
after a crash, with the same webhook-id.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple
from zlib import crc32

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from services.push.answers import Answer
from services.push.breaker import Breaker, Outages
from services.push.control import Control
from services.push.dead_letters import DeadLetters
from services.push.desk import Desk, Taken, Terms
from services.push.endpoints import Endpoint
from services.push.http import HttpClient
from services.push.kinds import KINDS, Event
from services.push.lanes import Item, Place
from services.push.meters import Meters
from services.push.offsets import Offsets
from services.push.records import Coordinates, Reader, Unreadable
from services.push.reporting import Reporting
from services.push.sealing import sealed
from services.push.secrets import SecretMissing, Secrets
from services.push.settings import PushSettings
from services.push.standing import EndpointSwitched, recall, told_ms
from services.push.wall import now_ms
from shared import kafka
from shared.topics import PUSH_REDELIVERIES
from shared.trying import until_stopped

log = structlog.get_logger(__name__)

_POLL_MS = 100
_POLL_RECORDS = 200
_FETCH_BYTES = 4 * 1024 * 1024
"""What is read beyond the look-ahead before a partition waits."""
_COMMIT_S = 0.5
_HANDOVER_S = 10.0
"""Longest wait for what is under way when Kafka takes partitions away; less than a rebalance waits."""
_LAST_WORD_S = 4.0
"""Longest a stop waits for Kafka, once for the offsets and once for the state."""


class Pending(NamedTuple):
    """An event to deliver, and all that is needed to park it."""

    event: Event
    record: ConsumerRecord


class Channel:
    """Reads, delivers and commits until it is stopped."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: PushSettings,
        control: Control,
        secrets: Secrets,
        display_number: Callable[[str], str],
        http: HttpClient,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.endpoint = endpoint
        self.assigned = False
        """Whether Kafka has given it its share, if only once."""
        self._settings = settings
        self._control = control
        self._secrets = secrets
        self._display_number = display_number
        self._http = http
        self._fail = fail
        topics = {kafka.name_of(kind.topic, settings): kind.topic for kind in KINDS}
        redeliveries = kafka.name_of(PUSH_REDELIVERIES, settings)
        self._topics = (*topics, redeliveries)
        """All are subscribed to, whatever is wanted: the group then stays as it is when the file changes, and nobody waits for a member to be missed."""
        self._wanted = frozenset(
            (*(kafka.name_of(topic, settings) for topic in endpoint.topics), redeliveries)
        )
        self._reader = Reader(endpoint, topics, redeliveries)
        self._dead_letters = DeadLetters(control, settings, endpoint.name)
        self._meters = Meters(endpoint.name)
        self._desk: Desk[Pending] = Desk(
            Terms(endpoint.concurrency, endpoint.batch, endpoint.give_up_ms), Breaker(), Outages()
        )
        self._consumer: AIOKafkaConsumer | None = None
        self._stopping = asyncio.Event()
        self._holding = False
        """Nothing new goes out: partitions change hands, or the end has come."""
        self._under_way: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._reporting = Reporting(
            endpoint.name, settings.instance, self._desk, self._meters, control, self._lag
        )

    # --- its life

    async def run(self) -> None:
        """Serve until `stop`; clients are made anew with growing pauses when Kafka fails."""
        name, instance = self.endpoint.name, self._settings.instance
        recall(self._desk, self._control.standing, name, instance, now_ms())
        await self._http.start()
        reporting = asyncio.create_task(self._reporting.run(), name=f"push-reporting-{name}")
        reporting.add_done_callback(self._broke)
        try:
            await until_stopped(
                self._stopping,
                self._consume,
                (KafkaError, OSError),
                lambda error: log.error("push_interrupted", endpoint=name, error=repr(error)),
            )
        finally:
            reporting.cancel()
            if self._timer is not None:
                self._timer.cancel()
            await self._http.stop()
            await self._reporting.last_word(_LAST_WORD_S)
            self._meters.remove()

    def stop(self) -> None:
        """Let `run` finish what is under way, commit and return."""
        self._stopping.set()

    def heard(self, word: EndpointSwitched) -> None:
        """The endpoint was enabled or disabled."""
        self._desk.switch(now_ms(), enabled=word.enabled)
        self._reporting.turned()
        self._pump()

    async def _consume(self) -> None:
        """Read until the stop or the first failure, with a consumer of this one run."""
        settings, name = self._settings, self.endpoint.name
        # Another catalogue of topics, as a release may bring, is another member: a static one's topics are looked at when it joins only.
        member = f"{settings.instance}-{crc32(' '.join(self._topics).encode()):08x}"
        consumer = kafka.group_consumer(
            settings.model_copy(update={"instance": member}),
            group_of(settings.topic_prefix, name),
            fetch_bytes=_FETCH_BYTES,
        )
        offsets = Offsets(consumer, self.endpoint, self._served_ms, self._wanted, self._topics[-1])
        self._holding = False
        try:
            await consumer.start()
            self._consumer = consumer
            consumer.subscribe(list(self._topics), listener=_Assignments(self, offsets))
            commit_s = time.monotonic()
            while not self._stopping.is_set():
                await self._read_some(consumer, offsets)
                if time.monotonic() - commit_s >= _COMMIT_S:
                    commit_s = time.monotonic()
                    await self._commit(offsets)
        finally:
            await self._quiet(settings.drain_s / 2)
            try:
                with suppress(KafkaError, TimeoutError):
                    async with asyncio.timeout(_LAST_WORD_S):
                        await self._commit(offsets)
            finally:
                self._consumer = None
                for place in list(self._desk.lanes.places):
                    self._desk.lanes.forget(place)
                await consumer.stop()

    def _served_ms(self) -> int:
        return told_ms(self._control.standing.states.get(self.endpoint.name, {}).values())

    async def _read_some(self, consumer: AIOKafkaConsumer, offsets: Offsets) -> None:
        try:
            polled = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        except NoOffsetForPartitionError:
            # The consumer looked before `take_over` had set it: what it noted then is told once.
            await offsets.begin(consumer.assignment())
            return
        except OffsetOutOfRangeError as error:
            self._meters.expired.inc(await offsets.pass_over(error.args[0]))
            return
        lanes = self._desk.lanes
        for partition, rows in polled.items():
            if partition.topic not in self._wanted:
                continue
            place = Place(partition.topic, partition.partition)
            if place not in lanes:
                lanes.begin(place, rows[0].offset)
            for row in rows:
                await self._take_in(place, row)
        if polled:
            self._pump()
        self._balance(consumer, {*polled, *consumer.paused()})

    async def _take_in(self, place: Place, row: ConsumerRecord) -> None:
        item = None
        value = row.value or b""
        try:
            event = self._reader.event(row.topic, value, row.headers)
        except Unreadable as error:
            await self._dead_letters.park(row, f"unreadable: {error}", b"")
            self._meters.parked.inc()
        else:
            if event is not None:
                item = Item(place, row.offset, row.key or b"", row.timestamp, len(value), Pending(event, row))
        self._desk.lanes.read(place, row.offset, item)

    def _balance(self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
        """Let partitions wait that are read far enough ahead, until half of that is done; those of topics that are not wanted always wait."""
        paused, ours = consumer.paused(), consumer.assignment()
        most, most_bytes = self._settings.push_look_ahead, self._settings.push_look_ahead_bytes
        for partition in ours.intersection(partitions):
            events, size = self._desk.lanes.held(Place(partition.topic, partition.partition))
            if partition.topic not in self._wanted or events >= most or size >= most_bytes:
                if partition not in paused:
                    consumer.pause(partition)
            elif partition in paused and events <= most // 2 and size <= most_bytes // 2:
                consumer.resume(partition)

    async def _commit(self, offsets: Offsets) -> None:
        lanes = self._desk.lanes
        await offsets.commit({place: lanes.low_water(place) for place in lanes.places})

    async def hand_over(self, partitions: Iterable[TopicPartition], offsets: Offsets) -> None:
        """Kafka takes partitions away: finish what is under way, commit, forget."""
        await self._quiet(_HANDOVER_S)
        try:
            async with asyncio.timeout(_HANDOVER_S):
                await self._commit(offsets)
        except (KafkaError, TimeoutError) as error:
            log.warning("push_commit_failed", endpoint=self.endpoint.name, error=repr(error))
        finally:
            for partition in partitions:
                place = Place(partition.topic, partition.partition)
                self._desk.lanes.forget(place)
                offsets.forget(place)

    async def take_over(self, partitions: Iterable[TopicPartition], offsets: Offsets) -> None:
        """Kafka has given partitions."""
        try:
            await offsets.begin(partitions)
        except KafkaError as error:
            # The consumer then says that it has no offset, and it is tried again.
            log.warning("push_begin_failed", endpoint=self.endpoint.name, error=repr(error))
        if self._consumer is not None:
            self._balance(self._consumer, partitions)
        self._holding = False
        self.assigned = True
        self._pump()

    async def _quiet(self, within_s: float) -> None:
        """Let what is under way end, and break off what has not by then."""
        self._holding = True
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=within_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    # --- delivering

    def _pump(self) -> None:
        """Let go out what may, and look again when the next try is due."""
        if self._holding:
            return
        now = now_ms()
        while (taken := self._desk.take(now)) is not None:
            task = asyncio.create_task(self._deliver(taken))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_ms = self._desk.wake_ms()
        if wake_ms is not None:
            delay_s = max(wake_ms - now, 10) / 1000
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._pump)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._broke(task)
        self._pump()

    def _broke(self, task: asyncio.Task[None]) -> None:
        """An error of our own ends the process."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _deliver(self, taken: Taken[Pending]) -> None:
        try:
            answer = await self._try([item.what.event for item in taken.items])
        except asyncio.CancelledError:
            self._desk.withdraw(taken, now_ms())
            raise
        now = now_ms()
        settled = self._desk.settle(taken, answer, now, random.random())
        self._meters.tries[answer.outcome].inc()
        if answer.outcome == "delivered":
            self._meters.events.inc(len(taken.items))
            for item in taken.items:
                self._meters.seconds.observe(max(0, now - item.at_ms) / 1000)
        else:
            self._failed(taken, answer)
        if settled.turned:
            await self._turn(answer)
        for item in settled.park:
            await self._park(item, answer)

    async def _try(self, events: list[Event]) -> Answer:
        try:
            keys = self._secrets.keys(self.endpoint)
            webhook = sealed(self.endpoint, keys, events, int(time.time()), self._display_number)
        except SecretMissing as error:
            return Answer("failed", f"secret: {error}", unreachable=True)
        except (ValueError, msgspec.MsgspecError) as error:
            return Answer("refused", f"no form of Meta's: {error}")
        return await self._http.post(webhook.body, webhook.headers)

    def _failed(self, taken: Taken[Pending], answer: Answer) -> None:
        first = taken.items[0]
        self._reporting.failed(answer.detail)
        log.warning(
            "push_failed",
            endpoint=self.endpoint.name,
            outcome=answer.outcome,
            detail=answer.detail,
            source=str(_coordinates(first)),
            events=len(taken.items),
            tries=first.tries,
            probe=taken.probe,
        )

    async def _turn(self, answer: Answer) -> None:
        self._reporting.turned()
        name = self.endpoint.name
        if answer.outcome != "gone":
            log.warning("push_breaker", endpoint=name, open=self._desk.breaker.open, detail=answer.detail)
            return
        word = EndpointSwitched(endpoint=name, at_ms=now_ms(), enabled=False, by="push", reason=answer.detail)
        log.error("push_endpoint_gone", endpoint=name)
        try:
            await self._control.tell(word)
        except KafkaError as error:
            # It stays disabled here; a process that does not know will be told 410 itself.
            log.error("push_word_not_told", endpoint=name, error=repr(error))

    async def _park(self, item: Item[Pending], answer: Answer) -> None:
        reason = f"{answer.detail} after {item.tries} tries"
        await self._dead_letters.park(item.what.record, reason, answer.said)
        self._meters.parked.inc()
        self._desk.parked(item)

    def _lag(self) -> int | None:
        """Records of its topics that are not done; None while that is not known."""
        consumer, lanes = self._consumer, self._desk.lanes
        if consumer is None or not self.assigned:
            return None
        lag = 0
        for partition in consumer.assignment():
            if partition.topic not in self._wanted:
                continue
            place = Place(partition.topic, partition.partition)
            end = consumer.highwater(partition)
            if end is None:
                return None
            if place in lanes:
                lag += max(0, end - lanes.low_water(place))
        return lag


class _Assignments(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Hands partitions over and takes them over."""

    def __init__(self, channel: Channel, offsets: Offsets) -> None:
        self._channel = channel
        self._offsets = offsets

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._channel.hand_over(revoked, self._offsets)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await self._channel.take_over(assigned, self._offsets)


def _coordinates(item: Item[Pending]) -> Coordinates:
    return Coordinates(item.place.topic, item.place.partition, item.offset)


def group_of(topic_prefix: str, endpoint: str) -> str:
    """The consumer group of an endpoint."""
    return f"{topic_prefix}push.{endpoint}"
