"""The bounds of a volume tier as files write them: text in, first and last message out. Pure."""

import re

from shared.price_facts import tier_bounds
from shared.pricing.tiers import Bounds

_RANGE = re.compile(r"(\d+)(?::|-|to)(\d+|max)")
_OPEN = re.compile(r"(?:over|>)?(\d+)\+?")
_NO_END = frozenset({"", "max", "unlimited", "andabove", "\N{INFINITY}"})


def bounds_of(tier: str, first: str, last: str) -> Bounds | None:
    """The bounds of a tier, both inclusive and counted from 1; None for no tier.

    Either a `tier` ("0:100000" as Meta writes it, "1 - 100,000", "100,001+"), or `first` and `last`, which may be MAX or empty.
    """
    text = _bare(tier)
    if text:
        found = _RANGE.fullmatch(text)
        if found is None and text.endswith("+"):
            found_open = _OPEN.fullmatch(text)
            return None if found_open is None else tier_bounds(f"{found_open[1]}:MAX")
        return None if found is None else tier_bounds(f"{found[1]}:{found[2].upper()}")
    end = _bare(last)
    return tier_bounds(f"{_bare(first)}:{'MAX' if end in _NO_END else end}")


def _bare(text: str) -> str:
    """Without spaces and marks of thousands; a spreadsheet's dashes are one."""
    return re.sub(r"[\s,.'_]", "", text).replace("\N{EN DASH}", "-").casefold()
