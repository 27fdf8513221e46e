"""An account's month as billing forecasts it: its spend, what it will come to, what is left of its budgets, in words. Pure."""

import msgspec

from services.console.tally import AsOf, money

CENT_MICROS = 10_000
"""What is only expected is shown to the cent."""


class Scope(msgspec.Struct, frozen=True):
    """The month of one category, or (None) of all, in millionths of the account's currency; nothing is expected where too little is known."""

    category: str | None
    spent_micros: int
    expected_micros: int | None
    low_micros: int | None
    high_micros: int | None
    budget_micros: int | None
    used_percent: int | None
    expected_percent: int | None
    used_up_on: str | None


class Outlook(msgspec.Struct, frozen=True):
    """One account's month (`YYYY-MM` in its own time zone), all categories together first."""

    waba_id: str
    month: str
    as_of: AsOf
    timezone: str
    currency: str
    method: str
    days_known: int
    scopes: list[Scope]
    other_currencies: dict[str, int]
    """What the month came to in currencies that the account no longer has; it is in no other amount."""


class Outlooks(msgspec.Struct, frozen=True):
    """Those of all accounts."""

    accounts: list[Outlook]


def basis(outlook: Outlook) -> str:
    """What the expectation rests on."""
    if outlook.method == "weekdays":
        return "each day to come like the last two of its weekday, the later counting double"
    if outlook.method == "pace":
        days = min(7, outlook.days_known)
        return (
            "each day to come like the last full day"
            if days == 1
            else f"each day to come like the last {days} full days"
        )
    return "nothing is expected: not one full day is known"


def expected(scope: Scope, currency: str) -> str:
    """`about 872.34 USD (840.10 to 904.58)`; a dash where nothing is expected."""
    if scope.expected_micros is None or scope.low_micros is None or scope.high_micros is None:
        return "—"
    about, low, high = (
        money(_to_the_cent(micros), currency)
        for micros in (scope.expected_micros, scope.low_micros, scope.high_micros)
    )
    return f"about {about} ({low.removesuffix(f' {currency}')} to {high.removesuffix(f' {currency}')})"


COLUMNS = ("Category", "Spent", "At the month's end", "Budget", "Used", "Used up")


def columns(scope: Scope, currency: str) -> tuple[str, ...]:
    """A scope in the words of `COLUMNS`."""
    budget = scope.budget_micros
    return (
        scope.category or "all",
        money(scope.spent_micros, currency),
        expected(scope, currency),
        "—" if budget is None else money(budget, currency),
        share(scope.used_percent, of_expected=scope.expected_percent),
        scope.used_up_on or ("—" if budget is None else "not this month"),
    )


def share(percent: int | None, *, of_expected: int | None = None) -> str:
    """`46 %`, or `46 %, 93 % expected`; a dash without a budget."""
    if percent is None:
        return "—"
    return f"{percent} %" + ("" if of_expected is None else f", {of_expected} % expected")


def _to_the_cent(micros: int) -> int:
    return (micros + CENT_MICROS // 2) // CENT_MICROS * CENT_MICROS
