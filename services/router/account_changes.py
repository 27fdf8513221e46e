"""The account changes that businesses read: account events in, one change per subject whose facts took a new value out. Pure.

A fold of its own, keyed by the account: facts are applied by `shared.accounts`, the state is what was set, when and by whom.
"""

from collections.abc import Iterator
from typing import Any, cast

import msgspec

from shared.accounts import AccountFacts, Author, Subject, template_id
from shared.events import (
    AccountChange,
    AccountChanged,
    AccountEvent,
    AccountWebhook,
    decode_account_event,
    encode,
)
from shared.stream.fold import Grants, Outgoing, Step
from shared.times import rfc3339
from shared.topics import ACCOUNT_CHANGES

VERSION = 1
Stamped = dict[str, tuple[int, Any, Author]]


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What was set of one account: subject and id → field → (when, value, by whom)."""

    v: int
    subjects: dict[Subject, dict[str, Stamped]]


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
            InvalidFacts: the event names an unknown field or a value outside its type; it belongs in the dead letters.
        """
        known = state or Known(VERSION, {})
        mine = AccountFacts()
        for before in _concerned(known, event):
            mine.apply(before, 0)
        changes = mine.apply(event, 0)
        after = _noted(known, mine, event.waba_id)
        if state is not None and after.subjects == state.subjects:
            return Step(state)
        by = event.by if isinstance(event, AccountChanged) else "meta"
        out = tuple(
            _told(event, by, change.subject, change.id, change.before, change.after) for change in changes
        )
        return Step(after, out)

    def malformed(self, record_key: str, value: bytes, reason: str) -> tuple[Outgoing, ...]:
        """Nothing is told of what can't be read; it lies in the dead letters."""
        return ()


def _concerned(known: Known, event: AccountEvent) -> Iterator[AccountChanged]:
    """What was set before of the subjects the event can touch: an account may have thousands of templates."""
    for subject, ids in known.subjects.items():
        for id_, fields in ids.items():
            if subject == "template" and not _names(event, id_):
                continue
            for name, (at_ms, value, by) in fields.items():
                yield AccountChanged(
                    event_id="",
                    at_ms=at_ms,
                    waba_id=event.waba_id,
                    subject=subject,
                    id=id_,
                    fields={name: value},
                    by=by,
                )


def _names(event: AccountEvent, template: str) -> bool:
    if isinstance(event, AccountChanged):
        return event.subject == "template" and template_id(event.id) == template
    return _template_name(event) == template.partition("/")[0]


def _template_name(event: AccountWebhook) -> str | None:
    value = msgspec.json.decode(event.value)
    return value.get("message_template_name") if isinstance(value, dict) else None


def _noted(known: Known, facts: AccountFacts, waba_id: str) -> Known:
    subjects = {subject: dict(ids) for subject, ids in known.subjects.items()}
    for key in facts.known():
        subject, waba, id_ = key
        if waba == waba_id:
            stamped: Stamped = {name: (s.at_ms, s.value, s.by) for name, s in facts.settings_of(key).items()}
            subjects.setdefault(subject, {})[id_] = stamped
    return Known(VERSION, subjects)


def _told(
    event: AccountEvent, by: str, subject: Subject, id_: str, before: dict[str, Any], after: dict[str, Any]
) -> Outgoing:
    event_id = f"{event.event_id}:{subject}:{id_}"
    change = AccountChange(
        event_id=event_id,
        at=rfc3339(event.at_ms),
        waba_id=event.waba_id,
        subject=subject,
        id=id_,
        before=before,
        after=after,
        by=by,
    )
    return Outgoing(ACCOUNT_CHANGES, event.waba_id, event_id, "changed", encode(change))
