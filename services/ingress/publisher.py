"""Records in, Kafka's acknowledgement of every one out; says whether Kafka takes records at all."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)

from services.ingress.record import Record
from shared import kafka
from shared.settings import ServiceSettings
from shared.stream.publisher import partition_of
from shared.topics import Topic

log = structlog.get_logger(__name__)

_REST_S = 5.0
"""After a refusal that left nothing under way, the next records are tried again when so long has passed."""
_PROBE_S = 5.0
"""Without traffic the cluster is asked this often, so that readiness is true to it."""
_GATHER_S = 0.003
"""What comes within so long goes to Kafka together: under load a batch costs as much as a record. Meta grants 250 ms (Meta, webhooks, delivery)."""
_BROKEN = (OutOfOrderSequenceNumber, ProducerFenced, UnknownProducerId, InvalidProducerEpoch)
"""A producer that Kafka answers so can publish nothing any more: the process must start anew."""


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

    __slots__ = ("busy", "name", "partition", "waiting")

    def __init__(self, name: str, partition: int) -> None:
        self.name = name
        self.partition = partition
        self.waiting: deque[tuple[Record, _Publication]] = deque()
        self.busy = False


class KafkaPublisher:
    """A part that publishes to `topics` with one producer of its own, in order per partition.

    A batch that a timeout left behind stays with the producer, which goes on trying; its late acknowledgement is what tells that Kafka
    takes records again. It may thus be written although the callers were told otherwise: every event is recognised by its id.
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
        self._refused_s: float | None = None
        self._acknowledged_s = 0.0
        self._reachable = True
        self._probing: asyncio.Task[None] | None = None

    @property
    def taking(self) -> bool:
        if self._refused_s is None:
            return True
        return not self._under_way and asyncio.get_running_loop().time() - self._refused_s >= _REST_S

    @property
    def ready(self) -> bool:
        """Whether Kafka took the last records and, without traffic, answers."""
        return self._refused_s is None and self._reachable

    async def start(self) -> None:
        """Connect; raises KafkaError when Kafka is not there or a topic does not exist."""
        producer = kafka.producer(self._settings, request_timeout_ms=int(self._timeout_s * 1000))
        try:
            await producer.start()
            for topic in self._topics:
                name = kafka.name_of(topic, self._settings)
                count = len(await producer.partitions_for(name))
                self._lanes[topic] = [_Lane(name, partition) for partition in range(count)]
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer
        self._probing = asyncio.create_task(self._probe(), name="kafka-probe")

    async def stop(self) -> None:
        if self._probing is None:
            return
        self._probing.cancel()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._producer.stop()
        except TimeoutError:
            # Whoever sent what is left was told that it failed.
            log.warning("producer_stopped_with_batches_left", batches=len(self._under_way))
        for task in self._under_way:
            task.cancel()

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
            self._refuse(TimeoutError(f"no acknowledgement within {self._timeout_s} s"))
            publication.fail(TimeoutError("no acknowledgement in time"))

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
        try:
            await (await self._producer.send_batch(batch, lane.name, partition=lane.partition))
        except KafkaError as error:
            self._refuse(error)
            for publication in taken:
                publication.fail(error)
        else:
            self._accept()
            for publication in taken:
                publication.acknowledge()

    def _accept(self) -> None:
        if self._refused_s is not None:
            log.info("kafka_takes_records_again")
            self._refused_s = None
        self._reachable = True
        self._acknowledged_s = asyncio.get_running_loop().time()

    def _refuse(self, error: BaseException) -> None:
        if self._refused_s is None:
            log.error("kafka_takes_no_records", error=repr(error))
        self._refused_s = asyncio.get_running_loop().time()
        if isinstance(error, _BROKEN):
            self._broken(error)

    async def _probe(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_PROBE_S if self._reachable else 1.0)
            if loop.time() - self._acknowledged_s < _PROBE_S:
                continue
            try:
                async with asyncio.timeout(_PROBE_S):
                    self._reachable = bool(await self._producer.client.force_metadata_update())
            except (TimeoutError, KafkaError):
                self._reachable = False
