"""Records of the ledger: which are entries, and rows that give them back to the byte."""

import msgspec
import pytest

from services.billing.books.archive_rows import COLUMNS, from_row, to_row
from services.billing.books.records import REMEMBERED, LedgerRecord, Once, Place, read_record
from shared.events import PredictedCost, VolumeTier, decode_ledger_entry, encode
from tests.made_ledger import MadeLedger
from tests.unit.billing.books.entries import entry

TOPIC = "wa.billing.charges.v1"


def record(offset: int, source: str | None, value: bytes) -> LedgerRecord:
    return read_record(Place(0, offset), 7, source.encode() if source is not None else None, value)


def test_the_first_record_of_a_source_is_an_entry_and_the_same_again_a_repetition() -> None:
    once = Once()
    first, second = encode(entry(1)), encode(entry(2))
    standings = [
        once.standing(record(offset, source, value))
        for offset, (source, value) in enumerate(
            [("0:5:0", first), ("0:5:1", second), ("0:5:0", first), ("0:5:1", second), ("0:6:0", first)]
        )
    ]
    assert standings == ["entry", "entry", "repetition", "repetition", "entry"]


def test_another_content_under_a_source_is_a_conflict_and_a_source_long_past_a_stray() -> None:
    once = Once()
    once.standing(record(0, "0:5:0", encode(entry(1))))
    assert once.standing(record(1, "0:5:0", encode(entry(1, amount_micros=1)))) == "conflict"
    assert once.standing(record(2, "0:4:0", encode(entry(1)))) == "stray"


def test_only_the_last_entries_are_remembered() -> None:
    once, value = Once(), encode(entry(1))
    for n in range(REMEMBERED + 1):
        once.standing(record(n, f"0:{n}:0", value))
    assert once.standing(record(0, "0:0:0", value)) == "stray"
    assert once.standing(record(0, "0:1:0", value)) == "repetition"


@pytest.mark.parametrize(
    ("source", "value"), [("0:1:0", b"{"), (None, encode(entry(1))), ("x", encode(entry(1)))]
)
def test_what_is_no_entry_or_does_not_say_where_from_is_unreadable(source: str | None, value: bytes) -> None:
    assert Once().standing(record(0, source, value)) == "unreadable"


VALUES = {
    "plain": encode(entry(1)),
    "everything": encode(
        entry(
            2,
            tags={"b": 'ü|,"\n', "a": ""},
            predicted=PredictedCost(category="utility", type="regular", amount_micros=5),
            difference_micros=-5,
            volume_tier=VolumeTier(tier="1:5", rates=None),
            meta_pricing=msgspec.Raw(b'{ "billable" : true, "new": [1.50] }'),
            country="DE",
            request_id=None,
        )
    ),
    "older": encode(entry(3)).replace(b'"v":2', b'"v":1').replace(b'"delivered_at"', b'"another"'),
    "newer": encode(entry(4))[:-1] + b',"of_tomorrow":1}',
    "spaced": msgspec.json.format(encode(entry(5)), indent=2),
    "unreadable": b"\xff\x00{",
    "with a NUL": encode(entry(6, request_id="a\0b")),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_a_row_gives_its_record_back_to_the_byte(value: bytes) -> None:
    before = record(3, "0:1:0", value)
    row = msgspec.json.decode(msgspec.json.encode(to_row(TOPIC, before, "entry")))
    after, standing = from_row({name: row.get(name) for name in COLUMNS}, "f")
    assert (after.value, after.source, after.published_ms, standing) == (value, "0:1:0", 7, "entry")
    assert after.place == Place(0, 3, "f")
    assert (after.entry is None) == (before.entry is None)


def test_a_record_is_kept_beside_its_columns_only_where_they_do_not_give_it_back() -> None:
    kept = {
        name
        for name, value in VALUES.items()
        if to_row(TOPIC, record(0, "0:1:0", value), "entry").get("record")
    }
    assert kept == {"older", "newer", "spaced", "unreadable", "with a NUL"}


def test_a_column_that_an_older_file_does_not_have_gets_the_fields_default() -> None:
    row = to_row(TOPIC, record(0, "0:1:0", VALUES["plain"]), "entry")
    del row["country"], row["conversations"]
    assert from_row(row, "f").record.entry == decode_ledger_entry(
        encode(entry(1, country=None, conversations=0))
    )


def test_a_row_without_an_entry_and_without_a_record_is_damage() -> None:
    row = to_row(TOPIC, record(0, "0:1:0", b"{"), "unreadable")
    del row["record"]
    with pytest.raises(ValueError, match="neither"):
        from_row(row, "f")


def test_the_made_ledger_has_charges_and_corrections_of_two_months() -> None:
    made = MadeLedger(4, 300)
    list(made.records(range(300)))
    assert {one.month for one in made.entries} == {"2026-10", "2026-11"}
    assert {one.entry for one in made.entries} == {"charge", "correction"}
