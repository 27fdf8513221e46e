"""What businesses read of their accounts: account events in, one change per subject whose facts took a new value out, and each webhook as Meta told it. Pure.

A fold of its own, keyed by the account: facts are applied by `shared.accounts`, the state is what was set, when and by whom, and which webhooks were passed on.
"""

from collections.abc import Iterator
from typing import Any, cast

import msgspec

from services.router import passed
from services.router.seen import add, has
from shared.accounts import AccountFacts, Author, Change, InvalidFacts, Subject, template_id
from shared.events import (
    AccountChange,
    AccountChanged,
    AccountEvent,
    AccountWebhook,
    decode_account_event,
    encode,
)
from shared.ids import fingerprint
from shared.stream.fold import Grants, Outgoing, Step
from shared.times import rfc3339
from shared.topics import ACCOUNT_CHANGES

VERSION = 1
Stamped = dict[str, tuple[int, Any, Author]]


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What was set of one account: subject and id → field → (when, value, by whom); and the webhooks passed on in the last 8 days, at most 4,000 (`seen.py`)."""

    v: int
    subjects: dict[Subject, dict[str, Stamped]]
    passed: bytes = b""


class AccountsFold:
    """Folds `account.events`; implements `shared.stream.fold.Fold`."""

    def __init__(self) -> None:
        self._decode_state = msgspec.msgpack.Decoder(Known).decode

    def decode(self, value: bytes) -> AccountEvent:
        """The event of a record."""
        return cast(AccountEvent, decode_account_event(value))

    def key(self, record_key: str, event: AccountEvent) -> str:
        """The account."""
        return event.waba_id

    def encode_state(self, state: Known) -> bytes:
        """As MessagePack."""
        return msgspec.msgpack.encode(state)

    def decode_state(self, value: bytes) -> Known:
        """What `encode_state` wrote."""
        return self._decode_state(value)

    def fold(self, state: Known | None, event: AccountEvent, facts: None, grants: Grants) -> Step[Known]:
        """The step that one event makes of one account.

        Raises:
            InvalidFacts: the event names an unknown field or a value outside its type; it belongs in the dead letters. A webhook is passed on none the less.
        """
        known = state or Known(VERSION, {})
        mine = AccountFacts()
        for before in _concerned(known, event):
            mine.apply(before, 0)
        if isinstance(event, AccountChanged):
            out = tuple(_told(event, event.by, change) for change in mine.apply(event, 0))
            marks = known.passed
        else:
            out, marks = _passed(known, mine, event)
        after = Known(VERSION, _noted(known, mine, event.waba_id), marks)
        return Step(state if state is not None and after == state else after, out)

    def malformed(self, record_key: str, value: bytes, reason: str) -> tuple[Outgoing, ...]:
        """Nothing is told of what can't be read; it lies in the dead letters."""
        return ()


def _passed(known: Known, mine: AccountFacts, event: AccountWebhook) -> tuple[tuple[Outgoing, ...], bytes]:
    """What a webhook brings forth, and the webhooks passed on by then."""
    try:
        changes = mine.apply(event, 0)
    except InvalidFacts:  # no facts to set; whoever keeps the facts logs it (`shared.account_reader`)
        changes = ()
    out = tuple(_told(event, "meta", change) for change in changes)
    mark = fingerprint(event.event_id)
    if has(known.passed, mark):
        return out, known.passed
    return (*out, passed.of_account(event)), add(known.passed, mark, event.received_ms or event.at_ms)


def _concerned(known: Known, event: AccountEvent) -> Iterator[AccountChanged]:
    """What was set before of the subjects the event can touch: an account may have thousands of templates."""
    whole = isinstance(event, AccountChanged)
    name = template_id(event.id) if isinstance(event, AccountChanged) else _template_name(event)
    for subject, ids in known.subjects.items():
        for id_, fields in ids.items():
            if subject == "template" and name != (id_ if whole else id_.partition("/")[0]):
                continue
            for field, (at_ms, value, by) in fields.items():
                yield AccountChanged(
                    event_id="",
                    at_ms=at_ms,
                    waba_id=event.waba_id,
                    subject=subject,
                    id=id_,
                    fields={field: value},
                    by=by,
                )


class _Named(msgspec.Struct):
    message_template_name: Any = None


def _template_name(event: AccountWebhook) -> str | None:
    try:
        name = msgspec.json.decode(event.value, type=_Named).message_template_name
    except (msgspec.MsgspecError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def _noted(known: Known, facts: AccountFacts, waba_id: str) -> dict[Subject, dict[str, Stamped]]:
    subjects = {subject: dict(ids) for subject, ids in known.subjects.items()}
    for key in facts.known():
        subject, waba, id_ = key
        if waba == waba_id:
            stamped: Stamped = {name: (s.at_ms, s.value, s.by) for name, s in facts.settings_of(key).items()}
            subjects.setdefault(subject, {})[id_] = stamped
    return subjects


def _told(event: AccountEvent, by: str, changed: Change) -> Outgoing:
    event_id = f"{event.event_id}:{changed.subject}:{changed.id}"
    change = AccountChange(
        event_id=event_id,
        at=rfc3339(event.at_ms),
        waba_id=event.waba_id,
        subject=changed.subject,
        id=changed.id,
        before=changed.before,
        after=changed.after,
        by=by,
    )
    return Outgoing(ACCOUNT_CHANGES, event.waba_id, event_id, "changed", encode(change))
