"""Meta's invoice: layouts, numbers and taxes as they come; what it agrees with."""

from pathlib import Path

import pytest

from services.billing.reconciliation.cells import Amount, Cell, Counted, Group, OnMarket
from services.billing.reconciliation.invoice import UnreadableInvoice, compare, lines, words
from services.billing.reconciliation.invoice_file import rows

HEADER = ("WABA ID", "Category", "Country", "Quantity", "Amount (USD)", "Currency")
BILLED = [OnMarket("W1", "USD", "marketing", "Germany", "DE", Amount(10, 1_365_000))]


def test_columns_are_found_by_what_their_headers_mean_below_a_preamble() -> None:
    table = [("Invoice 4711",), (), HEADER, ("W1", "Marketing", "DE", 10, "1.37", "USD")]
    (line,) = lines(table, {}, "x")
    assert (line.row, line.account, line.category, line.market) == (4, "W1", "marketing", "DE")
    assert (line.quantity, line.micros, line.tax) == (10, 1_370_000, False)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1,234.56", 1_234_560_000),
        ("1.234,56", 1_234_560_000),
        ("$1234.5", 1_234_500_000),
        ("(0.10)", -100_000),
        ("1,234", 1_234_000_000),
        ("0,5", 500_000),
    ],
)
def test_amounts_are_read_as_people_write_them(text: str, micros: int) -> None:
    (line,) = lines([HEADER, ("W1", "Utility", "DE", "1", text, "USD")], {}, "x")
    assert line.micros == micros


def test_taxes_are_apart_and_sums_are_left_out() -> None:
    table = [
        HEADER,
        ("W1", "Marketing", "DE", 10, "1.37", "USD"),
        ("", "VAT 19%", "", "", "0.26", "USD"),
        ("Subtotal", "", "", "", "1.63", "USD"),
        ("Total", "", "", "", "1.63", "USD"),
    ]
    compared, taxes = compare(lines(table, {}, "x"), BILLED, None, {}, "W1")
    assert taxes == {"USD": 260_000}
    assert [line.invoiced_micros for line in compared] == [1_370_000]


def test_a_category_may_stand_in_a_description() -> None:
    (line,) = lines([HEADER, ("W1", "WhatsApp - Authentication International", "DE", 1, "1", "USD")], {}, "x")
    assert line.category == "authentication_international"


def test_headers_that_are_not_understood_can_be_named() -> None:
    table = [("Konto", "Art", "Land", "Menge", "Betrag"), ("W1", "Marketing", "DE", 10, "1,37")]
    with pytest.raises(UnreadableInvoice, match="--invoice-map"):
        lines(table, {}, "x")
    mapping = dict(words(["category=Art", "quantity=Menge", "amount=Betrag", "market=Land", "account=Konto"]))
    assert lines(table, mapping, "x")[0].micros == 1_370_000
    with pytest.raises(UnreadableInvoice, match="COLUMN=HEADER"):
        dict(words(["colour=Art"]))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("W1", "Marketing", "DE", "ten", "1", "USD"), "row 2: quantity"),
        (("W1", "Marketing", "DE", 1, "much", "USD"), "row 2: amount"),
        (("W1", "Pizza", "DE", 1, "1", "USD"), "names no category"),
    ],
)
def test_what_can_not_be_read_is_told_with_its_row(row: tuple[object, ...], said: str) -> None:
    with pytest.raises(UnreadableInvoice, match=said):
        lines([HEADER, row], {}, "invoice.csv")


@pytest.mark.parametrize(
    ("amount", "agrees"), [("1.37", "ledger"), ("1.36", "ledger"), ("1.40", "analytics"), ("1.50", "neither")]
)
def test_a_line_agrees_with_the_ledger_with_the_analytics_or_with_neither(amount: str, agrees: str) -> None:
    meta = {
        Group("W1", "N1", "message", "USD"): {
            Cell("2026-11-10", "marketing", "DE", "regular"): Counted(10, 1_400_000)
        }
    }
    invoice = lines([HEADER, ("Shop", "Marketing", "germany", 10, amount, "USD")], {}, "x")
    ((line, *_), _) = compare(invoice, BILLED, meta, {"Shop": "W1"}, None)
    assert (line.account, line.market, line.agrees_with) == ("W1", "Germany", agrees)


def test_what_is_billed_and_not_on_the_invoice_agrees_with_nothing() -> None:
    compared, _ = compare([], BILLED, None, {}, None)
    assert [line.agrees_with for line in compared] == ["neither"]


def test_csv_with_semicolons_and_workbooks_are_read_alike(tmp_path: Path) -> None:
    from openpyxl import Workbook

    plain, book = tmp_path / "invoice.csv", tmp_path / "invoice.xlsx"
    plain.write_text(";".join(HEADER) + "\nW1;Marketing;DE;10;1,37;USD\n", "utf-8")
    workbook = Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.append(HEADER)
    sheet.append(("W1", "Marketing", "DE", 10, 1.37, "USD"))
    workbook.save(book)
    assert lines(rows(plain), {}, "x") == lines(rows(book), {}, "x")
    (tmp_path / "image.csv").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UnreadableInvoice, match="neither CSV"):
        list(rows(tmp_path / "image.csv"))
