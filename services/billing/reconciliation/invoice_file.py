"""Adapter to invoice files: CSV and XLSX in, rows of cells out."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from services.billing.reconciliation.invoice import UnreadableInvoice


def rows(path: Path) -> Iterator[Sequence[object]]:
    """The rows of the file; of a workbook those of its first sheet.

    Raises:
        UnreadableInvoice: neither CSV nor XLSX.
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        begin = file.read(4)
    if begin == b"PK\x03\x04":
        yield from _of_workbook(path)
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            sample = text.read(8192)
            text.seek(0)
            yield from csv.reader(text, delimiter=";" if sample.count(";") > sample.count(",") else ",")
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableInvoice(f"{path}: neither CSV in UTF-8 nor XLSX: {error}") from None


def _of_workbook(path: Path) -> Iterator[Sequence[object]]:
    from zipfile import BadZipFile

    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (BadZipFile, KeyError, ValueError) as error:
        raise UnreadableInvoice(f"{path}: no workbook that can be read: {error}") from None
    try:
        yield from book.worksheets[0].iter_rows(values_only=True)
    finally:
        book.close()
