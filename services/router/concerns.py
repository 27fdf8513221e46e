"""What the failed status of one message says of its whole account or number: a status in, the fact that tells router and senders out. Pure.

Meta takes messages and refuses them later with the codes that its answers have, spam and policy among them (Meta, Cloud API, error codes: synchronous, by webhook, or both).
"""

from typing import Any

from msgspec import to_builtins

from services.router.meta_errors import MetaErrors
from shared.accounts import AccountFacts, Refused
from shared.events import AccountChanged, StatusReceived, encode
from shared.refusals import Subject, is_a_fact, learnt
from shared.stream.fold import Outgoing
from shared.times import HOUR_MS
from shared.topics import ACCOUNT_EVENTS

_STEP_MS = 10_000
"""A campaign fails a thousand times for one reason, which is told so often: a sender that tries again learns from its own message's status that it is not over."""
_UNKNOWN_END_MS = HOUR_MS
"""So long at most until what has no known end is tried again (services/sender/breakers.py)."""


class Concerns:
    """What is told. Besides the facts it knows what it told last: a backlog of statuses is folded before any fact of it can be read back."""

    def __init__(self, errors: MetaErrors) -> None:
        self.errors = errors
        self._told: dict[tuple[Subject, str], Refused] = {}

    def told(self, event: StatusReceived, facts: AccountFacts) -> tuple[Outgoing, ...]:
        """What is to be set of the account or number, unless it is known or the code is about the message alone."""
        waba_id = facts.waba_of(event.phone_number_id)
        if event.error_code is None or waba_id is None:
            return ()
        ids: dict[Subject, str] = {"account": waba_id, "number": event.phone_number_id}
        account, number = facts.account(waba_id), facts.number(event.phone_number_id)
        named, at_ms = self.errors.named(event.error_code), event.at_ms
        found: tuple[Subject, dict[str, Any]] | None = None
        if is_a_fact(named.reason):
            found = learnt(named.reason, account, number, at_ms)
        elif named.concerns is not None:
            at_ms -= at_ms % _STEP_MS
            known = account if named.concerns == "account" else number
            refused = Refused(event.error_code, at_ms)
            whose = named.concerns, ids[named.concerns]
            if known is not None and self._is_news(refused, known.refused, whose):
                found = named.concerns, {"refused": to_builtins(refused)}
        if found is None:
            return ()
        subject, fields = found
        fact = AccountChanged(
            event_id=f"{event.wamid}:refused",
            at_ms=at_ms,
            waba_id=waba_id,
            subject=subject,
            id=ids[subject],
            fields=fields,
            by="meta",
        )
        return (Outgoing(ACCOUNT_EVENTS, waba_id, fact.event_id, "AccountChanged", encode(fact)),)

    def _is_news(self, refused: Refused, known: Refused | None, whose: tuple[Subject, str]) -> bool:
        """Whether it adds to what is known, and to what this step told already; of two troubles the one that lasts longer stands."""
        told, ends_ms = self._told.get(whose), self._ends_ms(refused)
        if told is not None and refused.at_ms <= told.at_ms and ends_ms <= self._ends_ms(told):
            return False
        if known is not None and (refused.at_ms < known.at_ms or ends_ms <= self._ends_ms(known)):
            return False
        self._told[whose] = refused
        return True

    def _ends_ms(self, refused: Refused) -> float:
        holds_s = self.errors.named(refused.code).holds_s
        return refused.at_ms + (_UNKNOWN_END_MS if holds_s is None else holds_s * 1000)
