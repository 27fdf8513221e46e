"""Adapter to the ledger and the send events on Kafka: each whole topic once, to its end as of the start, in the order of each partition."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, TypeVar

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from shared import kafka
from shared.events import LedgerEntry, SendEvent, decode_ledger_entry, decode_send_event
from shared.settings import ServiceSettings
from shared.stream.source import SOURCE_HEADER, Source
from shared.topics import BILLING_CHARGES, SEND_EVENTS, Topic

_RECORDS = 5_000

T = TypeVar("T")


class Ledger(Protocol):
    """Whoever has the ledger."""

    def entries(self) -> AsyncIterator[LedgerEntry]:
        """Every entry once, those of a message in order."""
        ...


class Unreadable(Exception):
    """A record of the ledger or of the send events is none; the text says where it is."""


class _Place(msgspec.Struct, frozen=True):
    """So much of an entry as tells whether it is wanted: the rest of a ledger that is kept for ever need not be read."""

    waba_id: str
    month: str


_place_of = msgspec.json.Decoder(_Place).decode


class LedgerTopic:
    """The ledger of some months and accounts.

    Args:
        months: `YYYY-MM`.
        accounts: all of them where empty.
    """

    def __init__(
        self, settings: ServiceSettings, months: frozenset[str], accounts: frozenset[str] = frozenset()
    ) -> None:
        self._settings = settings
        self._months = months
        self._accounts = accounts

    async def entries(self) -> AsyncIterator[LedgerEntry]:
        """Every entry once: what was published twice has the same source and is skipped. Raises Unreadable, KafkaError."""
        seen: dict[int, Source] = {}
        async for record in _records(self._settings, BILLING_CHARGES):
            source = _read(record, lambda r: Source.parse(dict(r.headers).get(SOURCE_HEADER)))
            last = seen.get(source.partition)
            if last is not None and source <= last:
                continue
            seen[source.partition] = source
            place = _read(record, lambda r: _place_of(r.value))
            if place.month in self._months and (not self._accounts or place.waba_id in self._accounts):
                yield _read(record, lambda r: decode_ledger_entry(r.value))


async def send_events(settings: ServiceSettings) -> AsyncIterator[SendEvent]:
    """Every send event that is kept (35 days); one published twice comes twice. Raises Unreadable, KafkaError."""
    async for record in _records(settings, SEND_EVENTS):
        yield _read(record, lambda r: decode_send_event(r.value))


def _read(record: Any, read: Callable[[Any], T]) -> T:
    try:
        return read(record)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise Unreadable(f"{record.topic}:{record.partition}:{record.offset}: {error}") from error


async def _records(settings: ServiceSettings, topic: Topic) -> AsyncIterator[Any]:
    name = kafka.name_of(topic, settings)
    consumer = kafka.reader(settings)
    try:
        await consumer.start()
        if name not in await consumer.topics():
            raise UnknownTopicOrPartitionError(f"topic {name} does not exist")
        places = [TopicPartition(name, n) for n in sorted(consumer.partitions_for_topic(name) or ())]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        left = {place for place in places if await consumer.position(place) < ends[place]}
        while left:
            for place, records in (
                await consumer.getmany(*left, timeout_ms=1000, max_records=_RECORDS)
            ).items():
                for record in records:
                    if record.offset < ends[place]:
                        yield record
            for place in [place for place in left if await consumer.position(place) >= ends[place]]:
                left.discard(place)
                consumer.pause(place)
    finally:
        await consumer.stop()
