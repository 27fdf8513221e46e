"""What the failed status of one message says of its whole account or number: a status in, the fact that tells router and senders out. Pure.

Meta takes messages and refuses them later with the codes that its answers have, spam and policy among them (Meta, Cloud API, error codes: synchronous, by webhook, or both).
"""

from typing import Any

from services.router.meta_errors import MetaErrors, Named
from shared.accounts import Account, AccountFacts, Number
from shared.events import AccountChanged, StatusReceived, encode
from shared.refusals import Subject, is_a_fact, learnt
from shared.stream.fold import Outgoing
from shared.times import HOUR_MS
from shared.topics import ACCOUNT_EVENTS

STEP_MS = 10_000
"""A campaign fails a thousand times for one reason, which is told so often: a sender that tries again learns from its own message's status that it is not over."""
_UNKNOWN_END_MS = HOUR_MS
"""So long at most until what has no known end is tried again (services/sender/breakers.py)."""


def told(event: StatusReceived, facts: AccountFacts, errors: MetaErrors) -> tuple[Outgoing, ...]:
    """What is to be set of the account or number, unless it is known or the code is about the message alone."""
    waba_id = facts.waba_of(event.phone_number_id)
    if event.error_code is None or waba_id is None:
        return ()
    account, number = facts.account(waba_id), facts.number(event.phone_number_id)
    named = errors.named(event.error_code)
    if is_a_fact(named.reason):
        found = learnt(named.reason, account, number, event.at_ms)
    else:
        found = _refused(event.error_code, named, event.at_ms, account, number, errors)
    if found is None:
        return ()
    subject, fields = found
    fact = AccountChanged(
        event_id=f"{event.wamid}:refused",
        at_ms=event.at_ms,
        waba_id=waba_id,
        subject=subject,
        id=waba_id if subject == "account" else event.phone_number_id,
        fields=fields,
        by="meta",
    )
    return (Outgoing(ACCOUNT_EVENTS, waba_id, fact.event_id, "AccountChanged", encode(fact)),)


def _refused(
    code: int,
    named: Named,
    at_ms: int,
    account: Account | None,
    number: Number | None,
    errors: MetaErrors,
) -> tuple[Subject, dict[str, Any]] | None:
    known = account if named.concerns == "account" else number
    if named.concerns is None or known is None:
        return None
    at_ms -= at_ms % STEP_MS
    last = known.refused
    if last is not None:
        # Of two troubles, the one that lasts longer stands.
        nothing_new = (
            at_ms <= last.at_ms
            if last.code == code
            else at_ms + _holds_ms(named) <= last.at_ms + _holds_ms(errors.named(last.code))
        )
        if nothing_new:
            return None
    return named.concerns, {"refused": {"code": code, "at_ms": at_ms}}


def _holds_ms(named: Named) -> float:
    return _UNKNOWN_END_MS if named.holds_s is None else named.holds_s * 1000
