"""What a file says in words: headings, and the currency, unit and first day in notes, sheet names and file names. Pure."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from datetime import date
from itertools import pairwise
from typing import Literal, NamedTuple

from shared.pricing import RateCategory, Unit

Kind = Literal["market", "currency", "category", "tier", "from", "to", "rate"]


class Heading(NamedTuple):
    """What a column holds: a market, a currency, rates (of one category and currency, or as other columns say), or a tier's bounds."""

    kind: Kind
    category: RateCategory | None = None
    currency: str | None = None


CATEGORIES: dict[str, RateCategory] = {
    "marketing": "marketing",
    "utility": "utility",
    "authentication": "authentication",
    "authenticationinternational": "authentication_international",
    "authinternational": "authentication_international",
    "authintl": "authentication_international",
    "service": "service",
}
_KINDS: dict[str, Kind] = {
    "market": "market", "markets": "market", "country": "market", "region": "market", "countryregion": "market",
    "currency": "currency", "currencycode": "currency", "billingcurrency": "currency",
    "category": "category", "pricingcategory": "category", "messagecategory": "category", "messagetype": "category",
    "tier": "tier", "volumetier": "tier", "volume": "tier", "volumerange": "tier", "monthlyvolume": "tier",
    "from": "from", "lower": "from", "lowerbound": "from", "minimum": "from",
    "to": "to", "upper": "to", "upperbound": "to", "maximum": "to",
    "rate": "rate", "price": "rate", "cost": "rate", "costpermessage": "rate", "ratepermessage": "rate",
}  # fmt: skip
_FILLERS = frozenset(
    {"a", "per", "rate", "rates", "price", "cost", "message", "messages", "template", "templates"}
    | {"conversation", "conversations", "delivered", "in"}
)
_WORD = re.compile(r"[^\W\d_]+")
_IN_BRACKETS = re.compile(r"\([^)]*\)")
_CODE = re.compile(r"(?<![A-Za-z])[A-Z]{3}(?![A-Za-z])")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATES = (
    re.compile(r"(?<!\d)(?P<year>20\d\d)[-_./](?P<number>\d\d)[-_./](?P<day>\d\d)(?!\d)"),
    re.compile(rf"(?<![a-z]){_MONTH}[\s_-]*(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[\s_,-]+(?P<year>20\d\d)(?!\d)"),
    re.compile(rf"(?<!\d)(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?[\s_-]*{_MONTH}[\s_,-]*(?P<year>20\d\d)(?!\d)"),
)
_BEGINS = re.compile(r"effective|starting|valid|as of|from|begin")
_NEAR = 40
"""A date begins a card where such a word stands at most so many characters before it."""
_UNIT = re.compile(r"\b(?:per|each)[\s-]+(?:delivered\s+)?(message|conversation)|\b(conversation)-based")


def letters_of(text: str) -> str:
    """A name by which spellings are compared: small letters only, no accents; `&` is and."""
    decomposed = unicodedata.normalize("NFKD", text.replace("&", " and "))
    return "".join(c for c in decomposed.casefold() if c.isalpha())


def heading(text: str, currencies: Collection[str]) -> Heading | None:
    """What a column of this heading holds; None for one that nobody knows.

    `Authentication-<line break>International`, `MARKETING rate (USD)` and `Utility (EUR)` are rates; the code is the column's currency.
    """
    currency = _only(code for code in _CODE.findall(text) if code in currencies)
    bare = _IN_BRACKETS.sub(" ", text)
    words = [word.casefold() for word in _WORD.findall(bare) if word != currency]
    kind = _KINDS.get("".join(words))
    if kind is not None:
        return Heading(kind, currency=currency)
    category = CATEGORIES.get("".join(word for word in words if word not in _FILLERS))
    return None if category is None else Heading("rate", category, currency)


def is_head(cells: Iterable[str], currencies: Collection[str]) -> bool:
    """Whether a row is the head of a table of rates."""
    kinds = [found.kind for cell in cells if (found := heading(cell, currencies)) is not None]
    return "market" in kinds and "rate" in kinds


def currency_in(texts: Iterable[str], currencies: Collection[str]) -> str | None:
    """The one currency that texts name; None for none or several."""
    return _only(
        code for text in texts for code in _CODE.findall(text.replace("_", " ")) if code in currencies
    )


def unit_in(texts: Iterable[str]) -> Unit | None:
    """Whether texts price messages or conversations; None where they say neither or both."""
    found = _only(next(filter(None, match)) for text in texts for match in _UNIT.findall(text.casefold()))
    return "message" if found == "message" else "conversation" if found == "conversation" else None


def category_in(texts: Iterable[str]) -> RateCategory | None:
    """The one category that texts name; None for none or several."""
    names = [name for text in texts for name in _named(text)]
    return CATEGORIES[names[0]] if len(set(names)) == 1 else None


def day_in(texts: Iterable[str]) -> date | None:
    """The first day that texts tell: of all dates the one after "effective" and the like; None for none, or several of a rank.

    `2026-10-01`, `October 1, 2026`, `1 Oct 2026`; never 10/1/2026, whose month nobody knows.
    """
    dated = [found for text in texts for found in _dates(text)]
    begins = [day for day, begun in dated if begun]
    days = set(begins or [day for day, _ in dated])
    return days.pop() if len(days) == 1 else None


def _dates(text: str) -> Iterator[tuple[date, bool]]:
    """Each date of a text, and whether a word says that something begins with it: one between it and the date before."""
    small, before = text.casefold(), 0
    for found in sorted((m for p in _DATES for m in p.finditer(small)), key=lambda m: m.start()):
        parts = found.groupdict()
        month = int(parts["number"]) if "number" in parts else _MONTHS.index(parts["month"]) + 1
        begins = _BEGINS.search(small, max(before, found.start() - _NEAR), found.start())
        before = found.end()
        try:
            yield date(int(parts["year"]), month, int(parts["day"])), begins is not None
        except ValueError:  # the 31st of June is no date, and so says nothing
            continue


def _named(text: str) -> Iterator[str]:
    words = [word.casefold() for word in _WORD.findall(text)]
    for word, after in pairwise([*words, ""]):
        if word + after in CATEGORIES:
            yield word + after
        elif word in CATEGORIES:
            yield word


def _only(found: Iterable[str]) -> str | None:
    several = set(found)
    return several.pop() if len(several) == 1 else None
