"""The archive on disk: written whole or not at all, read back in order, and every change found."""

from pathlib import Path

import pytest

from services.billing.books.archive import (
    Archive,
    ArchiveBusy,
    ArchiveDamaged,
    file_problems,
    unlike_manifest,
)
from services.billing.books.records import LedgerRecord, Place, read_record
from services.billing.books.segments import Format, breaks, decode_manifest, encode_manifest
from shared.events import encode
from tests.unit.billing.books.entries import entry

TOPIC = "wa.billing.charges.v1"


def record(partition: int, offset: int, *, value: bytes | None = None, **changes: object) -> LedgerRecord:
    source = f"{partition}:{offset}:0".encode()
    return read_record(Place(partition, offset), 7, source, value or encode(entry(offset, **changes)))


RECORDS = [
    record(0, 0, waba_id="W1", month="2026-09"),
    record(0, 1, waba_id="W/2", month="2026-10", amount_micros=-5),
    record(0, 2, waba_id="W1", month="2026-10", currency="EUR", tags={"x": 'a,"b"\n'}),
    record(1, 0, waba_id="W1", month="2026-10"),
    record(1, 1, value=b"\xff{"),
]


def write(archive: Archive, records: list[LedgerRecord], format: Format = "parquet") -> None:
    with archive.alone(), archive.segment() as segment:
        for one in records:
            segment.add(TOPIC, one, "entry" if one.entry else "unreadable")
        segment.seal(
            topic=TOPIC,
            before="2026-11",
            format=format,
            made_at="2026-11-20T00:00:00.000Z",
            ranges={0: (3, 3, (2, 0)), 1: (2, 2, (1, 0))},
        )


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_records_come_back_as_they_were_in_order_from_a_file_per_account_and_month(
    tmp_path: Path, format: Format
) -> None:
    write(Archive(tmp_path), RECORDS, format)
    archive = Archive(tmp_path)
    (batch,) = archive.records()
    assert [one.record.value for one in batch] == [one.value for one in RECORDS]
    assert [one.record.place[:2] for one in batch] == [one.place[:2] for one in RECORDS]
    assert [one.standing for one in batch] == ["entry"] * 4 + ["unreadable"]
    assert {file.path for file in archive.chain[0].manifest.files} == {
        f"account=W1/month=2026-09/entries.{format}",
        f"account=W1/month=2026-10/entries.{format}",
        f"account=W%2F2/month=2026-10/entries.{format}",
        f"account=_unreadable/month=_unreadable/entries.{format}",
    }
    assert archive.chain[0].manifest.sums == {"USD": 110_000 - 5, "EUR": 55_000}
    assert list(file_problems(archive)) == list(unlike_manifest(archive)) == []


def test_only_what_is_below_the_wanted_offsets_is_read(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    write(archive, RECORDS)
    found = [one.record.place[:2] for batch in archive.records({0: 1, 1: 2}) for one in batch]
    assert found == [(0, 0), (1, 0), (1, 1)]
    assert list(archive.records({})) == list(archive.records({7: 9})) == []


def test_segments_of_both_formats_are_read_as_one_and_form_a_chain(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    write(archive, RECORDS[:2], "csv")
    write(archive, RECORDS[2:], "parquet")
    again = Archive(tmp_path)
    assert [one.record.value for batch in again.records() for one in batch] == [one.value for one in RECORDS]
    assert breaks(again.chain) == []
    assert again.chain[1].manifest.previous == again.chain[0].sha256


def test_a_segment_that_was_not_sealed_is_gone_and_what_a_killed_run_left_is_deleted(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    (tmp_path / ".segment-000001.writing" / "account=W1").mkdir(parents=True)
    with archive.segment() as segment:
        segment.add(TOPIC, RECORDS[0], "entry")
    assert Archive(tmp_path).chain == []
    assert list(tmp_path.iterdir()) == []


def test_two_runs_do_not_write_at_once(tmp_path: Path) -> None:
    with Archive(tmp_path).alone(), pytest.raises(ArchiveBusy), Archive(tmp_path).alone():
        pass


def test_a_file_that_was_changed_or_removed_or_added_is_named(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    write(archive, RECORDS)
    segment = tmp_path / "segment-000001"
    changed, removed = (segment / f"account=W1/month=2026-{month}/entries.parquet" for month in ("09", "10"))
    changed.write_bytes(changed.read_bytes() + b" ")
    removed.unlink()
    (segment / "note.txt").write_text("?")
    problems = dict(file_problems(Archive(tmp_path)))
    assert problems.keys() == {
        "segment-000001/account=W1/month=2026-09/entries.parquet",
        "segment-000001/account=W1/month=2026-10/entries.parquet",
        "segment-000001/note.txt",
    }


def test_a_manifest_that_says_other_sums_than_its_files_have_is_named(tmp_path: Path) -> None:
    write(Archive(tmp_path), RECORDS)
    path = tmp_path / "segment-000001" / "manifest.json"
    path.write_text(path.read_text().replace("109995", "109996").replace("-5\n", "-4\n"))
    assert [file for file, _ in unlike_manifest(Archive(tmp_path))] == [
        "segment-000001/account=W%2F2/month=2026-10/entries.parquet"
    ]


def test_what_is_no_manifest_is_damage(tmp_path: Path) -> None:
    write(Archive(tmp_path), RECORDS)
    path = tmp_path / "segment-000001" / "manifest.json"
    assert encode_manifest(decode_manifest(path.read_bytes()).manifest) == path.read_bytes()
    path.write_text("{}")
    with pytest.raises(ArchiveDamaged, match=r"manifest\.json"):
        Archive(tmp_path)
