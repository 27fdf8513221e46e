"""The report: sums by everything a reader knows, the page, the files, and that all of it can be read anywhere."""

import csv
import json
import re
from datetime import UTC, datetime
from pathlib import Path

from services.billing.reconciliation import analytics
from services.billing.reconciliation.cells import cell_of, window
from services.billing.reconciliation.files import write
from services.billing.reconciliation.messages import MOST_TAGS, Messages
from services.billing.reconciliation.money import shown
from services.billing.reconciliation.month import reconcile
from services.billing.reconciliation.report import Names, Report, build, notes_of
from tests.unit.billing.reconciliation.month import (
    FACTS,
    FREE,
    MONTH,
    NUMBER,
    REGULAR,
    WABA,
    Month,
    Point,
    Sent,
    entries_of,
    messages_of,
)

NAMES = Names({WABA: "Shop & <Söhne>"}, {NUMBER: "+1 555 025 3484"})


def some_month() -> Month:
    month = Month()
    for n in range(12):
        month.add(Sent(f"m{n}", day=f"2026-11-{n + 1:02}"))
        month.add(Sent(f"s{n}", category="service", type=FREE, country="FR"))
    month.add(Sent("other-price", predicted=("utility", REGULAR, 55_000)))
    month.add(Sent("away", priced=False), None)
    month.lose("lost", cell_of("2026-11-15", "utility", "DE", REGULAR))
    month.points.append(Point(cell_of("2026-11-20", "utility", "IN", REGULAR), 14_000))
    return month


def written(month: Month, folder: Path) -> Report:
    with messages_of(month.sent) as messages:
        answers = analytics.loads(month.analytics(), "x")
        found = reconcile(messages, analytics.counted(answers, FACTS).cells, month.unheard, FACTS, MONTH)
        days = window(MONTH)
        report = build(
            found, names=NAMES, made_at=datetime(2026, 12, 3, tzinfo=UTC), tag="cost_center", tags=messages.by_tag(days),
            free_tier=(), invoice=None, taxes={}, notes=notes_of(messages.unsure(days), NAMES),
        )  # fmt: skip
        write(folder, report, found, messages, NAMES, answers)
    return report


def test_the_sums_lead_from_predicted_to_meta(tmp_path: Path) -> None:
    report = written(some_month(), tmp_path)
    (total,) = report.totals
    assert total.predicted_micros + total.by_webhooks_micros == total.billed_micros
    assert total.meta_micros is not None
    assert total.difference_micros == total.meta_micros - total.billed_micros
    assert total.difference_micros == total.explained_micros + total.unexplained_micros
    assert (total.unexplained_micros, report.unexplained) == (14_000, 1)
    assert report.kinds[0].kind == "unexplained"
    for sums in (total.days, total.categories, total.countries, total.numbers, total.accounts):
        assert sum(one.billed_micros for one in sums) == total.billed_micros
        assert sum(one.meta_micros or 0 for one in sums) == total.meta_micros
    assert len(total.days) == 30


def test_the_page_needs_nothing_from_outside_and_names_no_user(tmp_path: Path) -> None:
    written(some_month(), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"(?:src|href)=|url\(|@import|<script", page)
    assert "Shop &amp; &lt;Söhne&gt;" in page
    assert "4915112345678" not in page
    assert "0123456789abcdef" not in page
    assert "Not all is explained" in page
    assert page.count("<svg") == 3


def test_the_files_hold_every_cell_difference_and_message(tmp_path: Path) -> None:
    report = written(some_month(), tmp_path)
    cells, differences, messages = (
        list(csv.DictReader((tmp_path / f"{name}.csv").open()))
        for name in ("cells", "differences", "messages")
    )
    assert sum(int(row["billed_micros"]) for row in cells) == report.totals[0].billed_micros
    assert sum(int(row["meta_micros"]) for row in cells) == report.totals[0].meta_micros
    moved = sum(int(row["micros"]) for row in differences if row["between"] == "billed_meta")
    assert moved == report.totals[0].difference_micros
    assert {(row["kind"], row["wamid"]) for row in messages} >= {
        ("recategorised", "other-price"),
        ("not_counted_by_meta", "away"),
        ("webhook_lost", "lost"),
    }
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["kinds"][0]["differences"][0]["effects"][0]["cell"]["country"] == "IN"
    assert analytics.loads((tmp_path / "analytics.json").read_text(), "x").keys() == {WABA}


def test_a_cell_at_another_price_is_told_with_all_its_messages(tmp_path: Path) -> None:
    month = Month()
    for n in range(70):
        sent = Sent(f"m{n:02}")
        month.add(sent, Point(sent.cell, 140_000))
    written(month, tmp_path)
    rows = list(csv.DictReader((tmp_path / "messages.csv").open()))
    assert [row["wamid"] for row in rows] == [f"m{n:02}" for n in range(70)]


def test_a_month_of_which_only_the_day_before_has_messages_is_an_empty_report(tmp_path: Path) -> None:
    month = Month()
    month.add(Sent("before", day="2026-10-31"))
    report = written(month, tmp_path)
    assert (report.totals, report.kinds) == ((), ())


def test_notes_tell_what_no_webhook_priced_and_which_cards_are_none_of_metas(tmp_path: Path) -> None:
    report = written(some_month(), tmp_path)
    assert [note.split(": ")[1] for note in report.notes] == ["1 messages are billed as predicted"]


def test_many_cost_centres_are_told_as_the_dearest_and_the_others(tmp_path: Path) -> None:
    messages = Messages(tmp_path / "m", "order")
    for n in range(MOST_TAGS + 5):
        for entry in entries_of(Sent(f"m{n}")):
            entry.tags["order"] = f"o{n:03}"
            messages.add(entry)
            entry.tags.clear()
    messages.seal()
    told = messages.by_tag(window(MONTH))
    messages.close()
    assert len(told) == MOST_TAGS + 1
    assert (told[-1].tag, told[-1].amount.volume) == ("(others)", 5)


def test_money_is_shown_to_the_nearest_with_a_true_minus() -> None:
    assert shown(1_234_565_000) == "1,234.57"
    assert shown(-5_000) == "\u22120.01"
    assert shown(-4_999) == "0.00"
    assert shown(136_500, decimals=4, sign=True) == "+0.1365"
