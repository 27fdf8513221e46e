"""What the facts of account, number and template hold back that was decided before they came: an operator's pause, Meta's restriction or refusal. Pure."""

from collections.abc import Callable, Mapping
from math import inf
from typing import Literal, get_args

import msgspec

from shared.accounts import (
    NO_ANSWERING,
    NO_INITIATING,
    NUMBER_STOPPED,
    Account,
    AccountFacts,
    Number,
    restrictions_in_force,
)
from shared.events import Category, SendMessage

_INITIATED = frozenset(get_args(Category)) - {"service"}


def account_of(command: SendMessage, facts: AccountFacts) -> str:
    """The account that the command's number belongs to now: under that one Meta takes the message."""
    return facts.waba_of(command.phone_number_id) or command.waba_id


class Told(msgspec.Struct, frozen=True):
    """What Meta's status said of a message that it had taken: a code whose trouble concerns the whole account or number."""

    scope: Literal["waba", "phone_number"]
    code: int
    at_ms: int


class Standing(msgspec.Struct, frozen=True):
    """How a number stands: `stopped` holds all of it back, `categories` these; it changes with the facts, or by itself at `until_ms`."""

    stopped: bool = False
    categories: frozenset[str] = frozenset()
    told: tuple[Told, ...] = ()
    token: str = "default"  # noqa: S105 - the reference of a token, not a token
    until_ms: float = inf


class Standings:
    """Of all numbers, remembered for one revision of the facts."""

    def __init__(self, facts: Callable[[], AccountFacts], now_ms: Callable[[], int]) -> None:
        self._facts = facts
        self._now_ms = now_ms
        self._revision = -1
        self._numbers: dict[str, Standing] = {}
        self._templates: Mapping[str, int | None] = {}

    def of(self, command: SendMessage) -> Standing:
        """How the command's number stands."""
        self._refresh()
        found = self._numbers.get(command.phone_number_id)
        if found is None or (found.until_ms != inf and found.until_ms <= self._now_ms()):
            facts, id = self._facts(), command.phone_number_id
            account = facts.account(account_of(command, facts))
            found = self._numbers[id] = _standing(account, facts.number(id), self._now_ms())
        return found

    @property
    def paused_templates(self) -> Mapping[str, int | None]:
        """Until when (ms; None: until somebody lifts it) each of the templates that are paused, by `{waba_id}/{name}/{language}`."""
        self._refresh()
        return self._templates

    def _refresh(self) -> None:
        facts = self._facts()
        if facts.revision != self._revision:
            self._revision = facts.revision
            self._numbers.clear()
            self._templates = facts.paused_templates()


def _standing(account: Account | None, number: Number | None, now_ms: int) -> Standing:
    """Who is not known is not held: Meta will say."""
    account, number = account or Account(), number or Number()
    categories = set(account.paused_categories)
    ends: list[float] = [
        until_ms for until_ms in account.restrictions.values() if until_ms is not None and until_ms > now_ms
    ]
    if account.cannot_be_charged(now_ms):
        categories |= _INITIATED
        ends.append(account.payment_failing_until_ms or inf)
    in_force = restrictions_in_force(account, now_ms)
    if NO_INITIATING in in_force:
        categories |= _INITIATED
    if NO_ANSWERING in in_force:
        categories.add("service")
    told: list[Told] = []
    if account.refused is not None:
        told.append(Told("waba", account.refused.code, account.refused.at_ms))
    if number.refused is not None:
        told.append(Told("phone_number", number.refused.code, number.refused.at_ms))
    return Standing(
        stopped=account.paused
        or number.paused
        or account.status != "active"
        or number.status in NUMBER_STOPPED
        or not number.registered,
        categories=frozenset(categories),
        told=tuple(told),
        token=number.token,
        until_ms=min(ends, default=inf),
    )
