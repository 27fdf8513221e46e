"""Each kind of difference: planted alone in a month, it is found with its message, and nothing else is."""

from datetime import time

import pytest

from services.billing.reconciliation.by_analytics import share_calling_code
from services.billing.reconciliation.cells import Cell, cell_of
from services.billing.reconciliation.differences import MEANING, TO_DO, Difference, Kind
from tests.unit.billing.reconciliation.adding_up import adds_up
from tests.unit.billing.reconciliation.month import FREE, REGULAR, Month, Point, Sent

DAY = "2026-11-10"


def month_of_twenty() -> Month:
    """Twenty messages that agree on all sides, some in the cell that differs."""
    month = Month()
    for n in range(10):
        month.add(Sent(f"m{n}"))
        month.add(Sent(f"u{n}", category="utility"))
    return month


def only(month: Month) -> Difference:
    reconciled = month.reconciled()
    adds_up(reconciled)
    (found,) = reconciled.differences
    return found


def names(found: Difference) -> list[str]:
    return [message.wamid for message in found.messages]


def test_a_month_that_agrees_has_no_differences() -> None:
    assert month_of_twenty().reconciled().differences == ()


# --- told by webhooks


def test_a_message_that_a_webhook_priced_in_another_category_is_recategorised() -> None:
    month = month_of_twenty()
    month.add(Sent("x", category="marketing", predicted=("utility", REGULAR, 55_000)))
    found = only(month)
    assert (found.kind, found.between, names(found)) == ("recategorised", "predicted_billed", ["x"])
    assert (found.units, found.micros) == (1, 136_500 - 55_000)


def test_a_message_that_turned_out_free_is_named_so() -> None:
    month = month_of_twenty()
    month.add(Sent("x", category="utility", type=FREE, predicted=("utility", REGULAR, 55_000)))
    found = only(month)
    assert (found.kind, names(found), found.micros) == ("free_instead_of_paid", ["x"], -55_000)


def test_a_message_that_turned_out_to_cost_is_named_so() -> None:
    month = month_of_twenty()
    month.add(Sent("x", category="service", predicted=("service", "free_tier", 0)))
    found = only(month)
    assert (found.kind, names(found), found.micros) == ("paid_instead_of_free", ["x"], 50_000)


def test_a_message_free_by_an_entry_point_and_not_by_a_window_is_free_otherwise() -> None:
    month = month_of_twenty()
    month.add(Sent("x", category="service", type="free_entry_point", predicted=("service", FREE, 0)))
    assert only(month).kind == "free_otherwise"


def test_the_free_tier_by_metas_name_for_it_is_no_difference() -> None:
    month = month_of_twenty()
    month.add(Sent("x", category="service", type=FREE, predicted=("service", "free_tier", 0)))
    assert month.reconciled().differences == ()


def test_a_message_at_another_price_than_predicted_has_another_rate() -> None:
    month = month_of_twenty()
    month.add(Sent("x", micros=140_000, predicted=("marketing", REGULAR, 136_500)), None)
    month.points.append(Point(cell_of(DAY, "marketing", "DE", REGULAR), 140_000))
    found = next(d for d in month.reconciled().differences if d.between == "predicted_billed")
    assert (found.kind, names(found), found.micros) == ("rate_differs", ["x"], 3_500)


def test_messages_that_others_sent_from_the_number_are_unattributed() -> None:
    month = month_of_twenty()
    month.add(Sent("x", ours=False, predicted=None))
    found = only(month)
    assert (found.kind, names(found), found.micros) == ("unattributed", ["x"], 136_500)


def test_a_message_of_ours_whose_prediction_came_too_late_is_unpredicted() -> None:
    month = month_of_twenty()
    month.add(Sent("x", predicted=None))
    assert only(month).kind == "unpredicted"


# --- seen in the analytics only


def test_a_delivery_that_only_meta_knows_is_a_lost_webhook_if_the_message_was_sent() -> None:
    month = month_of_twenty()
    month.lose("x", cell_of(DAY, "marketing", "DE", REGULAR))
    found = only(month)
    assert (found.kind, found.certain, names(found)) == ("webhook_lost", True, ["x"])
    assert found.micros == 136_500


def test_of_several_that_may_be_the_lost_one_all_are_candidates() -> None:
    month = month_of_twenty()
    cell = cell_of(DAY, "marketing", "DE", REGULAR)
    for wamid in ("x", "y"):
        month.lose(wamid, cell)
    month.points.pop()
    found = only(month)
    assert (found.kind, found.certain, found.candidates, found.units) == ("webhook_lost", False, 2, 1)


def test_a_message_never_delivered_and_not_counted_is_no_difference() -> None:
    month = month_of_twenty()
    month.lose("x", cell_of(DAY, "marketing", "DE", REGULAR))
    month.points.pop()
    assert month.reconciled().differences == ()


@pytest.mark.parametrize(
    "cell",
    [
        Cell(DAY, "marketing", "FR", "regular"),
        Cell(DAY, "authentication", "DE", "regular"),
        Cell("2026-11-12", "marketing", "DE", "regular"),
    ],
)
def test_a_message_sent_elsewhere_explains_no_lost_webhook(cell: Cell) -> None:
    month = month_of_twenty()
    month.lose("x", cell)
    month.points[-1] = Point(cell_of(DAY, "marketing", "DE", REGULAR), 136_500)
    assert only(month).kind == "unexplained"


def test_what_no_webhook_priced_and_meta_does_not_count_is_named_so() -> None:
    month = month_of_twenty()
    month.add(Sent("x", priced=False), None)
    found = only(month)
    assert (found.kind, found.certain, names(found)) == ("not_counted_by_meta", True, ["x"])
    assert found.micros == -136_500


def test_what_a_webhook_priced_and_meta_does_not_count_is_unexplained_with_its_candidates() -> None:
    month = month_of_twenty()
    month.add(Sent("x"), None)
    found = only(month)
    assert (found.kind, found.candidates, found.units) == ("unexplained", 11, 1)
    assert "x" in names(found)


@pytest.mark.parametrize(("at", "other"), [(time(23, 50), "2026-11-11"), (time(0, 10), "2026-11-09")])
def test_a_message_near_midnight_may_count_on_the_other_day(at: time, other: str) -> None:
    month = month_of_twenty()
    sent = Sent("x", at=at)
    month.add(sent, Point(sent.cell._replace(day=other), sent.cost))
    found = only(month)
    assert (found.kind, found.certain, names(found), found.micros) == ("other_day", True, ["x"], 0)


def test_a_message_counted_on_the_day_before_a_new_card_keeps_the_price_of_its_own_day() -> None:
    month = month_of_twenty()
    for n in range(7):
        month.add(Sent(f"old{n}", day="2026-11-09", micros=109_200))
    sent = Sent("x", at=time(0, 10))
    month.add(sent, Point(sent.cell._replace(day="2026-11-09"), sent.cost))
    found = only(month)
    assert (found.kind, names(found), found.micros) == ("other_day", ["x"], 0)


def test_a_message_at_noon_does_not_count_on_another_day() -> None:
    month = month_of_twenty()
    sent = Sent("x")
    month.add(sent, Point(sent.cell._replace(day="2026-11-11"), sent.cost))
    assert {d.kind for d in month.reconciled().differences} == {"unexplained"}


def test_a_message_of_the_months_last_minutes_is_found_on_the_next_months_first_day() -> None:
    month = month_of_twenty()
    month.add(Sent("there", day="2026-12-01"))
    sent = Sent("x", day="2026-11-30", at=time(23, 59))
    month.add(sent, Point(sent.cell._replace(day="2026-12-01"), sent.cost))
    found = next(iter(month.reconciled().differences))
    assert (found.kind, names(found)) == ("other_day", ["x"])


def test_days_that_metas_answers_do_not_reach_are_left_out() -> None:
    month = month_of_twenty()
    month.add(Sent("before", day="2026-10-31"), None)
    assert month.reconciled().differences == ()


def test_one_less_here_and_one_more_in_the_sister_category_is_recategorised_without_word() -> None:
    month = month_of_twenty()
    sent = Sent("x", category="utility", priced=False)
    month.add(sent, Point(sent.cell._replace(category="marketing"), 136_500))
    found = only(month)
    assert (found.kind, found.certain, names(found)) == ("recategorised_without_word", True, ["x"])
    assert found.micros == 136_500 - 55_000


def test_where_webhooks_priced_all_of_them_any_may_be_the_recategorised_one() -> None:
    month = month_of_twenty()
    sent = Sent("x", category="utility")
    month.add(sent, Point(sent.cell._replace(category="marketing"), 136_500))
    found = only(month)
    assert (found.kind, found.certain, found.candidates) == ("recategorised_without_word", False, 11)


def test_a_sister_that_may_as_well_be_a_lost_webhook_leaves_it_uncertain_which_message_moved() -> None:
    month = month_of_twenty()
    month.add(Sent("x", category="utility", priced=False), None)
    month.lose("y", cell_of(DAY, "marketing", "DE", REGULAR))
    found = only(month)
    assert (found.kind, found.certain, names(found)) == ("recategorised_without_word", False, ["x"])


def test_a_territory_has_the_calling_code_of_its_country() -> None:
    month = month_of_twenty()
    sent = Sent("x", country="GB", priced=False)
    month.add(sent, Point(sent.cell._replace(country="GG"), sent.cost))
    found = only(month)
    assert (found.kind, names(found), found.micros) == ("other_country", ["x"], 0)
    assert not share_calling_code("GB", "FR")
    assert not share_calling_code("", "FR")


def test_another_country_with_another_code_is_unexplained() -> None:
    month = month_of_twenty()
    sent = Sent("x", country="GB")
    month.add(sent, Point(sent.cell._replace(country="FR"), sent.cost))
    assert [d.kind for d in month.reconciled().differences] == ["unexplained", "unexplained"]


def test_free_here_and_charged_there_is_seen_without_word_too() -> None:
    month = month_of_twenty()
    sent = Sent("x", category="service", type=FREE, priced=False)
    month.add(sent, Point(sent.cell._replace(type="regular"), 50_000))
    found = only(month)
    assert (found.kind, names(found), found.micros) == ("paid_instead_of_free", ["x"], 50_000)


def test_all_at_another_unit_price_is_another_rate() -> None:
    month = Month()
    for n in range(7):
        sent = Sent(f"m{n}")
        month.add(sent, Point(sent.cell, 140_000))
    found = only(month)
    assert (found.kind, found.micros) == ("rate_differs", 7 * 3_500)


def test_a_lower_price_in_a_further_tier_is_the_volume_tier() -> None:
    month = Month()
    for n in range(6):
        sent = Sent(f"m{n}", category="utility")
        month.add(
            sent, Point(sent.cell, 50_000 if n > 3 else 55_000, tier="100001:MAX" if n > 3 else "0:100000")
        )
    found = only(month)
    assert (found.kind, found.micros) == ("volume_tier", -2 * 5_000)


def test_money_that_is_no_unit_price_is_unexplained() -> None:
    month = Month()
    for n in range(3):
        sent = Sent(f"m{n}")
        month.add(sent, Point(sent.cell, sent.cost + (500 if n else 0)))
    found = only(month)
    assert (found.kind, found.units, found.micros) == ("unexplained", 0, 1_000)


def test_a_lost_webhook_at_a_wrong_card_leaves_the_card_to_be_named() -> None:
    month = Month()
    for n in range(3):
        sent = Sent(f"m{n}")
        month.add(sent, Point(sent.cell, 140_000))
    cell = cell_of(DAY, "marketing", "DE", REGULAR)
    month.lose("x", cell)
    month.points[-1].micros = 140_000
    reconciled = month.reconciled()
    adds_up(reconciled)
    assert {d.kind: d.micros for d in reconciled.differences} == {
        "webhook_lost": 140_000,
        "rate_differs": 10_500,
    }


def test_conversations_are_compared_with_conversations() -> None:
    month = month_of_twenty()
    month.add(Sent("c1", unit="conversation"))
    month.add(Sent("c2", unit="conversation", priced=False), None)
    found = only(month)
    assert (found.kind, found.group.unit, names(found)) == ("not_counted_by_meta", "conversation", ["c2"])


def test_a_message_explains_one_difference_only() -> None:
    """The cell lacks two, of which one was delivered near midnight; the day after has one more, the sister category the other."""
    month = month_of_twenty()
    near, far = (Sent(wamid, at=at, priced=False) for wamid, at in (("x", time(23, 55)), ("y", time(9))))
    month.add(near, Point(near.cell._replace(day="2026-11-11"), near.cost))
    month.add(far, Point(far.cell._replace(category="utility"), 55_000))
    reconciled = month.reconciled()
    adds_up(reconciled)
    assert [(d.kind, d.certain, names(d)) for d in reconciled.differences] == [
        ("other_day", True, ["x"]),
        ("recategorised_without_word", True, ["y"]),
    ]


def test_a_lost_message_explains_one_delivery_only() -> None:
    """It was taken on one day; Meta counts one more on that day and one on the next."""
    month = month_of_twenty()
    cell = cell_of(DAY, "marketing", "DE", REGULAR)
    month.lose("x", cell)
    month.points.append(Point(cell._replace(day="2026-11-11"), 136_500))
    reconciled = month.reconciled()
    adds_up(reconciled)
    assert [(d.kind, names(d)) for d in reconciled.differences] == [
        ("webhook_lost", ["x"]),
        ("unexplained", []),
    ]


def test_every_kind_says_what_it_means_and_what_to_do() -> None:
    kinds = set(Kind.__args__)  # type: ignore[attr-defined]
    assert set(MEANING) == set(TO_DO) == kinds
