"""Ids of cards and tier tables: what they are of in, an id that nothing had before out. Pure.

An id never changes its meaning, because ledger entries name it: a card of the same currency, unit and day with other rates is another edition,
`usd_2026-10-01.2`. Which edition counts, the regime says.
"""

import re
from collections.abc import Collection, Iterable
from datetime import date

from shared.pricing import Unit

_EDITION = re.compile(r"\.([0-9]+)$")


def card_id(currency: str, unit: Unit, day: date) -> str:
    """The id of the first edition, as `usd_2026-10-01`; cards per conversation have `cbp` (conversation-based pricing) in it."""
    return f"{currency.lower()}{'_cbp' if unit == 'conversation' else ''}_{day.isoformat()}"


def editions(first: str, ids: Iterable[str]) -> tuple[str, ...]:
    """The editions of an id among others, earliest first."""
    return tuple(sorted((id for id in ids if _EDITION.sub("", id) == first), key=_number))


def next_edition(first: str, ids: Collection[str]) -> str:
    """The id of a new edition."""
    there = editions(first, ids)
    return f"{first}.{_number(there[-1]) + 1}" if there else first


def _number(id: str) -> int:
    found = _EDITION.search(id)
    return 1 if found is None else int(found[1])
