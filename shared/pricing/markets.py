"""The market of a user: canonical user and day in, the row of the rate card out. Pure after `load`."""

import csv
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

import phonenumbers

from shared.phone import is_bsuid
from shared.pricing.terms import Market

_DATE_COLUMN = "from_"
_EVERY_OTHER = "*"
_LONGEST_PREFIX = 7


class MarketMapError(ValueError):
    """The market map is not what it must be; the text says where."""


@dataclass(frozen=True, slots=True)
class _Edition:
    """The map as it holds from a day on."""

    starts_on: date
    by_prefix: dict[str, Market]
    lengths: tuple[int, ...]
    """Of the prefixes, longest first."""
    every_other: Market | None

    @property
    def markets(self) -> frozenset[Market]:
        """Every market that it names."""
        named = frozenset(self.by_prefix.values())
        return named if self.every_other is None else named | {self.every_other}


@dataclass(frozen=True, slots=True)
class MarketMap:
    """Markets by calling code and, where countries share one, by the digits after it; in dated editions."""

    editions: tuple[_Edition, ...]

    @classmethod
    def load(cls, path: Path) -> "MarketMap":
        """Read the rows `country,calling_code,prefixes,from_<date>…`.

        Spaces part prefixes; the code `*` is every other country.

        Raises:
            MarketMapError: columns or codes of another form, an empty market, one prefix with two markets on
                one day.
            OSError: the file can't be read.
        """
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        dated = [column for column in (rows[0] if rows else ()) if column.startswith(_DATE_COLUMN)]
        if not dated:
            raise MarketMapError(f"{path}: no rows, or no column {_DATE_COLUMN}<date>")
        editions = (_edition(path, rows, column) for column in dated)
        return cls(tuple(sorted(editions, key=lambda edition: edition.starts_on)))

    def market_of(self, user: str, on: date) -> Market | None:
        """Return the market of a canonical user on a day, None where no market covers it.

        By calling code and, for +1 and +7, the digits after it; a country that the map does not list is
        Other, a calling code that belongs to no country (satellite, international services) has no market. A
        business-scoped id goes by the country it begins with. Before the first edition the first one holds.
        Source: Meta, pricing, rate cards.
        """
        digits = user if user.isdecimal() else _first_digits(user[:2]) if is_bsuid(user) else None
        if not digits:
            return None
        edition = self._edition_on(on)
        for length in edition.lengths:
            market = edition.by_prefix.get(digits[:length])
            if market is not None:
                return market
        return edition.every_other if _is_a_countrys(digits) else None

    def markets(self) -> frozenset[Market]:
        """Return every market that any edition names."""
        return frozenset().union(*(edition.markets for edition in self.editions))

    def markets_on(self, day: date) -> frozenset[Market]:
        """Return the markets of the edition that holds on a day: the rows that a card of that day must have."""
        return self._edition_on(day).markets

    def is_market(self, name: str) -> bool:
        """Whether some edition names it: check it where an account is set up."""
        return name in self.markets()

    def _edition_on(self, day: date) -> _Edition:
        edition = self.editions[0]
        for later in self.editions[1:]:
            if later.starts_on > day:
                break
            edition = later
        return edition


def _edition(path: Path, rows: list[dict[str, str]], column: str) -> _Edition:
    try:
        starts_on = date.fromisoformat(column.removeprefix(_DATE_COLUMN))
    except ValueError as error:
        raise MarketMapError(f"{path}: column {column}: {error}") from error
    by_prefix: dict[str, Market] = {}
    every_other = None
    for row in rows:
        code, market = row.get("calling_code") or "", Market((row[column] or "").strip())
        if not market:
            raise MarketMapError(f"{path}: {row.get('country')}: no market in {column}")
        if code == _EVERY_OTHER:
            every_other = market
            continue
        for prefix in [code + after for after in (row.get("prefixes") or "").split()] or [code]:
            if not prefix.isdecimal() or len(prefix) > _LONGEST_PREFIX:
                raise MarketMapError(f"{path}: {row.get('country')}: {prefix!r} is not a calling code")
            if by_prefix.setdefault(prefix, market) != market:
                raise MarketMapError(f"{path}: +{prefix} has two markets in {column}")
    lengths = tuple(sorted({len(prefix) for prefix in by_prefix}, reverse=True))
    return _Edition(starts_on, by_prefix, lengths, every_other)


def _is_a_countrys(digits: str) -> bool:
    """Whether the calling code is a country's, not a service's (ITU, E.164: +800, +870, +88x, +979)."""
    for length in (1, 2, 3):
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(digits[:length] or 0))
        if regions:
            return phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY not in regions
    return False


@lru_cache(maxsize=512)
def _first_digits(country: str) -> str | None:
    """Some number of an ISO country, in digits: enough to tell apart countries that share a code."""
    number = phonenumbers.example_number(country)
    if number is None:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
