"""A month's tally as billing answers it, and its money in words. Pure."""

import msgspec


class Totals(msgspec.Struct, frozen=True):
    """What was counted free and paid, and the money in millionths by currency."""

    free: int
    paid: int
    micros: dict[str, int]


class Row(Totals, frozen=True):
    """The same of one number, category, market and price type."""

    phone_number_id: str
    category: str
    market: str
    type: str


class Tally(msgspec.Struct, frozen=True):
    """One account's month (`YYYY-MM` in its own time zone); `totals` by category."""

    waba_id: str
    month: str
    rows: list[Row]
    totals: dict[str, Totals]


def amounts(totals: Totals) -> str:
    """The money of all currencies, e.g. `1.05 USD`; a dash for nothing."""
    return ", ".join(money(micros, currency) for currency, micros in sorted(totals.micros.items())) or "—"


def money(micros: int, currency: str) -> str:
    """`12.345678 USD` without the zeros that say nothing, two decimals at least."""
    whole, rest = divmod(abs(micros), 1_000_000)
    decimals = f"{rest:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{whole:,}.{decimals} {currency}"
