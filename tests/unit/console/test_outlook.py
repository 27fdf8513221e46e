"""What a month will come to, as the terminal shows it and in words; and the thresholds of the accounts file."""

from io import StringIO

import pytest
from rich.console import Console

from services.console.document import InvalidDocument, parse
from services.console.outlook import Outlook, Scope, basis, expected, share
from services.console.tables import outlook_table
from services.console.tally import AsOf
from services.console.view import alerts


def outlook(method: str = "weekdays", days_known: int = 14, *scopes: Scope) -> Outlook:
    return Outlook(
        "W1",
        "2026-11",
        AsOf(0),
        "UTC",
        "USD",
        method,
        days_known,
        list(scopes),
        {},
    )


@pytest.mark.parametrize(
    ("method", "days", "words"),
    [
        ("weekdays", 14, "each day to come like the last two of its weekday, the later counting double"),
        ("pace", 13, "each day to come like the last 7 full days"),
        ("pace", 1, "each day to come like the last full day"),
        ("none", 0, "nothing is expected: not one full day is known"),
    ],
)
def test_it_is_said_what_an_expectation_rests_on(method: str, days: int, words: str) -> None:
    assert basis(outlook(method, days)) == words


def test_what_is_spent_is_shown_exactly_and_what_is_expected_to_the_cent() -> None:
    total = Scope(None, 1_055_001, 2_004_999, 1_995_000, 2_014_998, 4_000_000, 26, 50, None)
    unknown = Scope("utility", 0, None, None, None, None, None, None, None)
    assert expected(total, "USD") == "about 2.00 USD (2.00 to 2.01)"
    assert expected(unknown, "USD") == "—"
    assert (share(26, of_expected=50), share(26), share(None)) == ("26 %, 50 % expected", "26 %", "—")
    console = Console(width=160, record=True, file=StringIO())
    console.print(outlook_table(outlook("weekdays", 14, total, unknown)))
    text = console.export_text()
    for shown in ("1.055001 USD", "4.00 USD", "26 %, 50 % expected", "not this month"):
        assert shown in text


def test_thresholds_are_told_in_their_order() -> None:
    assert alerts([80, 50]) == "alerts at 50, 80 %"
    assert alerts([]) == "no alerts"


@pytest.mark.parametrize(
    ("written", "problem"), [("[50, 50]", "more than once: 50"), ("[0]", "greater than or equal to 1")]
)
def test_thresholds_that_make_no_sense_are_refused_with_their_place(written: str, problem: str) -> None:
    text = f'accounts: [{{id: "1", budget_thresholds: {written}}}]'
    with pytest.raises(InvalidDocument, match=problem):
        parse(text, lambda pin: True, lambda market: True)
