"""Recomputes the books from the topics and proves by digests that they are the same; seeds a new generation of the tallies from what came out.

Nothing is published. The new generation stands beside the live one: its rows in Redis, and last of all its place in the ledger, committed for
its consumer group; the tallies that are started as this generation go on exactly from there.
"""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from services.billing.books.archive import Archive
from services.billing.books.digests import LedgerDigest, whole
from services.billing.books.reading import of_topic
from services.billing.books.records import Read
from services.billing.books.recount import Comparison, Different, Recount
from services.billing.books.refusal import Refusal
from services.billing.books.topic import TopicReader, partitions_of
from services.billing.books.verifying import Report, verify
from services.billing.settings import TalliesSettings
from services.billing.tallies.faust_app import app_id
from services.billing.tallies.offsets import GroupOffsets
from services.billing.tallies.rows import RedisRows
from services.billing.tally_rows import decode_row, to_table_key
from shared import kafka
from shared.events import LedgerEntry
from shared.stream.source import Source
from shared.stream.store import connect
from shared.terminal import Unavailable
from shared.topics import BILLING_CHARGES

TALLIES_BEHIND_S = 30.0
"""How long the tallies are waited for to reach the ledger's end before their rows are compared."""
POLL_S = 0.2
REDIS_S = 5.0
"""Longest to wait for Redis before the work begins: its client would wait for ever."""
MOST_ROWS = 100
"""So many rows that differ are told one by one."""


class GenerationInUse(Refusal):
    """Tallies of that generation have counted already."""


class LedgerIncomplete(Refusal):
    """Parts of the ledger are missing or damaged: tallies made of the rest would be wrong."""


class MonthDigests(msgspec.Struct):
    """The digests of an account's month (SHA-256): of the ledger as it is and as its events make it, of the tallies recounted and in Redis."""

    waba_id: str
    month: str
    ledger: str | None
    ledger_recomputed: str | None
    tallies: str | None
    tallies_in_redis: str | None

    @property
    def agrees(self) -> bool:
        """Whether both ways lead to the same, of the ledger and of the tallies."""
        return self.ledger == self.ledger_recomputed and self.tallies == self.tallies_in_redis


class RowDifference(msgspec.Struct):
    """A row of the tallies that differs, as JSON of the counts."""

    row: str
    recounted: msgspec.Raw | None
    in_redis: msgspec.Raw | None


class Rebuilt(msgspec.Struct):
    """What a rebuild came to; the four digests stand for all accounts and months together."""

    agrees: bool
    generation: int
    ledger: str
    ledger_recomputed: str
    tallies: str
    tallies_in_redis: str
    months: list[MonthDigests]
    rows_compared: int
    rows_different: int
    rows: list[RowDifference]
    tallies_behind: bool
    verification: Report


class _Observer:
    """Collects both digests of the ledger, and the recount, in one reading."""

    def __init__(self) -> None:
        self.ledger, self.ledger_recomputed = LedgerDigest(), LedgerDigest()
        self.recount = Recount()

    def record(self, read: Read) -> None:
        self.recount.add(read.record)
        source, entry = read.record.from_event, read.record.entry
        if read.standing == "entry" and source is not None and entry is not None:
            self.ledger.add(source, entry)

    def recomputed(self, source: Source, entry: LedgerEntry) -> None:
        self.ledger_recomputed.add(source, entry)


class _Shown(NamedTuple):
    comparison: Comparison
    rows: int
    behind: bool


async def check(settings: TalliesSettings, archive: Archive | None) -> Rebuilt:
    """Recompute everything and compare it with what is there, in the generation of the settings; nothing is changed.

    Raises:
        Refusal: something can't be read.
        aiokafka.errors.KafkaError: Kafka does not answer, or a topic is missing.
    """
    redis = await _redis(settings)
    seen = _Observer()
    try:
        report = await verify(settings, archive, seen)
        shown = await _shown(settings, redis, seen.recount, report.read_to)
    finally:
        await redis.aclose()
    return _rebuilt(settings.tallies_generation, seen, report, shown)


async def write(settings: TalliesSettings, archive: Archive | None, generation: int) -> Rebuilt:
    """Make the tallies afresh as another generation, and compare what is in Redis then.

    Raises:
        GenerationInUse: tallies have counted under it already.
        LedgerIncomplete: the ledger has gaps, or its archive is damaged; nothing was written.
        Refusal, aiokafka.errors.KafkaError: as `check`.
    """
    target = settings.model_copy(update={"tallies_generation": generation})
    topic = kafka.name_of(BILLING_CHARGES, settings)
    await _unused(target, topic)
    redis = await _redis(settings)
    seen = _Observer()
    try:
        report = await verify(settings, archive, seen)
        if wrong := sorted({"gap", "chain", "file"} & report.found.keys()):
            raise LedgerIncomplete(f"the ledger is not whole ({', '.join(wrong)}): see `wam ledger verify`")
        rows = RedisRows(redis, settings.redis_namespace, generation)
        await rows.clear()  # what a rebuild that was killed has left
        encoded = seen.recount.encoded()
        await rows.put({line: (decode_row(value).source, value) for line, value in encoded.items()})
        await rows.mark({n: (-1, end - 1) for n, end in report.read_to.items()})
        comparison = Comparison(encoded, await rows.all())
        shown = _Shown(comparison, len(encoded), behind=False)
        rebuilt = _rebuilt(generation, seen, report, shown)
        if rebuilt.rows_different:
            raise Refusal(
                f"{rebuilt.rows_different} rows were changed in Redis meanwhile; nothing was committed"
            )
        await _stand_at(target, topic, report.read_to)
        return rebuilt
    finally:
        await redis.aclose()


async def _redis(settings: TalliesSettings) -> Redis:
    """A client of a Redis that answers; later on it waits for it, as all services do."""
    redis = connect(settings)
    try:
        async with asyncio.timeout(REDIS_S):
            await redis.ping()
    except TimeoutError:
        await redis.aclose()
        raise Unavailable(f"Redis does not answer within {REDIS_S:g} s (WA_REDIS_URL)") from None
    return redis


async def _shown(
    settings: TalliesSettings, redis: Redis, recount: Recount, read_to: Mapping[int, int]
) -> _Shown:
    """The rows in Redis beside the recount, which is led on until it has passed all that the tallies may have counted."""
    async with TopicReader(settings, BILLING_CHARGES) as topic:
        behind = not await _reached(settings, topic.name, read_to)
        rows = await RedisRows(redis, settings.redis_namespace, settings.tallies_generation).all()
        ends = await topic.ends()
        recounted = recount.encoded()
        comparison = Comparison(recounted, rows)
        for n, end in ends.items():
            async for batch in topic.records(n, read_to.get(n, 0), end):
                for record in batch:
                    comparison.later(recount.add_and_tell(of_topic(record)))
    return _Shown(comparison, len(recounted.keys() | rows.keys()), behind)


async def _reached(settings: TalliesSettings, topic: str, ends: Mapping[int, int]) -> bool:
    """Whether the tallies have counted and shown all before `ends`; they are given some time for it."""
    offsets = GroupOffsets(settings, group=app_id(settings), topic=topic)
    try:
        await offsets.start()
        async with asyncio.timeout(TALLIES_BEHIND_S):
            while True:
                committed = await offsets.committed(list(ends))
                if all(committed[n] >= end for n, end in ends.items()):
                    return True
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
    finally:
        await offsets.stop()


async def _unused(settings: TalliesSettings, topic: str) -> None:
    partitions = await partitions_of(settings, topic)
    offsets = GroupOffsets(settings, group=app_id(settings), topic=topic)
    try:
        await offsets.start()
        if any((await offsets.committed(partitions)).values()):
            raise GenerationInUse(
                f"generation {settings.tallies_generation} of the tallies is in use: choose another with --generation"
            )
    finally:
        await offsets.stop()


async def _stand_at(settings: TalliesSettings, topic: str, offsets: Mapping[int, int]) -> None:
    """Let the generation's group begin there."""
    consumer = AIOKafkaConsumer(
        **kafka.connection(settings), group_id=app_id(settings), enable_auto_commit=False
    )
    try:
        await consumer.start()
        places = {TopicPartition(topic, n): offset for n, offset in offsets.items()}
        consumer.assign(list(places))
        await consumer.commit(places)
    finally:
        await consumer.stop()


def _rebuilt(generation: int, seen: _Observer, report: Report, shown: _Shown) -> Rebuilt:
    ledger, recomputed = seen.ledger.months(), seen.ledger_recomputed.months()
    tallies = shown.comparison.digests()
    different = shown.comparison.different()
    months = []
    for key in sorted(ledger.keys() | recomputed.keys() | tallies.keys()):
        ours, theirs = tallies.get(key, (None, None))
        months.append(MonthDigests(*key, ledger.get(key), recomputed.get(key), ours, theirs))
    return Rebuilt(
        agrees=report.agrees and not different,
        generation=generation,
        ledger=whole(ledger),
        ledger_recomputed=whole(recomputed),
        tallies=whole({key: ours for key, (ours, _) in tallies.items()}),
        tallies_in_redis=whole({key: theirs for key, (_, theirs) in tallies.items()}),
        months=months,
        rows_compared=shown.rows,
        rows_different=len(different),
        rows=[_told(one) for one in different[:MOST_ROWS]],
        tallies_behind=shown.behind,
        verification=report,
    )


def _told(one: Different) -> RowDifference:
    recounted, shown = (None if row is None else msgspec.Raw(msgspec.json.encode(row)) for row in one[1:])
    return RowDifference(to_table_key(one.line).decode(), recounted, shown)
