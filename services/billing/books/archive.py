"""The archive on disk: a folder per segment, in it a file per account and month and, last of all, the manifest; DuckDB writes and reads them.

A segment is written beside, made durable, and appears by one rename: a killed run leaves a folder that nobody reads and the next run deletes.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

import msgspec

from services.billing.books.archive_rows import COLUMNS, from_row, to_row
from services.billing.books.records import LedgerRecord, Read, Standing
from services.billing.books.refusal import Refusal
from services.billing.books.segments import (
    Format,
    Manifest,
    PartitionRange,
    Sealed,
    SegmentFile,
    decode_manifest,
    encode_manifest,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MANIFEST = "manifest.json"
UNREADABLE = "_unreadable"
MEMORY = "256MB"
"""What DuckDB may hold; what it sorts beyond that goes to a temporary file."""
ROWS_AT_ONCE = 5000
READ_BYTES = 1 << 20

_CSV = "header true, nullstr ''"


class ArchiveDamaged(Refusal):
    """A manifest or a row can't be read; the text says which."""


class ArchiveBusy(Refusal):
    """Another run writes to the same archive."""


class Archive:
    """The segments in a folder. `chain` is read when it is opened and grows with what is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chain: list[Sealed] = [_sealed(path) for path in _segments(folder)]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs from writing meanwhile; the lock ends with the process.

        Raises:
            ArchiveBusy: one is at it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArchiveBusy(f"another run writes to {self.folder}") from None
            self.chain = [_sealed(path) for path in _segments(self.folder)]
            yield

    def segment_folder(self, number: int) -> Path:
        """Where a segment lies."""
        return self.folder / f"segment-{number:06}"

    @contextmanager
    def segment(self) -> Iterator["SegmentWriter"]:
        """The next segment, to be written; it is part of the archive once `seal` has returned. What a killed run left is deleted first."""
        for left in self.folder.glob(".segment-*.writing"):
            shutil.rmtree(left)
        number = len(self.chain) + 1
        beside = self.folder / f".segment-{number:06}.writing"
        beside.mkdir(parents=True)
        writer = SegmentWriter(beside, self.segment_folder(number), number, self.chain)
        try:
            with writer:
                yield writer
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def records(self, below: Mapping[int, int] | None = None) -> Iterator[list[Read]]:
        """All archived records in the order of partition and offset, in batches.

        Args:
            below: partition → the first offset that is not wanted; partitions that are not named are left out.

        Raises:
            ArchiveDamaged: a file or a row can't be read.
        """
        only = ""
        if below is not None:
            pairs = ", ".join(f"({int(n)}, {int(end)})" for n, end in below.items())
            only = f' JOIN (VALUES {pairs}) wanted(n, below) ON partition = n WHERE "offset" < below'
        if below != {}:
            select = f'SELECT a.* FROM {{rows}} a{only} ORDER BY partition, "offset"'
            for batch in self._select(f"SELECT to_json(r)::VARCHAR FROM ({select}) r"):
                yield [self._read(text) for (text,) in batch]

    def sums(self) -> dict[str, "Sums"]:
        """What the rows of each file come to, counted by the files alone."""
        found: defaultdict[str, Sums] = defaultdict(Sums)
        grouped = "SELECT filename, standing, currency, count(*), sum(amount_micros) FROM {rows} GROUP BY ALL"
        for batch in self._select(grouped):
            for path, standing, currency, records, micros in batch:
                sums = found[os.path.relpath(path, self.folder)]
                sums.records += records
                if standing == "entry":
                    sums.entries += records
                    sums.micros[currency] += int(micros)
        return found

    def _select(self, sql: str) -> Iterator[list[tuple[Any, ...]]]:
        """The answer in batches; `{rows}` stands for all rows of all files, with `filename`."""
        import duckdb  # heavy: only who reads files pays for it

        selects, files = [], list[list[str]]()
        for manifest, _ in self.chain:
            if manifest.files:
                folder = self.segment_folder(manifest.segment)
                files.append([str(folder / file.path) for file in manifest.files])
                selects.append(f"SELECT * FROM {_reader(manifest, len(files))}")
        if not selects:
            return
        rows = "(" + " UNION ALL BY NAME ".join(selects) + ")"
        with _duckdb() as connection:
            try:
                found = connection.execute(sql.format(rows=rows), files)
                while batch := found.fetchmany(ROWS_AT_ONCE):
                    yield batch
            except duckdb.Error as error:
                raise ArchiveDamaged(str(error)) from error

    def _read(self, text: str) -> Read:
        row = msgspec.json.decode(text)
        file = os.path.relpath(row["filename"], self.folder)
        try:
            return from_row(row, file)
        except (ValueError, TypeError) as error:
            raise ArchiveDamaged(f"{file}: {error}") from error


@dataclass
class Sums:
    """What the records of one file, or of all, come to."""

    records: int = 0
    entries: int = 0
    micros: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, record: LedgerRecord, standing: Standing) -> None:
        self.records += 1
        if record.entry is not None and standing == "entry":
            self.entries += 1
            self.micros[record.entry.currency] += record.entry.amount_micros


class SegmentWriter:
    """A segment in the making. Add records, then `seal` it; without that it is gone."""

    def __init__(self, beside: Path, place: Path, number: int, chain: list[Sealed]) -> None:
        self._beside = beside
        self._place = place
        self._number = number
        self._chain = chain
        self._rows: BinaryIO
        self._all = Sums()
        self._files: dict[tuple[str | None, str | None], Sums] = {}
        self._spans: dict[int, tuple[int, int, int]] = {}

    def __enter__(self) -> "SegmentWriter":
        self._rows = (self._beside / "rows.ndjson").open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()

    @property
    def records(self) -> int:
        """How many were added."""
        return self._all.records

    def add(self, topic: str, record: LedgerRecord, standing: Standing) -> None:
        """Take a record in; those of a partition in the order of their offsets."""
        self._rows.write(msgspec.json.encode(to_row(topic, record, standing)) + b"\n")
        entry = record.entry
        key = (None, None) if entry is None else (entry.waba_id, entry.month)
        self._all.add(record, standing)
        self._files.setdefault(key, Sums()).add(record, standing)
        partition, offset, _ = record.place
        first, _, count = self._spans.get(partition, (offset, 0, 0))
        self._spans[partition] = (first, offset, count + 1)

    def seal(
        self,
        *,
        topic: str,
        before: str,
        format: Format,
        made_at: str,
        ranges: Mapping[int, tuple[int, int, tuple[int, int]]],
    ) -> Sealed:
        """Write the files, then the manifest, make all durable, and let the segment appear.

        Each range says of a partition: scanned to, whole to, greatest source below that.
        """
        self._rows.close()
        files = self._write_files(format)
        (self._beside / "rows.ndjson").unlink()
        partitions = {}
        for n, (scanned_to, whole_to, greatest) in sorted(ranges.items()):
            first, last, count = self._spans.get(n, (None, None, 0))
            partitions[n] = PartitionRange(
                scanned_to=scanned_to,
                whole_to=whole_to,
                greatest_source=greatest,
                first=first,
                last=last,
                records=count,
            )
        manifest = Manifest(
            segment=self._number,
            topic=topic,
            before=before,
            format=format,
            made_at=made_at,
            previous=self._chain[-1].sha256 if self._chain else None,
            records=self._all.records,
            entries=self._all.entries,
            sums=dict(sorted(self._all.micros.items())),
            partitions=partitions,
            columns=COLUMNS,
            files=files,
        )
        content = encode_manifest(manifest)
        (self._beside / MANIFEST).write_bytes(content)
        for path in (*self._beside.rglob("*"), self._beside):
            _make_durable(path)
        self._beside.rename(self._place)
        _make_durable(self._place.parent)
        sealed = decode_manifest(content)
        self._chain.append(sealed)
        return sealed

    def _write_files(self, format: Format) -> list[SegmentFile]:
        files = []
        with _duckdb(self._beside / "sorting.duckdb") as connection:
            connection.execute(
                "CREATE TABLE rows AS SELECT * FROM read_json(?, format = 'newline_delimited', "
                f"columns = {_typed(COLUMNS)}, maximum_object_size = 33554432) "
                'ORDER BY waba_id, month, partition, "offset"',
                [str(self._beside / "rows.ndjson")],
            )
            for (waba_id, month), sums in sorted(
                self._files.items(), key=lambda item: tuple(map(str, item[0]))
            ):
                path = f"account={_name(waba_id)}/month={_name(month)}/entries.{format}"
                target = self._beside / path
                target.parent.mkdir(parents=True, exist_ok=True)
                how = "format parquet, compression zstd" if format == "parquet" else f"format csv, {_CSV}"
                connection.execute(
                    "COPY (SELECT * FROM rows WHERE waba_id IS NOT DISTINCT FROM $1 AND month IS NOT DISTINCT FROM $2 "
                    f'ORDER BY partition, "offset") TO {_text(str(target))} ({how})',
                    [waba_id, month],
                )
                files.append(
                    SegmentFile(
                        path=path,
                        waba_id=waba_id or "",
                        month=month or "",
                        records=sums.records,
                        entries=sums.entries,
                        sums=dict(sorted(sums.micros.items())),
                        bytes=target.stat().st_size,
                        sha256=sha256_of(target),
                    )
                )
        for left in self._beside.glob("sorting.duckdb*"):
            left.unlink()
        return files


def sha256_of(path: Path) -> str:
    """The digest of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def file_problems(archive: Archive) -> Iterator[tuple[str, str]]:
    """What is wrong with the archive's files: (file, what); each is read whole."""
    for manifest, _ in archive.chain:
        folder = archive.segment_folder(manifest.segment)
        named = {file.path for file in manifest.files} | {MANIFEST}
        for file in manifest.files:
            path = folder / file.path
            name = f"{folder.name}/{file.path}"
            if not path.is_file():
                yield name, "is missing"
            elif (found := sha256_of(path)) != file.sha256:
                yield name, f"has changed: its SHA-256 is {found}, the manifest says {file.sha256}"
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (relative := str(path.relative_to(folder))) not in named:
                yield f"{folder.name}/{relative}", "is not in the manifest"


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("segment-??????")) if folder.is_dir() else []


def _sealed(segment: Path) -> Sealed:
    try:
        return decode_manifest((segment / MANIFEST).read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        raise ArchiveDamaged(f"{segment / MANIFEST}: {error}") from error


@contextmanager
def _duckdb(database: Path | None = None) -> Iterator["DuckDBPyConnection"]:
    import duckdb  # heavy: only who writes files pays for it

    with tempfile.TemporaryDirectory(prefix="ledger-") as spill:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "threads": 2,
            "temp_directory": spill,
        }
        with duckdb.connect(str(database) if database else ":memory:", config=config) as connection:
            connection.execute("SET enable_progress_bar = false")
            yield connection


def _reader(manifest: Manifest, number: int) -> str:
    if manifest.format == "parquet":
        return f"read_parquet(${number}, filename = true, hive_partitioning = false)"
    return (
        f"read_csv(${number}, filename = true, hive_partitioning = false, header = true, nullstr = '', "
        f"allow_quoted_nulls = false, delim = ',', quote = '\"', escape = '\"', columns = {_typed(manifest.columns)})"
    )


def _typed(columns: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{_text(name)}: {_text(type_)}" for name, type_ in columns.items()) + "}"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str | None) -> str:
    return UNREADABLE if value is None else quote(value, safe="")


def _make_durable(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unlike_manifest(archive: Archive) -> Iterator[tuple[str, str]]:
    """Files whose rows are not what their manifest says of them: (file, what)."""
    found = archive.sums()
    for manifest, _ in archive.chain:
        folder = archive.segment_folder(manifest.segment).name
        for file in manifest.files:
            sums = found.get(f"{folder}/{file.path}", Sums())
            if (sums.records, sums.entries, dict(sums.micros)) != (file.records, file.entries, file.sums):
                yield (
                    f"{folder}/{file.path}",
                    f"holds {sums.records} records, {sums.entries} entries, {dict(sums.micros)}; "
                    f"the manifest says {file.records}, {file.entries}, {file.sums}",
                )
        if manifest.records != sum(file.records for file in manifest.files):
            yield f"{folder}/{MANIFEST}", "counts other records than its files"
