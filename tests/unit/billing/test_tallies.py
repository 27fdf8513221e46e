"""Adding up: each entry once into both its rows, rows summed over partitions, and a consumer that stands still is noticed."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.billing.tallies.counting import Counting
from services.billing.tallies.watchdog import Progress
from services.billing.tally_rows import (
    Counts,
    DayLine,
    MonthLine,
    Row,
    add_to_day,
    add_to_month,
    days_key,
    decode_row,
    encode_row,
    from_table_key,
    lines_of,
    month_key,
    to_table_key,
    without_hours,
)
from services.billing.tally_sums import Spend, SpendLine, Tally, Totals, spend_of, tally_of
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
        "delivered_at": "2026-11-19T23:30:00.000Z",
        "day": "2026-11-20",
    }
    return LedgerEntry(**(fields | changes))


def test_an_entry_is_added_to_a_row_of_its_month_and_to_one_of_its_day() -> None:
    month, day = lines_of(3, entry())
    assert month == MonthLine(3, "W1", "2026-11", "N1", "message", "utility", "Germany", "regular")
    assert day == DayLine(3, "W1", "2026-11", "2026-11-20", "utility")
    for line in (month, day):
        assert to_table_key(line).startswith(b"3|")
        assert from_table_key(to_table_key(line)) == line
    assert month.field == "3|N1|message|utility|Germany|regular"
    assert day.field == "3|2026-11-20|utility"
    assert month.hash_key("wa", 1) == month_key("wa", 1, "W1", "2026-11") == "wa:tallies:2.1:W1:2026-11"
    assert day.hash_key("wa", 1) == days_key("wa", 1, "W1", "2026-11") == "wa:tallies:2.1:W1:2026-11:days"
    once = Counts(paid=1, micros={"USD": 55_000})
    assert add_to_month(None, entry(), NINTH) == Row(NINTH, once)
    assert add_to_day(None, entry(), NINTH, hours=True) == Row(NINTH, once, {"2026-11-19T23": once})


def test_a_word_of_metas_with_the_separator_in_it_breaks_no_key() -> None:
    for line in lines_of(0, entry(category="a|b")):
        assert from_table_key(to_table_key(line)) == line


def test_an_entry_seen_before_is_skipped() -> None:
    month, day = add_to_month(None, entry(), NINTH), add_to_day(None, entry(), NINTH, hours=True)
    for seen, new in (((3, 9, 0), False), ((3, 8, 5), False), ((3, 9, 1), True), ((3, 10, 0), True)):
        assert (add_to_month(month, entry(), Source(*seen)) is not None) == new
        assert (add_to_day(day, entry(), Source(*seen), hours=True) is not None) == new


def test_a_row_survives_its_encoding() -> None:
    counts = Counts(1, 2, 3, 4, {"USD": -5})
    for row in (Row(NINTH, counts), Row(NINTH, counts, {"2026-11-19T23": counts})):
        assert decode_row(encode_row(row)) == row


def test_what_opened_conversations_is_counted_beside_the_units() -> None:
    """Where messages are charged, each counts, and only some open a conversation."""
    counting = Counting({})
    for index, conversations in enumerate((1, 0, 0)):
        counting.take(0, entry(free=index == 0, conversations=conversations), Source(0, index, 0))
    (total,) = told(counting)[0].totals.values()
    assert (total.free, total.paid, total.conversations_free, total.conversations_paid) == (1, 2, 1, 0)


def test_a_charge_taken_back_leaves_no_row() -> None:
    counting = Counting({})
    counting.take(0, entry(), Source(0, 1, 0))
    counting.take(0, entry(entry="correction", counts=-1, amount_micros=-55_000), Source(0, 2, 0))
    anew = entry(entry="correction", free=True, type="free_tier", amount_micros=0, at="2026-12-03T00:00:00Z")
    counting.take(0, anew, Source(0, 2, 1))
    tally, spend = told(counting)
    assert [(row.type, row.free, row.paid, row.micros) for row in tally.rows] == [("free_tier", 1, 0, {})]
    assert tally.totals == {"utility": Totals(free=1)}
    assert spend.days == [SpendLine(day="2026-11-20", hour=None, category="utility", free=1)]
    assert spend.hours == [
        SpendLine(day="2026-11-20", hour="2026-11-19T23:00:00Z", category="utility", free=1)
    ]


def test_a_correction_counts_in_the_hour_of_its_delivery() -> None:
    counting = Counting({})
    counting.take(0, entry(), Source(0, 1, 0))
    late = entry(entry="correction", counts=0, amount_micros=5_000, at="2026-12-20T12:00:00Z")
    counting.take(0, late, Source(0, 2, 0))
    assert [(line.hour, line.micros) for line in told(counting)[1].hours] == [
        ("2026-11-19T23:00:00Z", {"USD": 60_000})
    ]


def test_hours_that_are_no_longer_kept_stay_in_the_sum_of_their_day() -> None:
    counting = Counting({})
    for index, day in enumerate(("2026-11-19", "2026-11-20")):
        counting.take(0, entry(day=day), Source(0, index, 0))
    counting.encode_touched()
    assert counting.drop_hours("2026-11-20") == 1
    assert counting.drop_hours("2026-11-20") == 0
    counting.take(0, entry(day="2026-11-19", category="service"), Source(0, 8, 0))
    counting.take(0, entry(day="2026-11-19"), Source(0, 9, 0))
    spend = told(counting)[1]
    assert [(line.day, line.category, line.paid) for line in spend.days] == [
        ("2026-11-19", "service", 1),
        ("2026-11-19", "utility", 2),
        ("2026-11-20", "utility", 1),
    ]
    assert [line.day for line in spend.hours] == ["2026-11-20"]
    assert spend.hours_dropped == ["2026-11-19"]


def test_a_day_of_which_one_partition_keeps_hours_no_longer_shows_none() -> None:
    hour = add_to_day(None, entry(), NINTH, hours=True)
    assert hour is not None
    fields = [("0|2026-11-20|utility", hour), ("1|2026-11-20|utility", without_hours(hour))]
    spend = spend_of("W1", "2026-11", fields)
    assert (spend.days[0].paid, spend.hours, spend.hours_dropped) == (2, [], ["2026-11-20"])


entries = st.builds(
    entry,
    category=st.sampled_from(["marketing", "utility"]),
    type=st.sampled_from(["regular", "free_tier"]),
    unit=st.sampled_from(["message", "conversation"]),
    free=st.booleans(),
    counts=st.sampled_from([-1, 0, 1]),
    conversations=st.sampled_from([-1, 0, 1]),
    amount_micros=st.integers(-1000, 1000),
    currency=st.sampled_from(["USD", "INR"]),
    day=st.sampled_from(["2026-11-19", "2026-11-20"]),
    delivered_at=st.sampled_from(
        [f"2026-11-{day}T{hour}:15:00Z" for day in (19, 20) for hour in ("00", "12")]
    ),
)


def told(*processes: Counting) -> tuple[Tally, Spend]:
    """What readers are told of the rows that these processes hold."""
    months: list[tuple[str, Row]] = []
    days: list[tuple[str, Row]] = []
    for counting in processes:
        counting.encode_touched()
        for line, (_, value) in counting.of_partitions(range(4)).items():
            (months if isinstance(line, MonthLine) else days).append((line.field, decode_row(value)))
    return tally_of("W1", "2026-11", months), spend_of("W1", "2026-11", days)


def naive(ledger: Sequence[LedgerEntry], *fields: str) -> dict[tuple[str, ...], Totals]:
    """Counts and money by some fields of the entries; nothing where they come to nothing."""
    sums: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    micros: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for one in ledger:
        line = tuple(
            one.delivered_at[:13] + ":00:00Z" if f == "hour" else str(getattr(one, f)) for f in fields
        )
        kind = "free" if one.free else "paid"
        sums[line].update({kind: one.counts, f"conversations_{kind}": one.conversations})
        micros[line][one.currency] += one.amount_micros
    found = {
        line: Totals(**counts, micros={c: m for c, m in sorted(micros[line].items()) if m})
        for line, counts in sums.items()
    }
    return {line: totals for line, totals in found.items() if totals != Totals()}


def by(lines: Sequence[Any], *fields: str) -> dict[tuple[str, ...], Totals]:
    """Lines of an answer by some of their fields."""
    return {
        tuple(str(getattr(one, f)) for f in fields): Totals(
            free=one.free,
            paid=one.paid,
            conversations_free=one.conversations_free,
            conversations_paid=one.conversations_paid,
            micros=one.micros,
        )
        for one in lines
    }


@given(st.lists(st.tuples(st.integers(0, 3), entries), max_size=30), st.data())
def test_over_kills_and_entries_published_again_all_sums_are_the_ledgers(
    ledger: list[tuple[int, LedgerEntry]], data: st.DataObject
) -> None:
    """A kill leaves any of the touched rows safe, and not the others; the entries since the last commit then come once more."""
    partitions: dict[int, list[LedgerEntry]] = defaultdict(list)
    for partition, one in ledger:
        partitions[partition].append(one)
    processes = []
    for partition, log in partitions.items():
        safe: dict[bytes, bytes] = {}
        most_open = data.draw(st.integers(0, 3))
        counting = Counting(dict(safe), most_open=most_open)
        ends = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=3)))
        committed = 0
        for end in [*ends, len(log)]:
            for offset in range(committed, end):
                counting.take(partition, log[offset], Source(partition, offset // 2, offset % 2))
            touched = {to_table_key(line): value for line, (_, value) in counting.encode_touched().items()}
            if end == len(log) or data.draw(st.booleans()):
                safe |= touched
                committed = data.draw(st.integers(0, end))
            else:
                safe |= {key: touched[key] for key in touched if data.draw(st.booleans())}
                counting = Counting(dict(safe), most_open=most_open)
        for offset in range(committed, len(log)):
            counting.take(partition, log[offset], Source(partition, offset // 2, offset % 2))
        processes.append(counting)
    tally, spend = told(*processes)
    all_entries = [one for _, one in ledger]
    month = ("phone_number_id", "unit", "category", "market", "type")
    assert by(tally.rows, *month) == naive(all_entries, *month)
    assert by(spend.days, "day", "category") == naive(all_entries, "day", "category")
    hour = ("day", "hour", "category")
    assert by(spend.hours, *hour) == naive(all_entries, *hour)
    totals = {category: total for category, total in tally.totals.items() if total != Totals()}
    assert totals == {category: total for (category,), total in naive(all_entries, "category").items()}


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
