"""Segments of the archive: what a manifest says, the chain of manifests, and what is archived by them. Pure.

A segment holds all records that lay between where the archive was whole and the topic's end, of months before its `before`, and that no
earlier segment holds. So whether a record is archived follows from its offset and month alone.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import msgspec

Format = Literal["parquet", "csv"]

FARTHEST_WEST = timedelta(hours=-12)
"""A month has ended everywhere when it has ended here (UTC-12)."""


class SegmentFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of one account and month; `path` below the segment's folder, `sums` in millionths by currency, of entries alone."""

    path: str
    waba_id: str
    month: str
    records: int
    entries: int
    sums: dict[str, int]
    bytes: int
    sha256: str


class PartitionRange(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment says of a partition of the topic.

    Attributes:
        scanned_to: the offset up to which it was looked at.
        whole_to: all below it are archived, in this segment or before.
        greatest_source: (offset, index) of the greatest source below `whole_to`.
        first, last: offsets of this segment's first and last record; None where it has none.
        records: how many it has.
    """

    scanned_to: int
    whole_to: int
    greatest_source: tuple[int, int]
    first: int | None
    last: int | None
    records: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A segment's own account of itself: `columns` are those of its files with their SQL types.

    `previous` is the SHA-256 of the manifest before it, as its file stands; null for the first.
    """

    v: int = 1
    segment: int
    topic: str
    before: str
    format: Format
    made_at: str
    previous: str | None
    records: int
    entries: int
    sums: dict[str, int]
    partitions: dict[int, PartitionRange]
    columns: dict[str, str]
    files: list[SegmentFile]


class Sealed(NamedTuple):
    """A manifest and the SHA-256 of its file."""

    manifest: Manifest
    sha256: str


_decode = msgspec.json.Decoder(Manifest).decode


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest's file, to the byte."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode_manifest(content: bytes) -> Sealed:
    """What `encode_manifest` made.

    Raises:
        msgspec.MsgspecError: it is no manifest.
    """
    return Sealed(_decode(content), hashlib.sha256(content).hexdigest())


def breaks(chain: Sequence[Sealed]) -> list[tuple[int, str]]:
    """Where the chain of manifests is broken: (segment, what is wrong)."""
    found = []
    before: Sealed | None = None
    for number, sealed in enumerate(chain, start=1):
        manifest = sealed.manifest
        if manifest.segment != number:
            found.append((manifest.segment, f"calls itself {manifest.segment}, but is number {number}"))
        expected = before.sha256 if before is not None else None
        if manifest.previous != expected:
            found.append((manifest.segment, f"follows {manifest.previous}, but the one before is {expected}"))
        if before is not None and manifest.topic != before.manifest.topic:
            found.append(
                (manifest.segment, f"is of topic {manifest.topic}, the one before of {before.manifest.topic}")
            )
        before = sealed
    return found


def whole_to(chain: Sequence[Sealed]) -> dict[int, PartitionRange]:
    """The latest word on each partition: below its `whole_to` everything is archived."""
    return dict(chain[-1].manifest.partitions) if chain else {}


def is_archived(chain: Iterable[Sealed], partition: int, offset: int, month: str) -> bool:
    """Whether some segment holds the record; what can't be read has the month ``""``, which is before all others."""
    for manifest, _ in chain:
        at = manifest.partitions.get(partition)
        if at is not None and offset < at.scanned_to and month < manifest.before:
            return True
    return False


def first_open_month(now: datetime) -> str:
    """`YYYY-MM`: the first month that is not over yet somewhere on earth; all before it are closed in every account's zone."""
    return f"{now + FARTHEST_WEST:%Y-%m}"
