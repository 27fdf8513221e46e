"""Who may not get marketing: numbers of the United States. Pure."""

from functools import lru_cache

import phonenumbers

MARKETING_STOPPED_MS = 1_743_465_600_000
"""2025-04-01: since then Meta delivers no marketing template to +1 numbers with a US area code (Meta, marketing messages)."""


def is_american(user: str) -> bool:
    """Whether a canonical user is of the United States; +1 is shared with Canada and the Caribbean."""
    if user.startswith("US."):
        return True
    return user.startswith("1") and len(user) == 11 and _is_us_area(user[1:4])


@lru_cache(maxsize=1000)
def _is_us_area(area: str) -> bool:
    number = phonenumbers.parse(f"+1{area}2530000", None)
    return phonenumbers.region_code_for_number(number) == "US"
