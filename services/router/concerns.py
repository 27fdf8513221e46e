"""What the failed status of one message says of its whole account or number: a status in, the fact that tells the sender out. Pure.

Meta takes messages and refuses them later with the codes that its answers have, spam and policy among them (Meta, Cloud API, error codes: synchronous, by webhook, or both).
"""

from services.router.meta_errors import MetaErrors
from shared.accounts import AccountFacts
from shared.events import AccountChanged, StatusReceived, encode
from shared.stream.fold import Outgoing
from shared.topics import ACCOUNT_EVENTS

AGAIN_MS = 600_000
"""A campaign fails a thousand times for one reason, which is told so often."""


def told(event: StatusReceived, facts: AccountFacts, errors: MetaErrors) -> tuple[Outgoing, ...]:
    """The fact `refused` of the account or number, unless it is known or the code is about the message alone."""
    code, waba_id = event.error_code, facts.waba_of(event.phone_number_id)
    concerns = errors.named(code).concerns
    if code is None or concerns is None or waba_id is None:
        return ()
    subject = facts.account(waba_id) if concerns == "account" else facts.number(event.phone_number_id)
    if subject is None:
        return ()
    known = subject.refused
    if known is not None and known.code == code and event.at_ms < known.at_ms + AGAIN_MS:
        return ()
    fact = AccountChanged(
        event_id=f"{event.wamid}:refused",
        at_ms=event.at_ms,
        waba_id=waba_id,
        subject=concerns,
        id=waba_id if concerns == "account" else event.phone_number_id,
        fields={"refused": {"code": code, "at_ms": event.at_ms}},
        by="meta",
    )
    return (Outgoing(ACCOUNT_EVENTS, waba_id, fact.event_id, "AccountChanged", encode(fact)),)
