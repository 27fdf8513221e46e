"""Tallies counted afresh beside those in Redis, and the digests that prove both the same."""

import msgspec
import pytest

from services.billing.books.digests import LedgerDigest, of_rows, whole
from services.billing.books.records import LedgerRecord, Place, read_record
from services.billing.books.recount import Comparison, Recount
from services.billing.tally_rows import DayLine, Line, decode_row, encode_row, without_hours
from shared.events import encode
from shared.stream.source import Source
from tests.unit.billing.books.entries import entry


def record(offset: int, **changes: object) -> LedgerRecord:
    value = encode(entry(offset, **changes))
    return read_record(Place(0, offset), 0, f"0:{offset}:0".encode(), value)


def counted(*records: LedgerRecord) -> Recount:
    recount = Recount()
    for one in records:
        recount.add(one)
    return recount


def test_the_same_rows_agree_in_every_digest() -> None:
    ours, theirs = counted(record(1), record(2)), counted(record(1), record(2))
    comparison = Comparison(ours.encoded(), theirs.encoded())
    assert comparison.different() == []
    ((key, (left, right)),) = comparison.digests().items()
    assert key == ("W1", "2026-11")
    assert left == right


def test_a_row_that_is_missing_in_redis_or_only_there_or_differs_is_told() -> None:
    ours = counted(record(1), record(2, category="marketing")).encoded()
    changed = {line: value for line, value in ours.items() if "marketing" not in line}
    utility = next(line for line in changed if isinstance(line, DayLine))
    row = decode_row(changed[utility])
    changed[utility] = encode_row(
        msgspec.structs.replace(row, counts=msgspec.structs.replace(row.counts, paid=9))
    )
    stranger = utility._replace(category="service")
    changed[stranger] = changed[utility]
    comparison = Comparison(ours, changed)
    told = {one.line: (one.recounted is None, one.shown is None) for one in comparison.different()}
    missing = {line: (False, True) for line in ours if "marketing" in line}
    assert told == {utility: (False, False), stranger: (True, False)} | missing
    ((left, right),) = comparison.digests().values()
    assert left != right


def test_tallies_that_went_on_agree_at_the_entry_they_had_reached() -> None:
    recount = counted(record(1))
    reached = counted(record(1), record(2)).encoded()
    comparison = Comparison(recount.encoded(), reached)
    assert comparison.different() != []
    for offset in (2, 3, 4):
        comparison.later(recount.add_and_tell(record(offset)))
    assert comparison.different() == []
    assert len({digest for both in comparison.digests().values() for digest in both}) == 1


def test_tallies_that_counted_an_entry_too_much_never_agree() -> None:
    recount = counted(record(1))
    too_much = counted(record(1), record(2, amount_micros=1)).encoded()
    comparison = Comparison(recount.encoded(), too_much)
    for offset in (2, 3):
        comparison.later(recount.add_and_tell(record(offset)))
    assert {one.line for one in comparison.different()} == set(too_much)


def test_hours_that_the_tallies_have_dropped_are_not_compared_and_the_sum_of_the_day_is() -> None:
    ours = counted(record(1)).encoded()

    def dropped(line: Line, value: bytes) -> bytes:
        return encode_row(without_hours(decode_row(value))) if isinstance(line, DayLine) else value

    assert Comparison(ours, {line: dropped(line, value) for line, value in ours.items()}).different() == []
    more = counted(record(1), record(1), record(2)).encoded()
    assert Comparison(ours, {line: dropped(line, value) for line, value in more.items()}).different() != []


def test_a_repetition_and_what_can_not_be_read_count_nothing() -> None:
    unreadable = read_record(Place(0, 9), 0, None, encode(entry(9)))
    assert counted(record(1), record(1), unreadable).encoded() == counted(record(1)).encoded()


def test_the_ledgers_digest_is_of_account_and_month_and_of_every_field_and_source() -> None:
    def months(*rows: tuple[int, int]) -> dict[tuple[str, str], str]:
        digest = LedgerDigest()
        for offset, micros in rows:
            digest.add(Source(0, offset, 0), entry(1, amount_micros=micros))
        digest.add(Source(1, 0, 0), entry(2, month="2026-10"))
        return digest.months()

    assert list(months((1, 5))) == [("W1", "2026-10"), ("W1", "2026-11")]
    assert months((1, 5)) == months((1, 5))
    for other in (months((1, 6)), months((2, 5)), months((1, 5), (2, 5))):
        assert other["W1", "2026-11"] != months((1, 5))["W1", "2026-11"]
        assert other["W1", "2026-10"] == months((1, 5))["W1", "2026-10"]
        assert whole(other) != whole(months((1, 5)))


@pytest.mark.parametrize("rows", [[b"a", b"b"], [b"b", b"a"]])
def test_the_digest_of_rows_does_not_depend_on_their_order(rows: list[bytes]) -> None:
    assert of_rows(rows) == of_rows([b"a", b"b"]) != of_rows([b"ab"])
