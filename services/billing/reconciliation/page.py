"""The report as one HTML file without outside resources: a report in, text out."""

from importlib.resources import files

from services.billing.reconciliation import charts
from services.billing.reconciliation.cells import Cell
from services.billing.reconciliation.money import shown
from services.billing.reconciliation.report import Names, Report

_HALF_CENT = 5_000
MOST_SHOWN = 100
"""Differences of a kind; differences.csv has all."""


def render(report: Report, names: Names) -> str:
    """The page."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files(__package__).joinpath("page.html").read_text("utf-8")
    return environment.from_string(source).render(
        report=report,
        money=lambda micros, decimals=2: shown(micros, decimals=decimals),
        change=_change,
        percent=_percent,
        days=lambda sums, currency: Markup(charts.days(sums, currency)),  # noqa: S704 - charts escape what they are given
        bars=lambda sums, currency, title: Markup(charts.bars(sums, currency, title)),  # noqa: S704 - likewise
        display=names.display,
        place=_place,
        most=MOST_SHOWN,
    )


def _place(cell: Cell) -> str:
    paid = {"regular": "paid", "free": "free", "free_entry_point": "free entry point"}[cell.type]
    return f"{cell.category.replace('_', ' ')}, {paid}"


def _change(micros: int, decimals: int = 2) -> str:
    """With its sign, and never 0.00 for what is more than nothing."""
    return shown(micros, decimals=4 if 0 < abs(micros) < _HALF_CENT else decimals, sign=True)


def _percent(part: int, whole: int) -> str:
    """In whole percent, rounded down: 100 % means all."""
    return f"{100 * part // whole} %" if whole else "all"
