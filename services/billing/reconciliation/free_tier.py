"""How much of the free tier a month used: units by number and the accounts' regimes in, lines of the report out. Pure."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from services.billing.reconciliation.report import FreeTierUse, Names
from shared.accounts import Account, AccountFacts
from shared.pricing import PriceBook, Regime, month_end


def used(
    accounts: Iterable[str],
    facts: AccountFacts,
    book: PriceBook,
    names: Names,
    units: Mapping[tuple[str, str], int],
    month: str,
) -> list[FreeTierUse]:
    """Of each account whose regime has a free tier: one line, or one for each number that used some, as the regime counts."""
    lines = []
    for waba_id in accounts:
        tier = regime_of(book, facts.account(waba_id) or Account(), month).free_tier
        if tier is None:
            continue
        by_number = {number: n for (owner, number), n in units.items() if owner == waba_id}
        of = {None: sum(by_number.values())} if tier.scope == "waba" else by_number
        lines += [
            FreeTierUse(
                account=names.account(waba_id),
                number=None if number is None else names.number(number),
                used=n,
                size=tier.units_per_month,
            )
            for number, n in sorted(of.items(), key=lambda line: (-line[1], str(line[0])))
        ]
    return lines


def regime_of(book: PriceBook, account: Account, month: str) -> Regime:
    """The account's regime at the month's end: regimes turn with months."""
    return book.regimes.regime_at(
        account.regime, month_end(month, account.timezone) - timedelta(seconds=1), account.timezone
    )
