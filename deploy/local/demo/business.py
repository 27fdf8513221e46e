"""The business's side of the topics: publishes send requests, reads everything the system tells."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from aiokafka import TopicPartition

from shared import kafka
from shared.events import (
    AccountChange,
    BillingAlert,
    LedgerEntry,
    ReceivedMessage,
    SendEvent,
    UserPreference,
    decode_billing_alert,
    decode_ledger_entry,
    decode_send_event,
    decode_user_preference,
)
from shared.settings import ServiceSettings
from shared.topics import (
    ACCOUNT_CHANGES,
    BILLING_ALERTS,
    BILLING_CHARGES,
    MESSAGES_RECEIVED,
    PREFERENCES,
    SEND_EVENTS,
    SEND_REQUESTS,
    Topic,
)

T = TypeVar("T")
Event = SendEvent | ReceivedMessage | AccountChange | LedgerEntry | BillingAlert | UserPreference

WITHIN_S: Final = 20.0
"""Bound of every wait; a step takes well below a second."""
_DECODERS: Final[dict[Topic, Callable[[bytes], Event]]] = {
    SEND_EVENTS: decode_send_event,
    MESSAGES_RECEIVED: msgspec.json.Decoder(ReceivedMessage).decode,
    ACCOUNT_CHANGES: msgspec.json.Decoder(AccountChange).decode,
    BILLING_CHARGES: decode_ledger_entry,
    BILLING_ALERTS: decode_billing_alert,
    PREFERENCES: decode_user_preference,
}


class Missing(Exception):
    """What should have come has not; `concerned` names the services on its way."""

    def __init__(self, what: str, concerned: tuple[str, ...], within_s: float = WITHIN_S) -> None:
        super().__init__(f"no {what} within {within_s:.0f} s")
        self.concerned = concerned


@dataclass(frozen=True, slots=True)
class Told:
    """One record as the business read it; `seen_s` is the monotonic time of that."""

    event: Event
    value: bytes
    seen_s: float


class Business:
    """A business system: one producer, one reader of all public topics from their beginning."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._producer = kafka.producer(settings)
        self._consumer = kafka.reader(settings)
        self._topics = {kafka.name_of(topic, settings): decode for topic, decode in _DECODERS.items()}
        self._told: list[Told] = []
        self._came = asyncio.Condition()
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connects and begins to read."""
        await self._producer.start()
        await self._consumer.start()
        partitions = [
            TopicPartition(name, number)
            for name in self._topics
            for number in await self._producer.partitions_for(name)
        ]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_beginning(*partitions)
        self._reading = asyncio.create_task(self._read(), name="business")

    async def stop(self) -> None:
        """Disconnects."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._consumer.stop()
        await self._producer.stop()

    async def request(self, body: dict[str, Any]) -> float:
        """Publishes a send request or its cancellation and returns the monotonic time of the acknowledgement."""
        topic = kafka.name_of(SEND_REQUESTS, self._settings)
        request_id: str = body.get("request_id") or body["cancel_request_id"]
        await self._producer.send_and_wait(topic, json.dumps(body).encode(), request_id.encode())
        return time.monotonic()

    def of_request(self, request_id: str, event: str | None = None) -> list[Told]:
        """All that was told of a request so far, repetitions included, in order; of one kind if given."""
        return [
            told
            for told in self._told
            if isinstance(told.event, SendEvent)
            and told.event.request_id == request_id
            and event in (None, told.event.event)
        ]

    def received(self, wamid: str) -> list[Told]:
        """The received messages of that id: more than one would be a fault."""
        return [
            told
            for told in self._told
            if isinstance(told.event, ReceivedMessage)
            and json.loads(bytes(told.event.message))["id"] == wamid
        ]

    def changes(self, subject_id: str) -> list[AccountChange]:
        """The changes told of an account, number or template."""
        return [
            told.event
            for told in self._told
            if isinstance(told.event, AccountChange) and told.event.id == subject_id
        ]

    def ledger(self) -> list[LedgerEntry]:
        """The ledger so far."""
        return [told.event for told in self._told if isinstance(told.event, LedgerEntry)]

    def alerts(self) -> list[BillingAlert]:
        """The alerts of budgets and free tiers so far."""
        return [told.event for told in self._told if isinstance(told.event, BillingAlert)]

    def events(self) -> list[Event]:
        """Everything told so far."""
        return [told.event for told in self._told]

    def told(self) -> list[Told]:
        """The same with its bytes."""
        return list(self._told)

    def send_events(self) -> list[SendEvent]:
        """Every send event so far."""
        return [told.event for told in self._told if isinstance(told.event, SendEvent)]

    async def read_to_end(self) -> None:
        """Returns when everything that the topics hold now has been read. Raises KafkaError."""
        ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
        for place, end in ends.items():
            while await self._consumer.position(place) < end:
                async with self._came:
                    await self._came.wait()

    async def until(
        self,
        look: Callable[[], T | None],
        what: str,
        concerned: tuple[str, ...],
        *,
        within_s: float = WITHIN_S,
    ) -> T:
        """Returns what `look` finds, asked again whenever something was told.

        Raises:
            Missing: nothing found within `within_s` seconds.
        """
        try:
            async with asyncio.timeout(within_s), self._came:
                while (found := look()) is None:
                    if self._reading is not None and self._reading.done():
                        self._reading.result()
                    await self._came.wait()
                return found
        except TimeoutError:
            raise Missing(what, concerned, within_s) from None

    async def _read(self) -> None:
        try:
            while True:
                polled = await self._consumer.getmany(timeout_ms=1000)
                seen_s = time.monotonic()
                for partition, records in polled.items():
                    decode = self._topics[partition.topic]
                    self._told += [Told(decode(r.value), r.value, seen_s) for r in records]
                async with self._came:
                    self._came.notify_all()
        finally:
            async with self._came:
                self._came.notify_all()
