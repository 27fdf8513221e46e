"""Adapter to `account.events`: reads the facts whole, publishes account events and waits for the acks."""

from collections.abc import Sequence

from shared import kafka
from shared.account_reader import read_once
from shared.accounts import AccountFacts
from shared.events import AccountChanged, encode
from shared.metrics import APPLIED
from shared.settings import ServiceSettings
from shared.topics import ACCOUNT_EVENTS


class KafkaAccountEvents:
    """The topic, asked anew at each use: operators come seldom, and must see what others have just done."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings

    async def read(self) -> AccountFacts:
        """The facts as of the topic's end.

        Raises:
            KafkaError: Kafka can't be reached, or the topic was never created.
        """
        return await read_once(self._settings)

    async def publish(self, events: Sequence[AccountChanged]) -> int:
        """Append the events in order and return the revision after the last one.

        Raises:
            KafkaError: some event is not acknowledged; applying the file again publishes what is missing.
        """
        topic = kafka.name_of(ACCOUNT_EVENTS, self._settings)
        revision = 0
        producer = kafka.producer(self._settings)
        try:
            await producer.start()
            sent = [
                await producer.send(topic, encode(event), event.waba_id.encode(), 0, headers=_headers(event))
                for event in events
            ]
            for acknowledged in sent:
                revision = (await acknowledged).offset + 1
                APPLIED.inc()
        finally:
            await producer.stop()
        return revision


def _headers(event: AccountChanged) -> list[tuple[str, bytes]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event.event_id.encode()),
        ("ce_type", b"AccountChanged"),
        ("ce_source", b"wam/console"),
        ("content-type", b"application/json"),
    ]
