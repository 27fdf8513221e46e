"""Decimal text of a card in, integer millionths out. Pure."""

from decimal import Decimal, InvalidOperation

_NO_PRICE = frozenset({"", "n/a"})


class RateCardError(ValueError):
    """A rate card, a tier table or the manifest is not what it must be; the text says where."""


def micros(where: str, text: str) -> int | None:
    """Millionths of a decimal amount; None for `n/a`, nothing and 0.

    A zero on a card says that the regime charges nothing; what is free is the regime's to say.

    Raises:
        RateCardError: no decimal number, negative, or finer than a millionth; `where` begins the text.
    """
    if text.strip().lower() in _NO_PRICE:
        return None
    try:
        scaled = Decimal(text.strip()).scaleb(6)
    except InvalidOperation as error:
        raise RateCardError(f"{where}: {text!r} is not a decimal number") from error
    if not scaled.is_finite() or scaled < 0 or scaled != scaled.to_integral_value():
        raise RateCardError(f"{where}: {text!r} must be finite, not negative, and no finer than a millionth")
    return int(scaled) or None
