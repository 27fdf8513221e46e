"""Reports outcomes as conversation events, and what Meta said about an account as account events; returns when Kafka has them."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog
from aiokafka.errors import KafkaError

from services.sender.together import Together
from shared.events import AccountChanged, encode
from shared.settings import ServiceSettings
from shared.stream.patience import until_done
from shared.stream.publisher import KafkaPublisher, Record, partition_of
from shared.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS, Topic

log = structlog.get_logger(__name__)


class Outcome(NamedTuple):
    """What became of a command: an event as encoded, and its type's name."""

    conversation_key: str
    event_id: str
    event: bytes
    type: str


class Outcomes:
    """A part with a producer of its own. Publications may be repeated: identical to the byte, with an id from identity."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._publisher = KafkaPublisher(settings)
        self._together = Together(self._publish)

    async def start(self) -> None:
        await self._publisher.start()

    async def stop(self) -> None:
        await self._publisher.stop()

    async def report(self, outcomes: Sequence[Outcome]) -> None:
        """Append each to its conversation; tries until Kafka takes them, or raises KafkaError after the watchdog's time."""
        records = []
        for outcome in outcomes:
            key = outcome.conversation_key.encode()
            partition = partition_of(key, self._settings.partitions)
            records.append(
                _record(CONVERSATION_EVENTS, partition, key, outcome.event_id, outcome.type, outcome.event)
            )
        await self._together.ask(*records)

    async def report_account(self, event: AccountChanged) -> None:
        """Append what a refusal says about an account; tries until Kafka takes it, or raises KafkaError after the watchdog's time."""
        await self._together.ask(
            _record(
                ACCOUNT_EVENTS, 0, event.waba_id.encode(), event.event_id, "AccountChanged", encode(event)
            )
        )

    async def _publish(self, records: Sequence[Record]) -> Sequence[None]:
        await until_done(
            lambda: self._publisher.publish(records),
            lambda error: isinstance(error, KafkaError),
            longest_wait_s=5.0,
            give_up_s=self._settings.watchdog_s,
            told=lambda tries, _: log.warning("outcome_not_reported_yet", tries=tries),
        )
        return [None] * len(records)


def _record(topic: Topic, partition: int, key: bytes, event_id: str, type: str, value: bytes) -> Record:
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", type.encode()),
        ("ce_source", b"/sender"),
        ("content-type", b"application/json"),
    ]
    return Record(topic.name, partition, key, value, headers)
