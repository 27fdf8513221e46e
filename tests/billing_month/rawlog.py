"""The raw log as a file: written once, from a seed, and sent to Kafka for each run as the router publishes."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from shared.events import UserRef
from shared.ids import conversation_key
from shared.settings import ServiceSettings
from shared.stream.publisher import KafkaPublisher, Record, partition_of
from shared.times import parse_rfc3339
from shared.topics import SEND_EVENTS
from tests.billing_month.log import Disorder, disturbed, log
from tests.billing_month.oracle import Row
from tests.billing_month.truth import Message

_BATCH = 4000
_MARK_EVERY = 5000
_LATE_SHARE = 15
"""What comes again much later does so within two days: a fifteenth of the month."""


class RawLog(NamedTuple):
    """A log and what the generator meant by it.

    Attributes:
        path: JSON lines, a send event each.
        messages, events: how many.
        lines: the sums by account, month, number, unit, category, market and type.
        times: epoch milliseconds of every so many events, in order.
        seconds: what writing took.
    """

    path: Path
    messages: int
    events: int
    lines: dict[Row, Row]
    times: list[int]
    seconds: float

    def time_at(self, share: float) -> int:
        """The time, epoch milliseconds, at which so large a share of the log had been published."""
        return self.times[min(int(share * len(self.times)), len(self.times) - 1)]


def write(month: Iterable[Message], size: int, seed: int, path: Path, wrote: Callable[[int], None]) -> RawLog:
    """Write the log of about so many messages, disturbed as the seed decides; `wrote` hears of progress, in messages."""
    began = time.monotonic()
    lines: dict[Row, list[int]] = {}
    messages = events = 0
    times: list[int] = []

    def heard() -> Iterator[Message]:
        nonlocal messages
        for message in month:
            _add(lines, message)
            messages += 1
            if messages % _BATCH == 0:
                wrote(messages)
            yield message

    latest = -1
    with path.open("wb") as file:
        for event in disturbed(log(heard()), seed, Disorder(latest=max(1, size * 2 // _LATE_SHARE))):
            if events % _MARK_EVERY == 0:
                latest = max(latest, parse_rfc3339(msgspec.json.decode(event.value, type=_Event).at))
                times.append(latest)
            file.write(event.value + b"\n")
            events += 1
    totals: dict[Row, Row] = {line: tuple(row) for line, row in lines.items() if any(row)}
    return RawLog(path, messages, events, totals, times, time.monotonic() - began)


async def publish(raw: RawLog, settings: ServiceSettings, published: Callable[[int], None]) -> None:
    """Append the whole log to `send.events`; `published` hears of progress, in events."""
    publisher = KafkaPublisher(settings)
    await publisher.start()
    try:
        done = 0
        batch: list[Record] = []
        with raw.path.open("rb") as file:
            for line in file:
                batch.append(_record(line[:-1], settings.partitions))
                if len(batch) == _BATCH:
                    await publisher.publish(batch)
                    done += len(batch)
                    published(done)
                    batch = []
        await publisher.publish(batch)
    finally:
        await publisher.stop()


class _Event(msgspec.Struct):
    event_id: str
    event: str
    at: str
    phone_number_id: str
    user: UserRef


_decode = msgspec.json.Decoder(_Event).decode


def _record(value: bytes, partitions: int) -> Record:
    event = _decode(value)
    key = conversation_key(event.phone_number_id, event.user.user_id or "").encode()
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event.event_id.encode()),
        ("ce_type", event.event.encode()),
        ("ce_source", b"/router"),
        ("content-type", b"application/json"),
    ]
    return Record(SEND_EVENTS.name, partition_of(key, partitions), key, value, headers)


def _add(lines: dict[Row, list[int]], message: Message) -> None:
    charge = message.billed
    if charge is None:
        return
    line = (
        message.account.waba_id,
        charge.month,
        message.number,
        charge.unit,
        charge.column,
        charge.market,
        charge.type,
    )
    row = lines.setdefault(line, [0, 0, 0, 0, 0])
    row[0 if charge.free else 1] += charge.units
    row[2 if charge.free else 3] += charge.conversations
    row[4] += charge.micros
