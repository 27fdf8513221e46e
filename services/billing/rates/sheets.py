"""The cells of a file: the bytes of a CSV or XLSX in, sheets of text out. Pure.

What a file is, its first bytes say: Meta's downloads of October 2026 are XLSX and named .csv (reported of Meta, pricing, rate cards).
"""

import csv
import io
import warnings
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, NamedTuple

from services.billing.rates.findings import Finding, Place

if TYPE_CHECKING:
    from openpyxl import Workbook

Row = tuple[str, ...]

_ZIP = b"PK\x03\x04"
_OTHERS = ((b"\xd0\xcf\x11\xe0", "an old Excel file (XLS)"), (b"%PDF", "a PDF"))
_DELIMITERS = ",;\t|"
_LARGEST_BYTES = 10_000_000
"""A card has some fifty rows; what is larger is something else."""
_MOST_CELLS = 200_000


class UnreadableFile(ValueError):
    """The bytes are no table; the text says why and where."""


class Sheet(NamedTuple):
    """Rows of text, without white space around it; `name` is empty for a CSV. `semicolons`: they part the columns."""

    name: str
    rows: tuple[Row, ...]
    semicolons: bool = False


class Sheets(NamedTuple):
    """The sheets of a file and what is to be said about the reading."""

    sheets: tuple[Sheet, ...]
    findings: tuple[Finding, ...] = ()


def read(data: bytes, has_table: Callable[[Row], bool]) -> Sheets:
    """Read a file.

    Args:
        data: the whole file.
        has_table: whether a row is the head of a table: of the delimiters, the one under which a CSV has such a row is its own.

    Raises:
        UnreadableFile: another kind of file, too large, damaged, no encoding, no head of a table, a formula without its value.
    """
    if len(data) > _LARGEST_BYTES:
        raise UnreadableFile(f"larger than {_LARGEST_BYTES:,} bytes: no rate card")
    for start, kind in _OTHERS:
        if data.startswith(start):
            raise UnreadableFile(f"this is {kind}: save it as XLSX or CSV")
    return _workbook(data) if data.startswith(_ZIP) else _text(data, has_table)


def _text(data: bytes, has_table: Callable[[Row], bool]) -> Sheets:
    text, findings = _decoded(data)
    broken: csv.Error | None = None
    for delimiter in _DELIMITERS:
        rows: list[Row] = []
        try:
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
                rows.append(tuple(_clean(cell) for cell in row))  # noqa: PERF401 - the count tells where it broke
        except csv.Error as error:
            if any(map(has_table, rows)):
                raise UnreadableFile(f"{Place('', len(rows) + 1)}: {error}") from error
            broken = broken or error
            continue
        if any(map(has_table, rows)):
            return Sheets((Sheet("", tuple(rows), semicolons=delimiter == ";"),), findings)
    why = f" ({broken})" if broken else ""
    raise UnreadableFile(f"no row with the heading Market and one of a rate{why}")


def _decoded(data: bytes) -> tuple[str, tuple[Finding, ...]]:
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16"), ()
        if b"\0" in data[:200]:  # UTF-16 without its mark: every other byte of English is 0
            return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le"), ()
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"not UTF-16: {error.reason} at byte {error.start}") from error
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252"), (Finding("remark", "not UTF-8; read as Windows-1252"),)
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            f"neither UTF-8, UTF-16 nor Windows-1252: {error.reason} at byte {error.start}"
        ) from error


def _workbook(data: bytes) -> Sheets:
    formulas = _opened(data, values=False)
    values = _opened(data, values=True)
    sheets, findings, cells = [], [], 0
    for sheet in formulas.worksheets:
        if sheet.sheet_state != "visible":
            findings.append(Finding("warning", "a hidden sheet is not read", Place(sheet.title)))
            continue
        cells += sheet.max_row * sheet.max_column
        if cells > _MOST_CELLS:
            raise UnreadableFile(f"{Place(sheet.title)}: more than {_MOST_CELLS:,} cells: no rate card")
        stored = values[sheet.title]
        # Both readings of the same cells: what was entered, and what a formula came to when the file was saved.
        rows = tuple(
            tuple(_shown(Place(sheet.title, r, c), *both) for c, both in enumerate(zip(*row, strict=True), 1))
            for r, row in enumerate(
                zip(sheet.iter_rows(values_only=True), stored.iter_rows(values_only=True), strict=True), 1
            )
        )
        sheets.append(Sheet(sheet.title, rows))
    return Sheets(tuple(sheets), tuple(findings))


def _opened(data: bytes, *, values: bool) -> "Workbook":
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # styles, validations: nothing that changes a value
            return load_workbook(io.BytesIO(data), data_only=values)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError, SyntaxError) as error:
        raise UnreadableFile(f"a damaged XLSX, or another kind of ZIP: {error}") from error


def _shown(place: Place, entered: object, stored: object) -> str:
    """A cell's text. Numbers as Excel keeps them, to 15 digits: a stored 0.011800000000000001 is 0.0118."""
    if entered is not None and stored is None:
        raise UnreadableFile(
            f"{place}: a formula without its value: open the file in a spreadsheet program and save it"
        )
    if isinstance(stored, bool) or stored is None:
        return "" if stored is None else str(stored).upper()
    if isinstance(stored, float):
        return f"{stored:.15g}"
    if isinstance(stored, datetime):
        return stored.date().isoformat()
    return stored.isoformat() if isinstance(stored, date) else _clean(str(stored))


def _clean(text: str) -> str:
    return text.replace("\ufeff", "").replace("\N{NO-BREAK SPACE}", " ").strip()
