"""What Meta is asked, and how its answers are read: decimals exactly, days in the account's zone, numbers by what people dial."""

import json
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import pytest

from services.billing.reconciliation.analytics import (
    UnreadableAnalytics,
    counted,
    dumps,
    fields_of,
    loads,
    ranges,
)
from services.billing.reconciliation.cells import Cell, Group
from tests.unit.billing.reconciliation.month import FACTS, NUMBER, WABA, data_point

GROUP = Group(WABA, NUMBER, "message", "USD")
CELL = Cell("2026-11-10", "marketing", "DE", "regular")


def answer(*points: dict[str, Any], field: str = "pricing_analytics") -> str:
    return json.dumps({field: {"data": [{"data_points": list(points)}]}, "id": WABA})


def point(**changes: Any) -> dict[str, Any]:
    return data_point("message", NUMBER, CELL, "0:MAX", 2, 273_000) | changes


def test_a_data_point_becomes_a_cell_with_its_tier() -> None:
    ((cell, found),) = counted(loads(answer(point()), "x"), FACTS).cells[GROUP].items()
    assert (cell, found.volume, found.micros, found.tiers[0].name) == (CELL, 2, 273_000, "0:MAX")


def test_costs_are_decimals_and_never_floats() -> None:
    text = answer(point()).replace("0.273", "0.1000000000000000055511151231257827")
    assert counted(loads(text, "x"), FACTS).cells[GROUP][CELL].micros == 100_000


def test_marketing_lite_is_marketing_and_tiers_of_one_name_are_added() -> None:
    both = loads(answer(point(), point(pricing_category="MARKETING_LITE")), "x")
    (found,) = counted(both, FACTS).cells[GROUP].values()
    assert (found.volume, found.micros, len(found.tiers)) == (4, 546_000, 1)


def test_the_tolerance_is_a_millionth_a_message_and_half_of_the_last_decimal_that_meta_gives() -> None:
    few = counted(loads(answer(point(cost=0.5)), "x"), FACTS).cells[GROUP][CELL]
    assert few.tolerance_micros == 50 + 2
    cents = [point(country=country, cost=0.5 + n / 100) for n, country in enumerate(two_letters(30))]
    found = counted(loads(answer(*cents), "x"), FACTS).cells[GROUP]
    assert {one.tolerance_micros for one in found.values()} == {5_000 + 2}


def two_letters(count: int) -> list[str]:
    return [f"{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(count)]


def test_a_day_that_does_not_begin_at_the_accounts_midnight_is_noted() -> None:
    start = int(datetime(2026, 11, 10, tzinfo=UTC).timestamp())
    found = counted(loads(answer(point(start=start)), "x"), FACTS)
    assert next(iter(found.cells[GROUP])).day == "2026-11-09"
    assert "19:00" in found.notes[0]


def test_a_number_that_nobody_knows_stands_for_itself_and_is_noted() -> None:
    found = counted(loads(answer(point(phone_number="4930123456")), "x"), FACTS)
    assert next(iter(found.cells)).number == "4930123456"
    assert "4930123456" in found.notes[0]


def test_saved_answers_are_read_as_they_came() -> None:
    answers = loads(f"[{answer(point())},{answer(point(country='FR'))}]", "x")
    assert loads(dumps(answers), "again") == answers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "answer 0"),
        (json.dumps({"id": WABA}), "pricing_analytics"),
        (answer({"start": 1}), "without category"),
        (json.dumps({"id": WABA, "pricing_analytics": []}), "without data"),
    ],
)
def test_what_is_no_answer_of_metas_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(UnreadableAnalytics, match=said):
        counted(loads(text, "file.json"), FACTS)


def test_the_month_is_asked_for_in_pieces_from_midnight_to_midnight() -> None:
    found = list(ranges((date(2026, 10, 31), date(2026, 12, 1)), 7, "America/New_York"))
    assert [(end - start).days for start, end in found] == [7, 7, 7, 7, 4]
    assert all(one[1] == two[0] for one, two in pairwise(found))
    assert found[0][0].utcoffset() != found[1][0].utcoffset()  # summer time ends on 1 November


def test_all_dimensions_and_metrics_are_asked_for() -> None:
    start, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 8, tzinfo=UTC)
    assert fields_of("message", start, end) == (
        "pricing_analytics.start(1793491200).end(1794096000).granularity(DAILY).phone_numbers([]).country_codes([])"
        '.metric_types(["COST","VOLUME"]).dimensions(["COUNTRY","PHONE","PRICING_CATEGORY","PRICING_TYPE","TIER"])'
    )
