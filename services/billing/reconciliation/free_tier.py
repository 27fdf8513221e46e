"""How much of the free tier a month used: free service units by number and the accounts' facts in, lines of the report out. Pure."""

from collections.abc import Iterable, Mapping

from services.billing.free_tier import free_tier_of
from services.billing.reconciliation.report import FreeTierLine, Names
from services.billing.tally_sums import Tally, TallyRow
from shared.accounts import Account, AccountFacts
from shared.pricing import Regimes


def used(
    accounts: Iterable[str],
    facts: AccountFacts,
    regimes: Regimes,
    names: Names,
    units: Mapping[tuple[str, str], int],
    month: str,
) -> list[FreeTierLine]:
    """Of each account whose regime has a free tier: one line, or one for each of its numbers, as the regime counts."""
    lines = []
    for waba_id in accounts:
        numbers = [id_ for kind, owner, id_ in facts.known() if kind == "number" and owner == waba_id]
        rows = [_row(number, free) for (owner, number), free in units.items() if owner == waba_id]
        account = facts.account(waba_id) or Account()
        tier = free_tier_of(Tally(waba_id, month, rows, {}), account, numbers, regimes)
        if tier is None:
            continue
        lines += [
            FreeTierLine(
                account=names.account(waba_id),
                number=names.number(use.owner) if tier.scope == "number" else None,
                used=use.used,
                left=use.left,
            )
            for use in tier.use
        ]
    return lines


def _row(number: str, free: int) -> TallyRow:
    return TallyRow(
        phone_number_id=number, unit="", category="service", market="", type="free_tier", free=free
    )
