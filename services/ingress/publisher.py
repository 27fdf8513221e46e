"""Records in, Kafka's acknowledgement of every one out; says whether Kafka takes records at all."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)

from shared import kafka
from shared.settings import ServiceSettings
from shared.stream.publisher import partition_of
from shared.topics import Topic

log = structlog.get_logger(__name__)

_REST_S = 5.0
"""After a refusal that left nothing waiting, the next records are tried again when so long has passed."""
_PROBE_S = 5.0
"""Without traffic the cluster is asked this often, so that readiness is true to it."""
_BROKEN = (OutOfOrderSequenceNumber, ProducerFenced, UnknownProducerId, InvalidProducerEpoch)
"""A producer that Kafka answers so can publish nothing any more: the process must start anew."""


class Record(NamedTuple):
    """One record to publish, encoded."""

    topic: Topic
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


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


class KafkaPublisher:
    """A part that publishes with one producer of its own.

    Records that a timeout left behind stay with the producer, which goes on trying; their late acknowledgement is what tells that Kafka
    takes records again. They may thus be written although the caller was told otherwise: every event is recognised by its id.
    """

    def __init__(
        self, settings: ServiceSettings, timeout_s: float, broken: Callable[[BaseException], None]
    ) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._broken = broken
        self._producer: AIOKafkaProducer
        self._names: dict[Topic, str] = {}
        self._partitions: dict[Topic, int] = {}
        self._late: set[asyncio.Future[object]] = set()
        self._refused_s: float | None = None
        self._acknowledged_s = 0.0
        self._reachable = True
        self._probing: asyncio.Task[None] | None = None

    @property
    def taking(self) -> bool:
        if self._refused_s is None:
            return True
        return not self._late and asyncio.get_running_loop().time() - self._refused_s >= _REST_S

    @property
    def ready(self) -> bool:
        """Whether Kafka took the last records and, without traffic, answers."""
        return self._refused_s is None and self._reachable

    async def start(self) -> None:
        producer = self._producer = kafka.producer(
            self._settings, request_timeout_ms=int(self._timeout_s * 1000)
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._probing = asyncio.create_task(self._probe(), name="kafka-probe")

    async def stop(self) -> None:
        if self._probing is None:
            return
        self._probing.cancel()
        try:
            await asyncio.wait_for(self._producer.stop(), self._timeout_s)
        except TimeoutError:
            # Whoever sent what is left was told that it failed.
            log.warning("producer_stopped_with_records_left", records=len(self._late))

    async def publish(self, records: Sequence[Record]) -> None:
        if not self.taking:
            raise Unavailable("Kafka does not take records")
        acknowledgements: list[asyncio.Future[object]] = []
        try:
            async with asyncio.timeout(self._timeout_s):
                for record in records:
                    acknowledgements.append(await self._send(record))  # noqa: PERF401 what was sent must be known on a failure
                for acknowledgement in acknowledgements:
                    await asyncio.shield(acknowledgement)
        except (TimeoutError, KafkaError) as error:
            self._refuse(error)
            raise Unavailable(repr(error)) from error
        finally:
            for acknowledgement in acknowledgements:
                if not acknowledgement.done():
                    self._late.add(acknowledgement)
                acknowledgement.add_done_callback(self._acknowledged)
        self._accept()

    async def _send(self, record: Record) -> asyncio.Future[object]:
        topic = record.topic
        count = self._partitions.get(topic)
        if count is None:
            self._names[topic] = kafka.name_of(topic, self._settings)
            count = self._partitions[topic] = len(await self._producer.partitions_for(self._names[topic]))
        sent: asyncio.Future[object] = await self._producer.send(
            self._names[topic],
            record.value,
            key=record.key,
            partition=partition_of(record.key, count),
            headers=list(record.headers),
        )
        return sent

    def _acknowledged(self, acknowledgement: "asyncio.Future[object]") -> None:
        late = acknowledgement in self._late
        self._late.discard(acknowledgement)
        if acknowledgement.cancelled():
            return
        error = acknowledgement.exception()
        if error is not None:
            self._refuse(error)
        elif late:
            self._accept()

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
