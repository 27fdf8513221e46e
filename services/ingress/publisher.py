"""Records in, Kafka's acknowledgement of every one out; says whether Kafka takes records at all."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerClosed

from services.ingress.record import Record
from shared import kafka
from shared.settings import ServiceSettings
from shared.stream.publisher import partition_of
from shared.topics import Topic

log = structlog.get_logger(__name__)

_RENEW_PAUSE_S = 0.5
"""Between two tries to connect a new producer."""
_PROBE_S = 2.0
"""Without traffic the cluster is asked this often, and has so long to answer, so that readiness is true to it."""
_LATE_S = 1.0
"""An acknowledgement that takes longer ends readiness, long before it ends in a refusal: Meta wants 99 of 100 answers within it (Meta, webhooks, delivery)."""
_GATHER_S = 0.003
"""What comes within so long goes to Kafka together: under load a batch costs as much as a record. Meta grants 250 ms (Meta, webhooks, delivery)."""


class Unavailable(Exception):
    """Kafka did not acknowledge in time, or refused; some of the records may have been written."""


class Publisher(Protocol):
    """Where records go."""

    @property
    def taking(self) -> bool:
        """Whether records are worth trying."""
        ...

    async def publish(self, records: Sequence[Record]) -> None:
        """Return when every record is acknowledged.

        Raises:
            Unavailable: not all of them are.
        """
        ...


class _Publication:
    """The records of one caller: `done` is set when the last one is acknowledged, or the first one failed."""

    __slots__ = ("_left", "done")

    def __init__(self, records: int, loop: asyncio.AbstractEventLoop) -> None:
        self._left = records
        self.done = loop.create_future()

    def acknowledge(self) -> None:
        self._left -= 1
        if not self._left and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(Unavailable(repr(error)))


class _Lane:
    """What waits for one partition; whatever has gathered while a batch is under way makes up the next batch."""

    __slots__ = ("busy", "delivery", "name", "partition", "sent_s", "waiting")

    def __init__(self, name: str, partition: int) -> None:
        self.name = name
        self.partition = partition
        self.waiting: deque[tuple[Record, _Publication]] = deque()
        self.busy = False
        self.delivery: asyncio.Future[object] | None = None
        self.sent_s: float | None = None
        """Since when a batch has been waiting for its acknowledgement."""


class KafkaPublisher:
    """A part that publishes to `topics` with one producer of its own, in order per partition.

    When Kafka does not acknowledge in time, or refuses, all that is under way counts as failed and a new producer takes the place of this
    one as soon as Kafka lets it in: one that gave up a batch has a gap in the numbers by which Kafka knows duplicates, and is refused from
    then on (OutOfOrderSequenceNumber). What failed may have been written all the same: every event is recognised by its id.
    `broken` hears of what nobody foresaw.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        topics: Sequence[Topic],
        timeout_s: float,
        broken: Callable[[BaseException], None],
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._timeout_s = timeout_s
        self._broken = broken
        self._producer: AIOKafkaProducer
        self._lanes: dict[Topic, list[_Lane]] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._acknowledged_s = 0.0
        self._reachable = True
        self._probing: asyncio.Task[None] | None = None
        self._renewing = False
        self._renewals: set[asyncio.Task[None]] = set()

    @property
    def taking(self) -> bool:
        return not self._renewing

    @property
    def ready(self) -> bool:
        """Whether Kafka took the last records, is not late with the next ones and, without traffic, answers with a leader for every partition."""
        late_s = asyncio.get_running_loop().time() - _LATE_S
        return (
            self.taking
            and self._reachable
            and not any(
                lane.sent_s is not None and lane.sent_s < late_s
                for lanes in self._lanes.values()
                for lane in lanes
            )
        )

    async def start(self) -> None:
        """Connect; raises KafkaError when Kafka is not there or a topic does not exist."""
        self._producer, counts = await self._connected()
        for topic, count in zip(self._topics, counts, strict=True):
            name = kafka.name_of(topic, self._settings)
            self._lanes[topic] = [_Lane(name, partition) for partition in range(count)]
        self._probing = asyncio.create_task(self._probe(), name="kafka-probe")

    async def stop(self) -> None:
        if self._probing is None:
            return
        self._probing.cancel()
        for task in self._renewals:
            task.cancel()
        await kafka.close(self._producer, self._timeout_s)
        for task in self._under_way:
            task.cancel()

    async def _connected(self) -> tuple[AIOKafkaProducer, list[int]]:
        """A new producer, and how many partitions each topic has."""
        producer = kafka.producer(self._settings, request_timeout_ms=int(self._timeout_s * 1000))
        try:
            await producer.start()
            names = [kafka.name_of(topic, self._settings) for topic in self._topics]
            return producer, [len(await producer.partitions_for(name)) for name in names]
        except BaseException:
            await producer.stop()
            raise

    def _give_up(self, error: BaseException) -> None:
        """Have a new producer instead of this one."""
        if self._renewing:
            return
        log.error("kafka_takes_no_records", error=repr(error))
        self._renewing = True
        renewal = asyncio.create_task(self._renew(), name="kafka-renewal")
        self._renewals.add(renewal)
        renewal.add_done_callback(self._renewals.discard)

    async def _renew(self) -> None:
        for lane in (lane for lanes in self._lanes.values() for lane in lanes):
            if lane.delivery is not None and not lane.delivery.done():
                lane.delivery.set_exception(ProducerClosed())
        await kafka.abandon(self._producer, self._timeout_s)
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    self._producer, _ = await self._connected()
                break
            except (KafkaError, TimeoutError, OSError):
                await asyncio.sleep(_RENEW_PAUSE_S)
        self._renewing = False
        self._heard()
        log.info("kafka_takes_records_again")

    async def publish(self, records: Sequence[Record]) -> None:
        if not self.taking:
            raise Unavailable("Kafka does not take records")
        if not records:
            return
        loop = asyncio.get_running_loop()
        publication = _Publication(len(records), loop)
        for record in records:
            lanes = self._lanes[record.topic]
            lane = lanes[partition_of(record.key, len(lanes))]
            lane.waiting.append((record, publication))
            if not lane.busy:
                lane.busy = True
                task = loop.create_task(self._drain(lane))
                self._under_way.add(task)
                task.add_done_callback(self._drained)
        timer = loop.call_later(self._timeout_s, self._late, publication)
        try:
            await publication.done
        finally:
            timer.cancel()

    def _late(self, publication: _Publication) -> None:
        if not publication.done.done():
            error = TimeoutError(f"no acknowledgement within {self._timeout_s} s")
            publication.fail(error)
            self._give_up(error)

    async def _drain(self, lane: _Lane) -> None:
        """Publish what waits, batch by batch, until nothing does."""
        try:
            while lane.waiting:
                await asyncio.sleep(_GATHER_S)
                await self._publish_some(lane)
        finally:
            lane.busy = False

    def _drained(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("publishing_failed", error=repr(error), exc_info=error)
            self._broken(error)

    async def _publish_some(self, lane: _Lane) -> None:
        batch = self._producer.create_batch()
        taken: list[_Publication] = []
        while lane.waiting:
            record, publication = lane.waiting[0]
            if not publication.done.done():  # else its caller was told already and will come again
                headers = list(record.headers)
                if batch.append(key=record.key, value=record.value, timestamp=None, headers=headers) is None:
                    break
                taken.append(publication)
            lane.waiting.popleft()
        if not taken:
            return
        lane.sent_s = asyncio.get_running_loop().time()
        producer = self._producer
        try:
            lane.delivery = await producer.send_batch(batch, lane.name, partition=lane.partition)
            await lane.delivery
        except KafkaError as error:
            for publication in taken:
                publication.fail(error)
            if producer is self._producer:
                self._give_up(error)
        else:
            self._heard()
            for publication in taken:
                publication.acknowledge()
        finally:
            lane.sent_s = lane.delivery = None

    def _heard(self) -> None:
        self._reachable = True
        self._acknowledged_s = asyncio.get_running_loop().time()

    async def _probe(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_PROBE_S if self._reachable else 1.0)
            if self._renewing or loop.time() - self._acknowledged_s < _PROBE_S:
                continue
            try:
                async with asyncio.timeout(_PROBE_S):
                    self._reachable = (
                        bool(await self._producer.client.force_metadata_update()) and self._led()
                    )
            except (TimeoutError, KafkaError):
                self._reachable = False

    def _led(self) -> bool:
        """Whether every partition that records go to has a leader, as far as Kafka told."""
        cluster = self._producer.client.cluster
        return all(
            len(cluster.available_partitions_for_topic(kafka.name_of(topic, self._settings)) or ())
            >= len(lanes)
            for topic, lanes in self._lanes.items()
        )
