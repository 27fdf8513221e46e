"""How an account comes to its next messaging limit: facts in, the steps and which of them are done out. Pure.

The guide's ladder begins 250 → 1,000: by a volume of high-quality messages or by business verification, then also a verified display name. Meta's
of today begins 250 → 2,000 (Meta, messaging limits). From there a level is gained when half of the limit is used within 7 days in good quality.
"""

from collections.abc import Sequence
from typing import NamedTuple

from shared.accounts import UNLIMITED, Account, Number

GUIDE_REGIME = "guide"
GUIDE_LADDER = (250, 1_000, 10_000, 100_000)
LADDER = (250, 2_000, 10_000, 100_000)
"""Users in a moving 24 h; above the last is unlimited."""
NAMED = frozenset({"APPROVED", "AVAILABLE_WITHOUT_REVIEW"})
"""States of a display name that Meta has nothing against (Meta, Cloud API, phone numbers: name_status)."""
NOT_GROWN = {
    "INCREASED_CAPABILITIES_ELIGIBILITY_FAILED": "Meta has refused a higher limit",
    "INCREASED_CAPABILITIES_ELIGIBILITY_DEFERRED": "Meta has put off a higher limit",
    "INCREASED_CAPABILITIES_ELIGIBILITY_NEED_MORE_INFO": "Meta wants to know more before it raises the limit",
}
"""Alerts about the limit (Meta, account_alerts)."""


class Step(NamedTuple):
    """Something to do. `done` None: the facts do not tell."""

    text: str
    done: bool | None


class Growth(NamedTuple):
    """The way from a limit to the next; `next_limit` is -1 for unlimited and None when there is none above."""

    limit: int
    next_limit: int | None
    steps: tuple[Step, ...]


def growth(account: Account, numbers: Sequence[Number]) -> Growth:
    """The steps to the next limit. `numbers` are the account's own; the limit is the portfolio's."""
    limit = account.messaging_limit
    if limit == UNLIMITED:
        return Growth(limit, None, ())
    ladder = GUIDE_LADDER if account.regime == GUIDE_REGIME else LADDER
    next_limit = next((rung for rung in ladder if rung > limit), UNLIMITED)
    steps = [*_first(account, next_limit)] if limit < ladder[1] else [*_further(account)]
    named = any(number.name_status in NAMED for number in numbers)
    steps.append(Step("a display name that Meta has approved", named))
    steps.append(Step("no number of low quality", all(number.quality != "RED" for number in numbers)))
    if account.alert in NOT_GROWN:
        steps.append(Step(f"{NOT_GROWN[account.alert]}: see WhatsApp Manager", False))
    return Growth(limit, next_limit, tuple(steps))


def _first(account: Account, next_limit: int) -> tuple[Step, ...]:
    text = f"the business verified, or {next_limit:,} high-quality messages to different customers within 30 days"
    return (Step(text, account.business_verified or None),)


def _further(account: Account) -> tuple[Step, ...]:
    return (
        Step("the business verified", account.business_verified),
        Step("half of the limit used within 7 days", None),
    )
