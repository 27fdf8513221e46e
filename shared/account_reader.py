"""Reads all of `account.events` into memory: to its end before the service is ready, then as it grows."""

import asyncio
import time

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from shared import kafka
from shared.accounts import AccountFacts, InvalidFacts
from shared.events import decode_account_event
from shared.lifecycle import Service
from shared.metrics import ACCOUNT_REVISION, PAYMENT_FAILING
from shared.settings import ServiceSettings
from shared.topics import ACCOUNT_EVENTS

log = structlog.get_logger(__name__)


class AccountReader:
    """A part that keeps `facts` current. `start` returns only when the facts reach the end that the topic had then.

    Add it before whatever decides on facts: a service that has just started must decide nothing before it knows the accounts.
    """

    def __init__(self, service: Service, settings: ServiceSettings) -> None:
        self.facts = AccountFacts()
        self._moved = asyncio.Event()
        self._service = service
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._following: asyncio.Task[None] | None = None
        self._partition = TopicPartition(kafka.name_of(ACCOUNT_EVENTS, settings), 0)

    async def start(self) -> None:
        consumer = self._consumer = kafka.reader(self._settings)
        await consumer.start()
        consumer.assign([self._partition])
        await consumer.seek_to_beginning(self._partition)
        end = (await consumer.end_offsets([self._partition]))[self._partition]
        while await consumer.position(self._partition) < end:
            await self._read(consumer)
        log.info("account_facts_read", revision=self.facts.revision)
        PAYMENT_FAILING.set_function(lambda: self.facts.payment_failing(int(time.time() * 1000)))
        self._following = self._service.spawn(self._follow(consumer), "account-facts")

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()  # a consumer that is stopped while it is read raises
        if self._consumer is not None:
            await self._consumer.stop()

    async def reached(self, revision: int) -> None:
        """Return once the facts are of `revision` or later; the caller bounds the wait."""
        while self.facts.revision < revision:
            self._moved.clear()
            await self._moved.wait()

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            await self._read(consumer)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        await _take(consumer, self._partition, self.facts)
        ACCOUNT_REVISION.set(self.facts.revision)
        self._moved.set()


async def read_once(settings: ServiceSettings) -> AccountFacts:
    """The facts as of the end that the topic has now, for who asks once and does not follow.

    Raises:
        KafkaError: Kafka can't be reached, or the topic does not exist.
    """
    facts = AccountFacts()
    partition = TopicPartition(kafka.name_of(ACCOUNT_EVENTS, settings), 0)
    consumer = kafka.reader(settings)
    try:
        await consumer.start()
        if partition.topic not in await consumer.topics():
            raise UnknownTopicOrPartitionError(f"topic {partition.topic} does not exist")
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            await _take(consumer, partition, facts)
    finally:
        await consumer.stop()
    return facts


async def _take(consumer: AIOKafkaConsumer, partition: TopicPartition, facts: AccountFacts) -> None:
    for records in (await consumer.getmany(partition, timeout_ms=1000)).values():
        for record in records:
            try:
                facts.apply(decode_account_event(record.value), record.offset + 1)
            except (InvalidFacts, msgspec.MsgspecError) as error:
                facts.revision = record.offset + 1
                log.error("account_event_ignored", offset=record.offset, error=str(error))
