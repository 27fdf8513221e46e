"""The part that tallies: each ledger entry is added to its two rows, and acknowledged only when both are safe in Kafka and shown in Redis.

Faust brings the entries and keeps the rows over restarts; when it commits is decided here. Per flush the touched rows go, whole, first to the
changelog (acknowledged by the brokers), then to Redis, and only then are their entries acknowledged. A crash anywhere repeats entries, and
a row skips those it has.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import cast

import faust
import msgspec
import structlog

from services.billing.reconciliation.words import word
from services.billing.settings import TalliesSettings
from services.billing.tallies.changelog import create_changelog, read_changelog
from services.billing.tallies.counting import Counting, Encoded
from services.billing.tallies.faust_app import Table, changelog_name, create_app
from services.billing.tallies.offsets import GroupOffsets
from services.billing.tallies.rows import RedisRows
from services.billing.tally_rows import to_table_key
from shared import kafka
from shared.clock import Clock
from shared.events import LedgerEntry, decode_ledger_entry
from shared.lifecycle import Service
from shared.metrics import (
    BILLED_MICROS,
    CATEGORIES,
    CHARGED_MICROS,
    CORRECTED_MICROS,
    DLQ_RECORDS,
    LEDGER_ENTRIES,
    PREDICTED_MICROS,
    TALLIED,
)
from shared.stream.publisher import KafkaPublisher, Record
from shared.stream.source import SOURCE_HEADER, Source
from shared.topics import BILLING_CHARGES

log = structlog.get_logger(__name__)

_Event = faust.EventT[bytes]

SHOWN_POLL_S = 1.0
"""So often Redis is asked whether it still has what it was given."""
DROP_HOURS_EVERY_S = 3600.0
"""Days end once a day; a look costs some microseconds a row."""
MOST_PENDING = 5000
"""Entries taken and not yet safe; more wait in Kafka."""


class Overtaken(Exception):
    """Redis holds a newer row of a partition that this process tallies: another one has taken it over."""


class EntriesSkipped(Exception):
    """Faust went past entries without handing them over; the next start begins where the last commit was."""


class FaustEnded(Exception):
    """The Faust app stopped by itself."""


class Tallying:
    """A part that runs the Faust app.

    `partitions` is None until this process knows which partitions of the ledger it tallies and has their rows back.
    """

    def __init__(
        self,
        service: Service,
        settings: TalliesSettings,
        rows: RedisRows,
        offsets: GroupOffsets,
        clock: Clock,
    ) -> None:
        self.partitions: frozenset[int] | None = None
        self.partition_count = 0
        self._service = service
        self._settings = settings
        self._rows = rows
        self._offsets = offsets
        self._clock = clock
        self._topic = kafka.name_of(BILLING_CHARGES, settings)
        self._changelog = changelog_name(settings)
        self._publisher = KafkaPublisher(settings, str)
        self._app: faust.App
        self._table: Table
        self._stopping = False
        self._events: list[_Event] = []
        self._counting: Counting
        self._counted: list[LedgerEntry] = []
        self._parked: list[tuple[_Event, str]] = []
        self._next: dict[int, int] = {}
        self._work = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._shown: dict[int, int] = {}

    async def start(self) -> None:
        """Read the rows back, then join the group."""
        settings = self._settings
        self.partition_count = await create_changelog(settings, source=self._topic, changelog=self._changelog)
        await self._publisher.start()
        self._app, self._table = create_app(settings, self.partition_count)
        rows, self._table.read_to = await read_changelog(settings, self._changelog, self.partition_count)
        self._table.data.update(rows)
        self._counting = Counting(self._table.data)
        self._counting.hours_since = self._hours_since()
        topic = self._app.topic(
            self._topic, key_type=bytes, value_type=bytes, value_serializer="raw", internal=True
        )
        self._app.agent(topic, name="tally", concurrency=1)(self._tally)
        self._app.on_partitions_revoked.connect(self._on_revoked)
        self._table.on_recover(self._on_recovered)
        self._service.spawn(self._flush_steadily(), "tallies-flush")
        self._service.spawn(self._drop_hours_steadily(), "tallies-hours")
        self._service.spawn(self._watch_app(), "tallies-faust")
        await self._app.start()

    async def stop(self) -> None:
        """Make safe what was taken, leave the group."""
        self._stopping = True
        self.partitions = None
        await self._flush()
        await self._app.stop()
        await self._publisher.stop()

    # --- entries

    async def _tally(self, stream: faust.StreamT[bytes]) -> None:
        """Faust's agent. It acknowledges nothing; an exception ends the process, for Faust alone would go on with the next entry."""
        try:
            async for event in cast(faust.Stream[bytes], stream).noack().events():
                self._take(event)
                if len(self._events) >= MOST_PENDING:
                    await self._flush()
        except asyncio.CancelledError:
            raise
        except (
            Exception
        ) as failure:  # the outermost loop of the agent: Faust would restart it and lose the entry
            self._service.fail(failure)
            raise

    def _take(self, event: _Event) -> None:
        message = event.message
        expected = self._next.get(message.partition, 0)
        if message.offset > expected:
            raise EntriesSkipped(
                f"{message.tp}: {message.offset} came, {expected} is next; a truncated ledger is counted afresh by `wam rebuild billing`"
            )
        self._next[message.partition] = max(expected, message.offset + 1)
        self._events.append(event)
        self._work.set()
        try:
            entry = decode_ledger_entry(message.value or b"")
            source = Source.parse(event.headers.get(SOURCE_HEADER))
        except (msgspec.MsgspecError, ValueError) as error:
            self._parked.append((event, str(error)))
            return
        if self._counting.take(message.partition, entry, source):
            self._counted.append(entry)

    # --- safety

    async def _flush_steadily(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SHOWN_POLL_S):
                    await self._work.wait()
                    await asyncio.sleep(self._settings.tallies_flush_s)
            await self._flush()
            await self._show_again()

    async def _drop_hours_steadily(self) -> None:
        while True:
            await asyncio.sleep(DROP_HOURS_EVERY_S)
            if self.partitions is not None and (dropped := self._counting.drop_hours(self._hours_since())):
                log.info("hours_dropped", rows=dropped, since=self._counting.hours_since)
                self._work.set()

    def _hours_since(self) -> str:
        return f"{self._clock.now() - timedelta(days=self._settings.tallies_hours_days):%Y-%m-%d}"

    async def _flush(self) -> None:
        async with self._flushing:
            self._work.clear()
            events, self._events = self._events, []
            counted, self._counted = self._counted, []
            rows = self._counting.encode_touched()
            parked, self._parked = self._parked, []
            for event, reason in parked:
                await self._park(event, reason)
            await self._to_changelog(rows)
            await self._show(rows)
            await self._mark({event.message.partition: event.message.offset for event in events})
            for event in events:
                event.ack()
            _count(counted)

    async def _mark(self, shown: dict[int, int]) -> None:
        """Note what is shown now; where Redis has forgotten the note before, give it all rows of that partition again."""
        lost = await self._rows.mark({n: (self._shown.get(n, -1), offset) for n, offset in shown.items()})
        if lost:
            rows = self._counting.of_partitions(lost)
            await self._show(rows)
            await self._rows.mark({n: (-1, shown[n]) for n in lost})
            log.warning("tallies_shown_again", partitions=sorted(lost), rows=len(rows))
        self._shown |= shown

    async def _show_again(self) -> None:
        """Look whether Redis still has what it was given, though no entry comes."""
        async with self._flushing:
            await self._mark({n: offset for n, offset in self._shown.items() if n in (self.partitions or ())})

    async def _to_changelog(self, rows: Encoded) -> None:
        """Returns when the brokers have acknowledged all rows. Faust's own producer takes one at a time, and holds up the consumer meanwhile."""
        await self._publisher.publish(
            [
                Record(self._changelog, line.partition, to_table_key(line), row, [])
                for line, (_, row) in rows.items()
            ]
        )

    async def _show(self, rows: Encoded) -> None:
        if newer := await self._rows.put(rows):
            raise Overtaken(", ".join(line.field for line in newer))

    async def _park(self, event: _Event, reason: str) -> None:
        message = event.message
        coordinates = f"{message.topic}:{message.partition}:{message.offset}"
        log.error("entry_parked", source=coordinates, reason=reason)
        DLQ_RECORDS.labels(BILLING_CHARGES.dead_letters.name).inc()
        headers = [
            ("dlq-reason", reason.encode()),
            ("dlq-group", b"tallies"),
            ("dlq-source", coordinates.encode()),
        ]
        parked = kafka.name_of(BILLING_CHARGES.dead_letters, self._settings)
        await self._publisher.publish(
            [Record(parked, message.partition, message.key or b"", message.value or b"", headers)]
        )

    # --- partitions

    async def _on_revoked(self, *_: object, **__: object) -> None:
        self.partitions = None
        await self._flush()

    async def _on_recovered(self) -> None:
        """Before the first entry is taken: let each row be the newest of what the changelog and Redis have.

        A worker cut off in the middle may have written its row late, over a newer one; a Redis that lost its data gets the rows back; and of a
        generation that was rebuilt only Redis has them (services/billing/books).
        """
        try:
            await self._flush()
            mine = frozenset(
                place.partition
                for place in self._app.assignor.assigned_actives()
                if place.topic == self._topic
            )
            self._counting.keep_only(mine)
            self._table.read_to = {n: to for n, to in self._table.read_to.items() if n in mine}
            rows = self._counting.of_partitions(mine)
            committed = await self._offsets.committed(mine)
            self._next = {n: max(self._next.get(n, 0), committed[n]) for n in mine}
            newer = await self._rows.put(rows)
            in_redis = await self._rows.all(mine)
            newer |= {line: in_redis[line] for line in in_redis.keys() - rows.keys()}
            await self._to_changelog(self._counting.replace(newer))
            self._shown = {}
            await self._mark({n: offset - 1 for n, offset in self._next.items() if n in mine})
            self.partitions = mine
            log.info("tallies_recovered", partitions=sorted(mine), rows=len(rows), newer_in_redis=len(newer))
        except Exception as failure:  # the outermost loop of the callback: Faust ignores what it raises
            self._service.fail(failure)
            raise

    async def _watch_app(self) -> None:
        """Faust's services end with a log line; the process must end with them."""
        while True:
            await asyncio.sleep(0.5)
            if not self._stopping and (self._app.crashed or self._app.should_stop):
                raise FaustEnded(repr(self._app.crash_reason))


def _count(entries: Iterable[LedgerEntry]) -> None:
    """Count entries that were tallied, once a flush: each child of a metric has a lock."""
    lines, charged, corrected = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    predicted, billed = Counter[str](), Counter[str]()
    for entry in entries:
        lines[entry.entry] += 1
        if said := word(entry):
            for share, sums in ((said.predicted, predicted), (said.billed, billed)):
                if share is not None:
                    sums[_label(share.category)] += share.micros
        category = _label(entry.category)
        if entry.entry != "correction":
            charged[category] += entry.amount_micros
        elif category in CATEGORIES:
            corrected[category, "up" if entry.amount_micros > 0 else "down"] += abs(entry.amount_micros)
    TALLIED.inc(lines.total())
    for kind, times in lines.items():
        LEDGER_ENTRIES.labels(kind).inc(times)
    for metric, sums in ((CHARGED_MICROS, charged), (PREDICTED_MICROS, predicted), (BILLED_MICROS, billed)):
        for category in sums.keys() & CATEGORIES:
            metric.labels(category).inc(sums[category])
    for (category, direction), micros in corrected.items():
        CORRECTED_MICROS.labels(category, direction).inc(micros)


def _label(category: str) -> str:
    return "authentication" if category == "authentication_international" else category
