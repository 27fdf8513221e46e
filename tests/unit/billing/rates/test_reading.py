"""Each odd shape of a file of rates is read as what it says, or refused with the place."""

import csv
import io
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from services.billing.rates.amounts import decimal_marks, taken_apart, value, written
from services.billing.rates.card_file import FoundCard, FoundTiers, Given
from services.billing.rates.findings import letters
from services.billing.rates.planning import card_text
from services.billing.rates.sheets import UnreadableFile
from services.billing.rates.tier_words import bounds_of
from services.billing.rates.words import day_in, heading, unit_in
from shared.pricing import Market, RateCategory
from shared.pricing.cards import COLUMNS
from tests.fixtures.rates.make import FILES
from tests.unit.billing.rates.configs import FIXTURES, KNOWN, SHIPPED, reading

EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load((FIXTURES / "expected.yaml").read_text("utf-8"))


def test_every_file_of_rates_has_its_expected_outcome() -> None:
    files = {
        path.name for path in FIXTURES.iterdir() if path.suffix in (".csv", ".xlsx", ".txt", ".xls", ".pdf")
    }
    assert files == EXPECTED.keys()


@pytest.mark.parametrize(
    "name", [name for name in FILES if not name.endswith(".xlsx") and name != "xlsx_named.csv"]
)
def test_the_files_that_are_no_plain_text_are_as_their_script_makes_them(name: str) -> None:
    assert (FIXTURES / name).read_bytes() == FILES[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_is_read_as_it_is_meant(name: str) -> None:
    expected, data = EXPECTED[name], (FIXTURES / name).read_bytes()
    if "unreadable" in expected:
        with pytest.raises(UnreadableFile) as refused:
            reading(data, name)
        assert expected["unreadable"] in str(refused.value)
        return
    found = reading(data, name)
    shown = [f"{finding.gravity} {finding}" for finding in found.findings]
    says = expected.get("says", [])
    assert len(shown) == len(says), shown
    assert all(any(words in line for line in shown) for words in says), shown
    if not any(words.startswith("error") for words in says):
        assert {_named(card): _rates(card) for card in found.cards} == _columns(expected["cards"])
        assert {f"{t.currency} {t.effective_from}": _tiers(t) for t in found.tiers} == expected.get(
            "tiers", {}
        )


def _named(card: FoundCard) -> str:
    return f"{card.currency} {card.unit or '-'} {card.effective_from or '-'}"


def _rates(card: FoundCard) -> dict[str, list[str]]:
    def cell(market: Market, category: RateCategory) -> str:
        if (market, category) not in card.micros:
            return "."
        return written(card.micros[market, category]).replace("n/a", "none")

    markets = dict.fromkeys(market for market, _ in card.micros)
    return {market: [cell(market, category) for category in COLUMNS.values()] for market in markets}


def _columns(cards: dict[str, dict[str, str]]) -> dict[str, dict[str, list[str]]]:
    return {name: {market: rates.split() for market, rates in rows.items()} for name, rows in cards.items()}


def _tiers(tiers: FoundTiers) -> list[str]:
    return [
        f"{row.market} {row.category} {row.bounds[0]} {row.bounds[1] or 'MAX'} {written(row.micros)}"
        for row in tiers.rows
    ]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("Authentication-\nInternational", ("rate", "authentication_international", None)),
        (" AUTHENTICATION \N{EN DASH}  International ", ("rate", "authentication_international", None)),
        ("Authenti-\ncation rate", ("rate", "authentication", None)),
        ("Marketing (USD)", ("rate", "marketing", "USD")),
        ("EUR Utility per message", ("rate", "utility", "EUR")),
        ("Service (non-template)", ("rate", "service", None)),
        ("Country/Region", ("market", None, None)),
        ("Price", ("rate", None, None)),
    ],
)  # fmt: skip
def test_a_heading_is_known_by_its_letters(text: str, holds: tuple[str, str | None, str | None]) -> None:
    assert heading(text, KNOWN.currencies) == holds


@pytest.mark.parametrize("text", ["", "Marketing Lite", "Notes", "Markt"])
def test_another_heading_holds_nothing_that_is_known(text: str) -> None:
    assert heading(text, KNOWN.currencies) is None


@pytest.mark.parametrize(
    ("texts", "day"),
    [
        (["effective July 1, 2026"], date(2026, 7, 1)),
        (["Last updated June 3, 2026, effective July 1, 2026"], date(2026, 7, 1)),
        (["Effective October 1, 2026. Updated September 3, 2026"], date(2026, 10, 1)),
        (["1st of nothing", "1 Oct. 2026"], date(2026, 10, 1)),
        (["rates_2026_10_01_final.csv"], date(2026, 10, 1)),
        (["WhatsApp-Rates-Oct-1-2026.xlsx"], date(2026, 10, 1)),
        (["effective 10/1/2026"], None),
        (["July 1, 2026", "October 1, 2026"], None),
        (["June 31, 2026"], None),
        (["card.csv"], None),
    ],
)
def test_a_first_day_is_told_by_words_or_not_at_all(texts: list[str], day: date | None) -> None:
    assert day_in(texts) == day


@pytest.mark.parametrize(
    ("texts", "unit"),
    [
        (["Cost per message in USD"], "message"),
        (["price per delivered message"], "message"),
        (["Conversation-based pricing"], "conversation"),
        (["per conversation", "per message"], None),
        (["USD"], None),
    ],
)
def test_a_unit_is_told_by_words_or_not_at_all(texts: list[str], unit: str | None) -> None:
    assert unit_in(texts) == unit


@pytest.mark.parametrize(
    ("tier", "first", "last", "bounds"),
    [
        ("0:100000", "", "", (1, 100_000)),
        ("100,001 \N{EN DASH} 250,000", "", "", (100_001, 250_000)),
        ("250001:MAX", "", "", (250_001, None)),
        ("250.001+", "", "", (250_001, None)),
        ("", "1", "1,000", (1, 1000)),
        ("", "1001", "", (1001, None)),
        ("", "1001", "Unlimited", (1001, None)),
        ("many", "", "", None),
        ("100K+", "", "", None),
        ("", "", "5", None),
    ],
)
def test_a_tier_has_bounds_in_any_spelling(
    tier: str, first: str, last: str, bounds: tuple[int, int | None] | None
) -> None:
    assert bounds_of(tier, first, last) == bounds


@pytest.mark.parametrize(
    ("texts", "marks"),
    [
        (["0.0118", "1,234.5"], "."),
        (["0,0118", "1.234,5"], ","),
        (["1,234", "0.5"], "."),
        (["1.234", "0,5"], ","),
        (["1,234"], ".,"),
        (["5"], ".,"),
        (["0.5", "0,5"], ""),
        (["0,118"], ","),
    ],
)
def test_the_decimal_mark_is_the_one_that_makes_sense_of_all_amounts(texts: list[str], marks: str) -> None:
    assert decimal_marks([amount for text in texts if (amount := taken_apart(text))]) == marks


def test_columns_have_the_letters_of_a_spreadsheet() -> None:
    assert [letters(column) for column in (1, 26, 27, 52, 703)] == ["A", "Z", "AA", "AZ", "AAA"]


def test_an_undecided_amount_that_is_no_price_is_an_error_at_its_place() -> None:
    found = reading(b'Market,Currency,Marketing\nIndia,USD,"-1,234"\n')
    assert "row 2, column C (Marketing): '-1,234' is negative" in map(str, found.findings)


def test_what_the_importer_says_of_unit_and_day_wins_and_is_told() -> None:
    data = (FIXTURES / "as_downloaded_July_1_2026.csv").read_bytes()
    found = reading(data, "card.csv", Given(effective_from=date(2026, 10, 1), unit="message"))
    assert found.cards[0].effective_from == date(2026, 10, 1)
    assert "the file says 2026-07-01; 2026-10-01 counts, as given" in [f.text for f in found.findings]


def test_a_file_that_is_no_rate_card_by_its_size_is_refused() -> None:
    with pytest.raises(UnreadableFile, match="larger"):
        reading(b"," * 10_000_001)


# --- any card, in any form

Micros = dict[tuple[Market, RateCategory], int | None]
MARKETS = sorted(SHIPPED.book.cards.markets.markets())
CELLS: st.SearchStrategy[int | None] = st.none() | st.integers(0, 2_000_000_000)
CATEGORIES: list[RateCategory] = list(COLUMNS.values())


@st.composite
def cards(draw: st.DrawFn) -> Micros:
    markets = draw(st.lists(st.sampled_from(MARKETS), min_size=1, max_size=8, unique=True))
    return {(market, category): draw(CELLS) for market in markets for category in CATEGORIES}


def _plain(micros: int | None) -> str:
    return "n/a" if micros is None else str(Decimal(micros) / 1_000_000)


def _rows(card: Micros, shown: Callable[[int | None], Any]) -> list[list[Any]]:
    return [["Market", "Currency", *COLUMNS]] + [
        [market, "USD", *(shown(card[market, category]) for category in CATEGORIES)]
        for market in dict.fromkeys(market for market, _ in card)
    ]


def _delimited(rows: list[list[Any]], delimiter: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue()


def _point(micros: int | None) -> str:
    return "--" if micros is None else f"{micros // 1_000_000:,}.{micros % 1_000_000:06d}"


def _comma(micros: int | None) -> str:
    return "" if micros is None else _point(micros).translate(str.maketrans(",.", ".,")) + " US$"


def _workbook(card: Micros) -> bytes:
    book, data = Workbook(), io.BytesIO()
    sheet = book.worksheets[0]
    sheet.append(["Cost per message in USD"])
    for row in _rows(card, lambda micros: "N/A" if micros is None else micros / 1_000_000):
        sheet.append(row)
    book.save(data)
    return data.getvalue()


def _with_notes(card: Micros) -> str:
    rows = _rows(card, _plain)
    rows[0] = [f" {heading.upper().replace('-', chr(10))} " for heading in rows[0]]
    total = ["Regional total", "USD", *["1"] * len(CATEGORIES)]
    return _delimited(
        [["Cost per message in USD"], [], *rows, rows[-1], total, [], ["* Taxes: see the terms"]], ","
    )


def _long(card: Micros) -> str:
    rows = [["Market", "Category", "Rate (USD)"]]
    rows += [
        [market, category.replace("_", "-"), _plain(micros)] for (market, category), micros in card.items()
    ]
    return _delimited(rows, ",")


FORMS: dict[str, Callable[[Micros], bytes]] = {
    "our own": lambda card: card_text(FoundCard("USD", None, None, card)).encode(),
    "utf-8 with bom": lambda card: ("\ufeff" + _delimited(_rows(card, _plain), ",")).encode(),
    "utf-16 with tabs": lambda card: _delimited(_rows(card, _plain), "\t").encode("utf-16"),
    "semicolons and decimal comma": lambda card: _delimited(_rows(card, _comma), ";").encode("cp1252"),
    "semicolons and decimal point": lambda card: _delimited(_rows(card, _plain), ";").encode(),
    "thousands in quotes": lambda card: _delimited(_rows(card, _point), ",").encode(),
    "notes, a total and a row twice": lambda card: _with_notes(card).encode(),
    "a spreadsheet": _workbook,
    "a row per category": lambda card: _long(card).encode(),
}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, deadline=None)
@given(cards())
@example({(Market("India"), category): 1_234_000_000 for category in CATEGORIES})
def test_any_card_reads_back_to_the_same_micros_from_any_form(form: str, card: Micros) -> None:
    found = reading(FORMS[form](card))
    assert [finding for finding in found.findings if finding.gravity == "error"] == []
    (read_back,) = found.cards
    assert read_back.micros == card


@given(st.integers(0, 10**12), st.sampled_from([".", ","]))
def test_an_amount_means_the_same_with_and_without_marks_of_thousands(micros: int, mark: str) -> None:
    for text in (_point(micros), _point(micros).replace(",", "")):
        marked = text if mark == "." else text.translate(str.maketrans(",.", ".,"))
        amount = taken_apart(marked)
        assert amount is not None
        assert value(amount, mark) == micros
