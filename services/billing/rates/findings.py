"""What is to be said about a file of rates, and where in it. Pure."""

from typing import Literal, NamedTuple

Gravity = Literal["error", "question", "warning", "remark"]
"""An error stops an import; a question is asked before it; the others are told."""


class Place(NamedTuple):
    """A place in a file, as a spreadsheet numbers it: rows and columns from 1 on; `sheet` is empty where the file has none."""

    sheet: str
    row: int = 0
    column: int = 0
    heading: str = ""

    def __str__(self) -> str:
        parts = [f"sheet {self.sheet}"] if self.sheet else []
        parts += [f"row {self.row}"] if self.row else []
        if self.column:
            heading = " ".join(self.heading.split())
            parts.append(f"column {letters(self.column)}" + (f" ({heading})" if heading else ""))
        return ", ".join(parts)


class Finding(NamedTuple):
    """One thing found; `place` is None where it is about the whole."""

    gravity: Gravity
    text: str
    place: Place | None = None

    def __str__(self) -> str:
        place = "" if self.place is None else str(self.place)
        return f"{place}: {self.text}" if place else self.text


def letters(column: int) -> str:
    """A column's letters: 1 is A, 27 is AA."""
    name = ""
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(ord("A") + rest) + name
    return name
