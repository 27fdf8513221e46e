"""Segments of the archive: the chain, and what is archived by it."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from services.billing.books.segments import (
    Manifest,
    PartitionRange,
    Sealed,
    breaks,
    decode_manifest,
    encode_manifest,
    first_open_month,
    is_archived,
    whole_to,
)


def sealed(
    segment: int, previous: str | None, *, before: str = "2026-10", to: int = 100, whole: int = 50
) -> Sealed:
    at = PartitionRange(
        scanned_to=to, whole_to=whole, greatest_source=(9, 0), first=0, last=whole - 1, records=whole
    )
    manifest = Manifest(
        segment=segment,
        topic="t",
        before=before,
        format="parquet",
        made_at="2026-11-01T00:00:00.000Z",
        previous=previous,
        records=0,
        entries=0,
        sums={"USD": -(2**62)},
        partitions={3: at},
        columns={"b": "VARCHAR", "a": "BIGINT"},
        files=[],
    )
    return decode_manifest(encode_manifest(manifest))


def chained(length: int) -> list[Sealed]:
    chain: list[Sealed] = []
    for number in range(1, length + 1):
        chain.append(sealed(number, chain[-1].sha256 if chain else None))
    return chain


def test_a_manifest_is_read_back_as_it_was_with_its_columns_in_order() -> None:
    (one,) = chained(1)
    assert decode_manifest(encode_manifest(one.manifest)) == one
    assert list(one.manifest.columns) == ["b", "a"]


def test_a_chain_whose_links_name_one_another_is_whole() -> None:
    assert breaks(chained(3)) == []
    assert breaks([]) == []


def test_a_manifest_that_was_changed_breaks_the_link_after_it() -> None:
    chain = chained(3)
    changed = decode_manifest(encode_manifest(msgspec.structs.replace(chain[1].manifest, records=1)))
    ((segment, text),) = breaks([chain[0], changed, chain[2]])
    assert segment == 3
    assert changed.sha256 in text


def test_a_segment_that_is_missing_breaks_the_chain() -> None:
    chain = chained(3)
    assert {segment for segment, _ in breaks([chain[0], chain[2]])} == {3}
    assert breaks(chain[1:])


def test_a_record_is_archived_by_the_segment_that_looked_at_it_when_its_month_was_closed() -> None:
    chain = [sealed(1, None, before="2026-10", to=100), sealed(2, "x", before="2026-11", to=200)]
    assert is_archived(chain, 3, 99, "2026-09")
    assert is_archived(chain, 3, 199, "2026-10")
    assert not is_archived(chain, 3, 200, "2026-09"), "a late correction waits for the next segment"
    assert not is_archived(chain, 3, 99, "2026-11")
    assert not is_archived(chain[:1], 3, 99, "2026-10")
    assert not is_archived(chain, 4, 0, "2026-09")
    assert is_archived(chain, 3, 0, ""), "what can't be read belongs to no month"


def test_the_latest_segment_says_up_to_where_the_archive_is_whole() -> None:
    chain = [sealed(1, None, whole=50), sealed(2, "x", whole=70)]
    assert whole_to(chain)[3].whole_to == 70
    assert whole_to([]) == {}


@pytest.mark.parametrize(
    ("now", "month"),
    [
        (datetime(2026, 11, 1, 11, 59, tzinfo=UTC), "2026-10"),
        (datetime(2026, 11, 1, 12, 0, tzinfo=UTC), "2026-11"),
        (datetime(2027, 1, 1, 5, tzinfo=UTC), "2026-12"),
    ],
)
def test_a_month_is_closed_when_it_has_ended_everywhere(now: datetime, month: str) -> None:
    assert first_open_month(now) == month
    west = now.astimezone(timezone(timedelta(hours=-12)))
    assert f"{west:%Y-%m}" == month
