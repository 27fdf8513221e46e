"""Adding up: each entry once into its partition's row, rows summed over partitions, and a consumer that stands still is noticed."""

from collections import Counter, defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.billing.tallies.adding import add, from_table_key, line_of, to_table_key
from services.billing.tallies.watchdog import Progress
from services.billing.tally import Line, Row, decode_row, encode_row, hash_key, summed
from shared.events import LedgerEntry
from shared.stream.source import Source

NINTH = Source(3, 9, 0)


def entry(**changes: Any) -> LedgerEntry:
    fields: dict[str, Any] = {
        "event_id": "wamid.1:charge",
        "entry": "charge",
        "at": "2026-11-20T12:00:00.000Z",
        "month": "2026-11",
        "waba_id": "W1",
        "phone_number_id": "N1",
        "user_ref": "0123456789abcdef",
        "wamid": "wamid.1",
        "request_id": "R1",
        "conversation_id": None,
        "unit": "message",
        "category": "utility",
        "market": "Germany",
        "regime": "2026-10-01",
        "rate_card": "usd_2026-10-01",
        "type": "regular",
        "free": False,
        "counts": 1,
        "amount_micros": 55_000,
        "currency": "USD",
        "basis": "meta",
        "tags": {},
    }
    return LedgerEntry(**(fields | changes))


def test_an_entry_is_added_to_the_line_of_its_partition() -> None:
    line = line_of(3, entry())
    assert line == Line(3, "W1", "2026-11", "N1", "utility", "Germany", "regular")
    assert to_table_key(line).startswith(b"3|")
    assert from_table_key(to_table_key(line)) == line
    assert line.field == "3|N1|utility|Germany|regular"
    assert hash_key("wa", 1, "W1", "2026-11") == "wa:tallies:1:W1:2026-11"
    assert add(None, entry(), NINTH) == Row(source=NINTH, free=0, paid=1, micros={"USD": 55_000})


def test_a_word_of_metas_with_the_separator_in_it_breaks_no_key() -> None:
    line = line_of(0, entry(category="a|b"))
    assert from_table_key(to_table_key(line)) == line


def test_an_entry_seen_before_is_skipped() -> None:
    row = add(None, entry(), NINTH)
    assert add(row, entry(), NINTH) is None
    assert add(row, entry(), Source(3, 8, 5)) is None
    assert add(row, entry(), Source(3, 9, 1)) is not None


def test_a_row_survives_its_encoding() -> None:
    row = Row(source=NINTH, free=1, paid=2, micros={"USD": -5})
    assert decode_row(encode_row(row)) == row


def test_a_charge_taken_back_leaves_no_row() -> None:
    charged = add(None, entry(), Source(0, 1, 0))
    back = add(charged, entry(entry="correction", counts=-1, amount_micros=-55_000), Source(0, 2, 0))
    anew = add(None, entry(entry="correction", free=True, type="free_tier", amount_micros=0), Source(0, 2, 1))
    assert back is not None
    assert anew is not None
    tally = summed(
        "W1",
        "2026-11",
        [("0|N1|utility|Germany|regular", back), ("0|N1|utility|Germany|free_tier", anew)],
    )
    assert [(row.type, row.free, row.paid, row.micros) for row in tally.rows] == [("free_tier", 1, 0, {})]
    assert (tally.totals["utility"].free, tally.totals["utility"].paid) == (1, 0)


entries = st.builds(
    entry,
    category=st.sampled_from(["marketing", "utility"]),
    free=st.booleans(),
    counts=st.sampled_from([-1, 0, 1]),
    amount_micros=st.integers(-1000, 1000),
    currency=st.sampled_from(["USD", "INR"]),
)


@given(st.lists(st.tuples(st.integers(0, 3), entries), max_size=30), st.data())
def test_entries_published_again_further_on_change_no_sum(
    ledger: list[tuple[int, LedgerEntry]], data: st.DataObject
) -> None:
    partitions: dict[int, list[LedgerEntry]] = defaultdict(list)
    for partition, one in ledger:
        partitions[partition].append(one)
    rows: dict[Line, Row] = {}
    for partition, log in partitions.items():
        replayed_from = data.draw(st.lists(st.integers(0, len(log)), max_size=3))
        for start in [0, *replayed_from]:
            for offset in range(start, len(log)):
                line = line_of(partition, log[offset])
                row = add(rows.get(line), log[offset], Source(partition, offset // 2, offset % 2))
                if row is not None:
                    rows[line] = row
    tally = summed("W1", "2026-11", ((line.field, row) for line, row in rows.items()))
    counts: Counter[tuple[str, bool]] = Counter()
    micros: Counter[tuple[str, str]] = Counter()
    for _, one in ledger:
        counts[one.category, one.free] += one.counts
        micros[one.category, one.currency] += one.amount_micros
    for category in ("marketing", "utility"):
        totals = tally.totals.get(category)
        assert (totals.free if totals else 0) == counts[category, True]
        assert (totals.paid if totals else 0) == counts[category, False]
        for currency in ("USD", "INR"):
            assert (totals.micros.get(currency, 0) if totals else 0) == micros[category, currency]


def test_a_partition_with_waiting_entries_that_does_not_move_is_noticed() -> None:
    progress = Progress()
    assert progress.standing_s(0, {0: 5, 1: 9}, {0: 8, 1: 9}) == 0
    assert progress.standing_s(30, {0: 5, 1: 9}, {0: 9, 1: 9}) == 30
    assert progress.standing_s(60, {0: 6, 1: 9}, {0: 9, 1: 12}) == 0
    assert progress.standing_s(90, {0: 9, 1: 9}, {0: 9, 1: 12}) == 30


def test_a_partition_without_waiting_entries_may_stand_still() -> None:
    progress = Progress()
    assert progress.standing_s(0, {0: 5}, {0: 5}) == 0
    assert progress.standing_s(1000, {0: 5}, {0: 5}) == 0
    assert progress.standing_s(1010, {0: 5}, {0: 6}) == 0
