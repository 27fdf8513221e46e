"""Charts as inline SVG: sums in, text out. Pure.

Colours are the page's (classes `predicted`, `billed`, `meta`), so that one chart serves light, dark and print.
"""

from collections.abc import Sequence
from html import escape
from itertools import count, takewhile
from typing import Final

from services.billing.reconciliation.money import shown
from services.billing.reconciliation.report import Sum

WIDTH: Final = 960
_LEFT: Final = 62
_BOTTOM: Final = 22
_LETTER: Final = 6.6
"""Width of a letter of a label, on average, and a little more."""
_BAR: Final = 9
_SERIES: Final = ("predicted", "billed", "meta")


def days(sums: Sequence[Sum], currency: str, height: int = 230) -> str:
    """Columns of each day: predicted, billed and, where Meta was asked, its analytics."""
    series = [name for name in _SERIES if any(_micros(day, name) is not None for day in sums)]
    most = max((_micros(day, name) or 0 for day in sums for name in series), default=0)
    step = _step(most)
    top = max(step, -(-most // step) * step)
    plot, slot = height - _BOTTOM - 10, (WIDTH - _LEFT) / max(1, len(sums))
    bar = slot * 0.78 / len(series)
    parts = [_svg(height, f"Spend by day, {currency}")]
    for value in takewhile(lambda v: v <= top, count(0, step)):
        y = 10 + plot * (1 - value / top)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_axis(value, step)}</text>')
    for place, day in enumerate(sums):
        x = _LEFT + place * slot + slot * 0.11
        for nth, name in enumerate(series):
            micros = _micros(day, name) or 0
            tall = plot * max(0, micros) / top
            parts.append(
                f'<rect class="{name}" x="{x + nth * bar:.1f}" y="{10 + plot - tall:.1f}" width="{bar * 0.92:.1f}" height="{tall:.1f}">'
                f"<title>{day.name}: {_WORDS[name]} {shown(micros)} {escape(currency)}</title></rect>"
            )
        parts.append(
            f'<text x="{x + slot * 0.39:.1f}" y="{height - 6}" text-anchor="middle">{int(day.name[-2:])}</text>'
        )
    return "".join([*parts, "</svg>"])


def bars(sums: Sequence[Sum], currency: str, title: str) -> str:
    """A row for each name, a bar for each side."""
    series = [name for name in _SERIES if any(_micros(one, name) is not None for one in sums)]
    most = max((_micros(one, name) or 0 for one in sums for name in series), default=0) or 1
    row = len(series) * _BAR + 12
    width = WIDTH / 2
    left = 14 + _LETTER * max((len(one.name) for one in sums), default=0)
    parts = [_svg(row * len(sums) + 6, title, width)]
    for place, one in enumerate(sums):
        y = place * row + 4
        parts.append(
            f'<text x="{left - 8:.1f}" y="{y + row / 2:.1f}" text-anchor="end">{escape(one.name.replace("_", " "))}</text>'
        )
        for nth, name in enumerate(series):
            micros = _micros(one, name) or 0
            long = (width - left - 96) * max(0, micros) / most
            at = y + nth * _BAR
            parts.append(
                f'<rect class="{name}" x="{left:.1f}" y="{at:.1f}" width="{max(long, 0.5):.1f}" height="{_BAR - 1}">'
                f"<title>{escape(one.name)}: {_WORDS[name]} {shown(micros)} {escape(currency)}</title></rect>"
            )
        parts.append(
            f'<text x="{left + 6 + (width - left - 96) * max(one.billed_micros, one.meta_micros or 0, one.predicted_micros) / most:.1f}" '
            f'y="{y + row / 2:.1f}">{shown(one.billed_micros)}</text>'
        )
    return "".join([*parts, "</svg>"])


_WORDS: Final = {"predicted": "predicted", "billed": "billed", "meta": "Meta's analytics"}


def _micros(one: Sum, name: str) -> int | None:
    return {"predicted": one.predicted_micros, "billed": one.billed_micros, "meta": one.meta_micros}[name]


def _svg(height: float, title: str, width: float = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>"
    )


def _step(most: int) -> int:
    """Between lines of the grid: 1, 2 or 5 times a power of ten, some five lines."""
    power = 10_000
    while 25 * power < most:
        power *= 10
    return next((times * power for times in (1, 2) if 5 * times * power >= most), 5 * power)


def _axis(value: int, step: int) -> str:
    return shown(value) if step < 1_000_000 else f"{value // 1_000_000:,}"
