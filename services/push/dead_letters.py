"""Parks what an endpoint would not take: a record in, Kafka's acknowledgement out."""

import asyncio

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from services.push.control import Control
from services.push.records import TOPIC_HEADER, Coordinates, header, parked
from shared import kafka, metrics
from shared.settings import ServiceSettings
from shared.stream.processor import PARKED_BYTES
from shared.topics import PUSH, PUSH_REDELIVERIES

log = structlog.get_logger(__name__)

_PAUSE_S = 5.0


class DeadLetters:
    """The dead letters of one endpoint."""

    def __init__(self, control: Control, settings: ServiceSettings, endpoint: str) -> None:
        self._control = control
        self._endpoint = endpoint
        self._name = kafka.name_of(PUSH.dead_letters, settings)
        self._prefix = settings.topic_prefix
        self._redeliveries = kafka.name_of(PUSH_REDELIVERIES, settings)
        self._count = metrics.DLQ_RECORDS.labels(PUSH.dead_letters.name)

    async def park(self, record: ConsumerRecord, reason: str, said: bytes) -> None:
        """Return when the event lies with the dead letters, however long Kafka takes: it must not be passed over before."""
        topic = (
            header(record.headers, TOPIC_HEADER)
            if record.topic == self._redeliveries
            else record.topic.removeprefix(self._prefix)
        )
        source = Coordinates(record.topic, record.partition, record.offset)
        value = record.value or b""
        headers = [*parked(self._endpoint, topic, source, record.headers, reason, said)]
        if len(value) > PARKED_BYTES:
            headers.append(("dlq-truncated", str(len(value)).encode()))
        while True:
            try:
                await self._control.producer.send_and_wait(
                    self._name, value[:PARKED_BYTES], key=record.key, headers=headers
                )
            except KafkaError as error:
                log.error("push_not_parked", endpoint=self._endpoint, source=str(source), error=repr(error))
                await asyncio.sleep(_PAUSE_S)
            else:
                break
        self._count.inc()
        log.error("push_parked", endpoint=self._endpoint, source=str(source), reason=reason)
