"""The ledger's books on a real Kafka and Redis: archived, truncated, verified, and the tallies rebuilt from what is left."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import cast

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from deploy.local.paths import REPOSITORY
from deploy.local.stack import LocalStack
from services.billing.books import rebuilding
from services.billing.books.archive import Archive
from services.billing.books.archiving import NotArchivable, NotDeletable, archive_before, truncate
from services.billing.books.segments import Format
from services.billing.books.topic import TopicReader, delete_before
from services.billing.books.verifying import verify
from services.billing.settings import TalliesSettings
from services.billing.tally import month_tally
from shared import kafka
from shared.events import LedgerEntry, decode_ledger_entry, encode
from shared.stream.publisher import KafkaPublisher, Record
from shared.stream.source import SOURCE_HEADER, Source
from shared.topics import BILLING_CHARGES, SEND_EVENTS
from tests.conftest import Prefix
from tests.integration.test_billing import PARTITIONS, process, settings_of, until_committed
from tests.made_ledger import ACCOUNTS, MadeLedger

MADE_AT = "2026-11-20T00:00:00.000Z"


@pytest.fixture
async def settings(stack: LocalStack, prefix: Prefix) -> TalliesSettings:
    """Settings of processes on topics of their own."""
    settings = settings_of(stack, prefix)
    await kafka.create_topics(settings)
    return settings


@pytest.fixture
async def redis(settings: TalliesSettings) -> AsyncIterator[Redis]:
    client = Redis.from_url(settings.redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def sending(settings: TalliesSettings) -> AsyncIterator[KafkaPublisher]:
    publisher = KafkaPublisher(settings)
    await publisher.start()
    yield publisher
    await publisher.stop()


def made(ledger: MadeLedger, numbers: range) -> list[Record]:
    return [record for records in ledger.records(numbers) for record in records]


async def archived(
    settings: TalliesSettings, folder: Path, before: str = "2026-11", format: Format = "parquet"
) -> Archive:
    archive = Archive(folder)
    await archive_before(settings, archive, before, format, MADE_AT)
    return archive


async def forget_events(settings: TalliesSettings) -> None:
    """As if all send events had passed their 35 days."""
    async with TopicReader(settings, SEND_EVENTS) as events:
        await delete_before(settings, events.name, await events.ends())


async def paid(redis: Redis, settings: TalliesSettings, month: str) -> int:
    """Millionths of all accounts in the month, as the tallies have them."""
    tallies = [
        await month_tally(
            redis, settings.redis_namespace, f"W{n}", month, generation=settings.tallies_generation
        )
        for n in range(ACCOUNTS)
    ]
    return sum(totals.micros.get("USD", 0) for tally in tallies for totals in tally.totals.values())


def booked(entries: Iterable[LedgerEntry], month: str) -> int:
    return sum(entry.amount_micros for entry in entries if entry.month == month)


@pytest.mark.timeout(300)
async def test_archived_truncated_and_rebuilt_the_books_are_what_they_were(
    settings: TalliesSettings, redis: Redis, sending: KafkaPublisher, tmp_path: Path
) -> None:
    ledger = MadeLedger(PARTITIONS, 1000)
    await sending.publish(made(ledger, range(600)))
    async with process("services.billing.tallies", settings, tmp_path / "log") as tallies:
        tallies.start()
        await tallies.ready()
        await until_committed(settings)
        before = await rebuilding.check(settings, None)
        assert before.agrees, before.rows
        assert before.verification.counts.compared == len(ledger.entries)

        archive = await archived(settings, tmp_path / "books")
        assert await truncate(settings, archive, settings) == {}, "the events are still there"
        await forget_events(settings)
        deleted = await truncate(settings, archive, settings)
        assert sum(one.end - one.first for one in deleted.values()) == archive.chain[0].manifest.records > 0
        after = await rebuilding.check(settings, archive)
        assert after.agrees
        assert (after.ledger, after.tallies) == (before.ledger, before.tallies)
        assert after.verification.counts.earlier == len(ledger.entries)
        assert not (await rebuilding.check(settings, None)).agrees, "without the archive there is a gap"

        await sending.publish(made(ledger, range(600, 1000)))
        live = await rebuilding.check(settings, archive)
        assert live.agrees, live.rows
        tallies.terminate()

    rebuilt = await rebuilding.write(settings, archive, 2)
    assert rebuilt.agrees
    assert (rebuilt.ledger, rebuilt.tallies) == (live.ledger, live.tallies)
    with pytest.raises(rebuilding.GenerationInUse):
        await rebuilding.write(settings, archive, 2)
    second = settings.model_copy(update={"tallies_generation": 2})
    more = MadeLedger(PARTITIONS, 1000)
    more.go_on_from(ledger)
    await sending.publish(made(more, range(1000, 1100)))
    async with process("services.billing.tallies", second, tmp_path / "log2") as tallies:
        tallies.start()
        await tallies.ready()
        await until_committed(second)
        for month in ("2026-10", "2026-11"):
            assert await paid(redis, second, month) == booked([*ledger.entries, *more.entries], month)
        checked = await rebuilding.check(second, archive)
        assert checked.agrees, checked.rows
        tallies.kill()
        tallies.start()
        await tallies.ready()
        assert (await rebuilding.check(second, archive)).tallies_in_redis == checked.tallies


async def test_a_new_generation_that_nobody_seeded_does_not_count_a_truncated_ledger(
    settings: TalliesSettings, sending: KafkaPublisher, tmp_path: Path
) -> None:
    await sending.publish(made(MadeLedger(PARTITIONS, 400), range(400)))
    async with TopicReader(settings, BILLING_CHARGES) as topic:
        await delete_before(settings, topic.name, dict.fromkeys(topic.partitions, 10))
    async with process("services.billing.tallies", settings, tmp_path / "log") as tallies:
        tallies.start()
        async with asyncio.timeout(60):
            while tallies.running:
                await asyncio.sleep(0.1)
    assert "wam rebuild billing" in (tmp_path / "log").read_text()


async def test_what_the_tallies_have_not_read_is_not_deleted(
    settings: TalliesSettings, sending: KafkaPublisher, tmp_path: Path
) -> None:
    await sending.publish(made(MadeLedger(PARTITIONS, 200), range(200)))
    archive = await archived(settings, tmp_path)
    await forget_events(settings)
    with pytest.raises(NotDeletable, match="tallies"):
        await truncate(settings, archive, settings)
    async with TopicReader(settings, BILLING_CHARGES) as topic:
        assert set((await topic.begins()).values()) == {0}


async def test_a_file_that_is_not_what_the_topic_has_lets_nothing_be_deleted(
    settings: TalliesSettings, sending: KafkaPublisher, tmp_path: Path
) -> None:
    await sending.publish(made(MadeLedger(PARTITIONS, 200), range(200)))
    archive = await archived(settings, tmp_path, format="csv")
    await forget_events(settings)
    file = changed_in_one_row(tmp_path)
    with pytest.raises(NotDeletable, match="differs"):
        await truncate(settings, archive, settings)
    report = await verify(settings, archive)
    assert report.found == {"file": 1}
    assert report.findings[0].place == str(file.relative_to(tmp_path))


def changed_in_one_row(folder: Path) -> Path:
    file = next(folder.rglob("*.csv"))
    file.write_text(file.read_text().replace(",55000,", ",55001,", 1))
    return file


@pytest.mark.parametrize("format", ["parquet", "csv"])
async def test_an_archive_holds_each_entry_once_in_either_format_and_late_ones_in_a_later_segment(
    settings: TalliesSettings, sending: KafkaPublisher, tmp_path: Path, format: Format
) -> None:
    ledger = MadeLedger(PARTITIONS, 400)
    records = made(ledger, range(400))
    of_ledger = [record for record in records if record.topic == BILLING_CHARGES.name]
    late = [r for r in of_ledger if decode_ledger_entry(r.value).wamid == "wamid.3"][1:]
    await sending.publish([record for record in records if record not in late])
    archive = await archived(settings, tmp_path, format=format)
    assert await archive_before(settings, archive, "2026-11", format, MADE_AT) is None
    later = [replace_source(record, 10_000 + n) for n, record in enumerate(late)]
    await sending.publish(later)
    second = await archive_before(settings, archive, "2026-11", format, MADE_AT)
    assert second is not None
    assert (second.manifest.records, len(archive.chain)) == (len(late), 2)
    third = await archive_before(settings, archive, "2026-12", format, MADE_AT)
    assert third is not None
    entries = [one for batch in Archive(tmp_path).records() for one in batch]
    assert sorted(one.record.value for one in entries) == sorted(record.value for record in of_ledger)
    assert len({one.record.place[:2] for one in entries}) == len(of_ledger)
    assert third.manifest.sums["USD"] == booked(ledger.entries, "2026-11")


def replace_source(record: Record, offset: int) -> Record:
    return replace(record, headers=[(SOURCE_HEADER, f"{record.partition}:{offset}:0".encode())])


async def test_an_archive_in_another_folder_is_not_begun_in_the_middle(
    settings: TalliesSettings, sending: KafkaPublisher, tmp_path: Path
) -> None:
    await sending.publish(made(MadeLedger(PARTITIONS, 200), range(200)))
    async with TopicReader(settings, BILLING_CHARGES) as topic:
        await delete_before(settings, topic.name, dict.fromkeys(topic.partitions, 10))
    with pytest.raises(NotArchivable, match="begins at 10"):
        await archived(settings, tmp_path)


MOMENTS = (
    ".segment-*.writing/rows.ndjson",
    ".segment-*.writing/sorting.duckdb",
    ".segment-*.writing/account=*",
)


@pytest.mark.long
async def test_a_run_killed_at_any_moment_leaves_nothing_half(
    settings: TalliesSettings, sending: KafkaPublisher, tmp_path: Path
) -> None:
    ledger = MadeLedger(PARTITIONS, 20_000)
    await sending.publish(made(ledger, range(20_000)))
    books = tmp_path / "books"
    for moment in MOMENTS:
        await killed_at(settings, books, lambda moment=moment: any(books.glob(moment)))  # type: ignore[misc]
        assert Archive(books).chain == []
        assert list(books.glob("segment-*")) == []
    archive = await archived(settings, books)
    assert archive.chain[0].manifest.sums["USD"] == booked(ledger.entries, "2026-10")
    assert list(books.glob(".segment-*")) == []
    report = await verify(settings, archive)
    assert report.agrees, report.findings[:3]
    assert report.counts.entries == len(ledger.entries)


async def killed_at(settings: TalliesSettings, folder: Path, reached: Callable[[], bool]) -> None:
    environment = os.environ | {
        "WA_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "WA_TOPIC_PREFIX": settings.topic_prefix,
    }
    archiving = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from services.console.cli import main; main()"),
        *("ledger", "archive", "--before", "2026-11", "--to", str(folder)),
        cwd=REPOSITORY,
        env=environment,
    )
    try:
        async with asyncio.timeout(60):
            while not reached():
                assert archiving.returncode is None, "it ended before it could be killed"
                await asyncio.sleep(0.001)
    finally:
        archiving.kill()
        await archiving.wait()


# --- verification


async def test_what_was_planted_is_found_and_named_each(
    settings: TalliesSettings, sending: KafkaPublisher
) -> None:
    ledger = MadeLedger(PARTITIONS, 400)
    records = made(ledger, range(400))
    entries = {
        decode_ledger_entry(record.value).event_id: record
        for record in records
        if record.topic == BILLING_CHARGES.name
    }
    missing, changed, doubled, twice = (entries[f"wamid.{n}:charge"] for n in (10, 11, 13, 16))
    records.remove(missing)
    put(records, changed, altered(changed, amount_micros=54_999))
    put(records, doubled, doubled, altered(doubled, counts=2))
    put(records, twice, twice, with_source(twice, nth=1))
    repeated = [record for record in records if record.topic == BILLING_CHARGES.name][-50:]
    nobody = with_source(altered(twice, event_id="wamid.x:charge", wamid="wamid.x"), offset=9_999)
    await sending.publish([*records, *repeated, nobody])
    report = await verify(settings, None)
    assert report.counts.repetitions == 50
    found = {(finding.kind, finding.event): finding for finding in report.findings}
    assert found.keys() == {
        ("missing", "wamid.10:charge"),
        ("different", "wamid.11:charge"),
        ("doubled", "wamid.13:charge"),
        ("doubled", "wamid.16:charge"),
        ("unfounded", "wamid.x:charge"),
    }
    assert found["different", "wamid.11:charge"].fields == ("amount_micros",)
    assert found["missing", "wamid.10:charge"].source == source_of(missing)
    for key, finding in found.items():
        assert finding.message == (finding.event or "").partition(":")[0], key
        assert finding.place is not None or finding.kind == "missing"


async def values_of(redis: Redis, key: bytes) -> dict[bytes, bytes]:
    return cast(dict[bytes, bytes], await redis.hgetall(key))


def put(records: list[Record], old: Record, *new: Record) -> None:
    place = records.index(old)
    records[place : place + 1] = new


def altered(record: Record, **changes: object) -> Record:
    return replace(record, value=encode(replace(decode_ledger_entry(record.value), **changes)))


def with_source(record: Record, *, nth: int = 0, offset: int | None = None) -> Record:
    source = Source.parse(dict(record.headers)[SOURCE_HEADER])
    at = source.offset if offset is None else offset
    return replace(record, headers=[(SOURCE_HEADER, f"{record.partition}:{at}:{nth}".encode())])


def source_of(record: Record) -> str:
    return dict(record.headers)[SOURCE_HEADER].decode()


async def test_a_row_of_the_tallies_that_was_changed_is_named_and_made_right_by_a_rebuild(
    settings: TalliesSettings, redis: Redis, sending: KafkaPublisher, tmp_path: Path
) -> None:
    ledger = MadeLedger(PARTITIONS, 100)
    await sending.publish(made(ledger, range(100)))
    assert (await rebuilding.write(settings, None, 1)).agrees
    (key, *_) = [key async for key in redis.scan_iter(f"{settings.redis_namespace}:tallies:*:W1:2026-11")]
    field, value = next(iter((await values_of(redis, key)).items()))
    await redis.hset(key, field, value.replace(b"[0,", b"[7,", 1).replace(b'"USD":', b'"USD":1'))
    wrong = await rebuilding.check(settings, None)
    assert not wrong.agrees
    assert [row.row.split("|")[0] for row in wrong.rows] == [field.decode().split("|")[0]]
    assert [month.agrees for month in wrong.months if (month.waba_id, month.month) == ("W1", "2026-11")] == [
        False
    ]
    assert sum(not month.agrees for month in wrong.months) == 1
    assert (await rebuilding.write(settings, None, 2)).tallies_in_redis == wrong.tallies
