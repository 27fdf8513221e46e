"""Amounts as people and spreadsheets write them: text in, millionths out. Pure.

Several marks are undecided in a single amount ("1,234"), so a table's amounts are read together: by the decimal mark that makes sense of all.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from shared.pricing.amounts import RateCardError, micros

_MOST_MICROS = 10**12
"""A million: the dearest message costs some thousand Indonesian rupiah."""
_NO_RATE = frozenset({"", "n/a", "na", "n.a.", "-", "--", "---"})
_DASHES = str.maketrans({"\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{MINUS SIGN}": "-"})
_SPACES = re.compile(r"[\s\N{NO-BREAK SPACE}\N{THIN SPACE}\N{NARROW NO-BREAK SPACE}]+")
_SIGNS = {
    "\N{EURO SIGN}": ("EUR",), "\N{POUND SIGN}": ("GBP",), "\N{INDIAN RUPEE SIGN}": ("INR",), "R$": ("BRL",), "S/": ("PEN",),
    "RM": ("MYR",), "Rp": ("IDR",), "A$": ("AUD",), "S$": ("SGD",), "US$": ("USD",), "MX$": ("MXN",), "SR": ("SAR",), "Rs": ("INR",),
    "$": ("USD", "ARS", "AUD", "CLP", "COP", "MXN", "SGD"),
}  # fmt: skip
"""Currency signs, and the currencies that write them."""
_SIGN = "|".join(map(re.escape, sorted(_SIGNS, key=len, reverse=True)))
_AMOUNT = re.compile(
    rf"(?P<negative>[-(])?\s*(?P<before>[A-Z]{{3}}|{_SIGN})?\.?\s*(?P<minus>-)?\s*(?P<number>[0-9.,' ]*[0-9](?:[eE][-+]?[0-9]{{1,2}})?)"
    rf"\s*(?P<after>[A-Z]{{3}}|{_SIGN})?\s*\)?"
)
_NUMBER = {
    mark: re.compile(
        rf"(?P<whole>[0-9]+|[1-9][0-9]{{0,2}}(?:(?P<group>[{groups}' ])[0-9]{{3}})(?:(?P=group)[0-9]{{3}})*|)"
        rf"(?:[{mark}](?P<fraction>[0-9]+))?(?P<exponent>[eE][-+]?[0-9]{{1,2}})?"
    )
    for mark, groups in ((".", ","), (",", "."))
}


class Amount(NamedTuple):
    """An amount as it is written, taken apart: `number` has the marks, `sign` is a currency's code or sign, empty for none."""

    text: str
    number: str
    sign: str
    negative: bool


def no_rate(text: str) -> bool:
    """Whether a cell says that there is no rate: nothing, n/a or dashes. A 0 is an amount."""
    return _SPACES.sub("", text.translate(_DASHES)).lower() in _NO_RATE


def taken_apart(text: str) -> Amount | None:
    """The amount in a cell; None where it is none."""
    found = _AMOUNT.fullmatch(_SPACES.sub(" ", text.translate(_DASHES)).strip())
    if found is None or (found["before"] and found["after"]):
        return None
    sign = found["before"] or found["after"] or ""
    return Amount(text, found["number"], sign, bool(found["negative"] or found["minus"]))


def sign_fits(sign: str, currency: str) -> bool:
    """Whether a sign or a code stands for a currency."""
    return not sign or currency in _SIGNS.get(sign, (sign,))


def decimal_marks(amounts: Sequence[Amount]) -> str:
    """The marks, of "." and ",", by which every amount is a number: one, both where nothing tells, none where they contradict each other."""
    return "".join(mark for mark in _NUMBER if all(_NUMBER[mark].fullmatch(a.number) for a in amounts))


def means_the_same(amount: Amount) -> bool:
    """Whether both marks read the same number."""
    return len({_plain(amount.number, mark) for mark in _NUMBER}) == 1


def value(amount: Amount, mark: str) -> int:
    """Millionths of an amount; 0 for zero.

    Raises:
        RateCardError: no number by this decimal mark, negative, finer than a millionth, or over a million.
    """
    plain = _plain(amount.number, mark)
    if plain is None:
        raise RateCardError(f"{amount.text!r} is no amount with the decimal mark {mark!r}")
    if amount.negative:
        raise RateCardError(f"{amount.text!r} is negative")
    try:
        millionths = micros("", plain) or 0
    except RateCardError:
        raise RateCardError(f"{amount.text!r} is finer than a millionth") from None
    if millionths > _MOST_MICROS:
        raise RateCardError(f"{amount.text!r} is no price of a message")
    return millionths


def written(millionths: int | None) -> str:
    """An amount as a card has it, with at least four decimals; `n/a` for no rate."""
    if millionths is None:
        return "n/a"
    whole, fraction = divmod(millionths, 1_000_000)
    digits = f"{fraction:06d}"
    return f"{whole}.{digits[:4]}{digits[4:].rstrip('0')}"


def _plain(number: str, mark: str) -> str | None:
    """Digits and a point."""
    found = _NUMBER[mark].fullmatch(number.strip())
    if found is None or not (found["whole"] or found["fraction"]):
        return None
    whole = re.sub(r"[^0-9]", "", found["whole"]) or "0"
    return str(Decimal(f"{whole}.{found['fraction'] or 0}{found['exponent'] or ''}"))
