"""The demo's pure parts: when the story begins, how its steps are written, how both sides of the tally are compared."""

from datetime import UTC, datetime, timedelta

import pytest

from deploy.local.demo.__main__ import starts_at
from deploy.local.demo.accounts import example_for_meta
from deploy.local.demo.counting import at_meta, by_category
from deploy.local.demo.story import STORY
from services.console.tally import Row, Tally, Totals


@pytest.mark.parametrize("day", range(366))
def test_the_whole_story_lies_ahead_and_in_one_month(day: int) -> None:
    today = datetime(2026, 1, 1, 23, 59, tzinfo=UTC) + timedelta(days=day)
    start = starts_at(today)
    assert start > today
    assert (start + timedelta(days=5)).month == start.month


def test_no_two_steps_have_the_same_name_and_each_expects_something() -> None:
    assert len({step.name for step in STORY}) == len(STORY)
    assert all(step.expect and step.does for step in STORY)


def test_the_fake_meta_is_told_of_every_number_and_template_of_the_example() -> None:
    known = example_for_meta()["wabas"]
    assert [len(waba["numbers"]) for waba in known] == [2, 1]
    assert [len(waba["templates"]) for waba in known] == [4, 2]


def row(free: int, paid: int, micros: dict[str, int], number: str, category: str, type: str) -> Row:
    return Row(
        free,
        paid,
        micros,
        phone_number_id=number,
        unit="conversation",
        category=category,
        market="Germany",
        type=type,
    )


def test_what_the_free_entry_point_made_free_is_one_line_on_both_sides() -> None:
    rows = [
        row(1, 0, {}, "1", "service", "free_entry_point"),
        row(2, 0, {}, "1", "service", "free_tier"),
        row(0, 1, {"USD": 5}, "1", "marketing", "regular"),
        row(0, 1, {"USD": 7}, "2", "marketing", "regular"),
    ]
    ours = by_category(Tally("W1", "2026-12", rows, {}))
    assert ours == {
        "free entry point": Totals(1, 0, {}),
        "service": Totals(2, 0, {}),
        "marketing": Totals(0, 2, {"USD": 12}),
    }
    meta = [
        {"waba_id": "W1", "month": "2026-12", "category": "referral_conversion", "free": 1, "paid": 0},
        {"waba_id": "W1", "month": "2026-11", "category": "service", "free": 9, "paid": 0},
        {"waba_id": "W2", "month": "2026-12", "category": "service", "free": 9, "paid": 0},
    ]
    assert at_meta(meta, "W1", "2026-12") == {"free entry point": (1, 0)}
