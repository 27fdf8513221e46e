"""What a poll of Meta changes: its answers and the facts in, account events by Meta out. Pure.

Each answer counts from the second in which it was asked for: what was set since stays, and a webhook of that very second still wins when it
comes. What is as Meta says makes no event.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from services.console import meta_facts
from services.console.meta_facts import Node
from services.console.plan import FieldChange, Plan
from shared.accounts import (
    Account,
    AccountFacts,
    FactKey,
    Number,
    Setting,
    Template,
    category_at,
    status_at,
)
from shared.events import AccountChanged

WEBHOOK_GRAIN_MS = 1000
"""Webhooks bear whole seconds (Meta, webhooks, `entry.time`): one of the second in which was asked may be newer than the answer."""

NUMBER_GONE: Mapping[str, Any] = {"status": "DELETED", "registered": False}
"""A number that Meta no longer lists. `DISCONNECTED` and the like are words for numbers it does list; one that comes back tells its own."""
TEMPLATE_GONE: Mapping[str, Any] = {"status": "DELETED"}


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer of Meta's: the nodes, all of them, and when the (first) request was sent, epoch ms."""

    at_ms: int
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What Meta said about an account it was asked for with the token `token`; None is a question it did not answer."""

    waba_id: str
    token: str
    account: Asked | None = None
    numbers: Asked | None = None
    templates: Asked | None = None


Found = tuple[FactKey, int, dict[str, Any]]
Known = Mapping[FactKey, Account | Number | Template]


def difference(snapshot: Snapshot, facts: AccountFacts, believed_ms: int) -> Plan:
    """The events that bring the facts to what Meta said, and the changes they make.

    A payment that Meta can't charge is believed for `believed_ms` after it was asked for: until the next poll is sure to have come.
    An event's id hashes subject, fields and revision, so that the same difference found twice has the same ids.
    """
    known = facts.known()
    changes: list[FieldChange] = []
    events: list[AccountChanged] = []
    for key, at_ms, told in _found(snapshot, facts, known, believed_ms):
        value, settings = known.get(key), facts.settings_of(key)
        fields = {
            field: after
            for field, after in told.items()
            if (value is None or not _same(field, getattr(value, field), after))
            and not _newer(settings.get(field), at_ms)
        }
        if fields or value is None:
            events.append(told_by_meta(key, fields, facts, at_ms, "polled"))
            changes += [
                FieldChange(key, field, None if value is None else getattr(value, field), after)
                for field, after in fields.items()
            ]
    return Plan(facts.revision, tuple(changes), (), (), (), tuple(events))


def _found(snapshot: Snapshot, facts: AccountFacts, known: Known, believed_ms: int) -> Iterator[Found]:
    waba_id = snapshot.waba_id
    numbers = snapshot.numbers.nodes if snapshot.numbers else ()
    if snapshot.account:
        yield _account(waba_id, snapshot.account, numbers, facts, known, believed_ms)
    if snapshot.numbers:
        yield from _numbers(snapshot, snapshot.numbers, facts, known)
    if snapshot.templates:
        yield from _templates(waba_id, snapshot.templates, facts, known)


def _account(
    waba_id: str,
    asked: Asked,
    numbers: tuple[Node, ...],
    facts: AccountFacts,
    known: Known,
    believed_ms: int,
) -> Found:
    key: FactKey = ("account", waba_id, waba_id)
    told: dict[str, Any] = dict(meta_facts.limit_of(numbers))
    for node in asked.nodes:
        told |= meta_facts.read(meta_facts.ACCOUNT, node)
    healthy = meta_facts.can_charge((*asked.nodes, *numbers))
    told |= _payment(healthy, known.get(key), facts.settings_of(key), asked.at_ms, believed_ms)
    return key, asked.at_ms, told


def _numbers(snapshot: Snapshot, asked: Asked, facts: AccountFacts, known: Known) -> Iterator[Found]:
    listed: dict[FactKey, dict[str, Any]] = {
        ("number", snapshot.waba_id, id): meta_facts.read(meta_facts.NUMBER, node)
        for node in asked.nodes
        if (id := meta_facts.number_id(node)) is not None
    }
    for key, fields in listed.items():
        # A number that Meta adds is sent from with the token that could read it.
        yield key, asked.at_ms, fields if key in known else fields | {"token": snapshot.token}
    for key in sorted(known.keys() - listed.keys()):
        if key[:2] == ("number", snapshot.waba_id) and facts.waba_of(key[2]) == snapshot.waba_id:
            yield from _gone(key, facts, asked.at_ms, NUMBER_GONE)


def _templates(waba_id: str, asked: Asked, facts: AccountFacts, known: Known) -> Iterator[Found]:
    listed: dict[FactKey, dict[str, Any]] = {
        ("template", waba_id, id): meta_facts.read(meta_facts.TEMPLATE, node)
        for node in asked.nodes
        if (id := meta_facts.template_id(node)) is not None
    }
    for key, fields in listed.items():
        yield key, asked.at_ms, fields | _outdated(fields, known.get(key), asked.at_ms)
    for key in sorted(known.keys() - listed.keys()):
        if key[:2] == ("template", waba_id):
            yield from _gone(key, facts, asked.at_ms, TEMPLATE_GONE)


def _outdated(
    told: Mapping[str, Any], template: Account | Number | Template | None, at_ms: int
) -> dict[str, Any]:
    """What was announced and did not come to pass: a pause that has not ended, a category that has not changed."""
    fields: dict[str, Any] = {}
    if isinstance(template, Template):
        if told.get("status") == "PAUSED" != status_at(template, at_ms):
            fields |= {"paused_until_ms": None}
        if "category" in told and told["category"] != category_at(template, at_ms):
            fields |= {"next_category": None, "next_category_ms": None}
    return fields


def _gone(key: FactKey, facts: AccountFacts, at_ms: int, fields: Mapping[str, Any]) -> Iterator[Found]:
    """One that became known after Meta was asked is none that is gone."""
    if not any(_newer(setting, at_ms) for setting in facts.settings_of(key).values()):
        yield key, at_ms, dict(fields)


def _payment(
    healthy: bool | None,
    account: Account | Number | Template | None,
    settings: Mapping[str, Setting],
    at_ms: int,
    believed_ms: int,
) -> dict[str, Any]:
    """An operator's `missing` stays, and what an operator called failing for good; only what Meta or a send found failing is mended."""
    setting = settings.get("payment_method")
    if healthy is None or not isinstance(account, Account) or _newer(setting, at_ms):
        return {}
    by_operator = setting is None or setting.by == "operator"
    failing, until_ms = account.payment_method == "failing", account.payment_failing_until_ms
    if account.payment_method == "missing" or (failing and by_operator):
        return {}
    if healthy:
        return {"payment_method": "valid", "payment_failing_until_ms": None} if failing else {}
    believed_until_ms = max(at_ms + believed_ms, until_ms or 0 if failing else 0)
    return {"payment_method": "failing", "payment_failing_until_ms": believed_until_ms}


def _same(field: str, before: Any, after: Any) -> bool:
    """Meta and an accounts file may write one phone number differently."""
    if field == "display_phone_number":
        return _digits(before) == _digits(after)
    return bool(before == after)


def _digits(written: str) -> str:
    return "".join(character for character in written if character.isdigit())


def _newer(setting: Setting | None, asked_ms: int) -> bool:
    """Whether a field was set after Meta was asked, as far as its time can tell."""
    if setting is None:
        return False
    return setting.at_ms + (WEBHOOK_GRAIN_MS - 1 if setting.by == "meta" else 0) > asked_ms


def told_by_meta(
    key: FactKey, fields: dict[str, Any], facts: AccountFacts, asked_ms: int, occasion: str
) -> AccountChanged:
    """An event of what Meta answered. Its time is the second of the question, or later where a field it sets was set later in that second."""
    settings = facts.settings_of(key)
    identity = msgspec.json.encode([key, fields, facts.revision], order="sorted")
    subject, waba_id, id = key
    return AccountChanged(
        event_id=f"{occasion}:{hashlib.sha256(identity).hexdigest()[:32]}",
        at_ms=max(
            asked_ms // WEBHOOK_GRAIN_MS * WEBHOOK_GRAIN_MS,
            *(settings[field].at_ms for field in fields if field in settings),
            0,
        ),
        waba_id=waba_id,
        subject=subject,
        id=id,
        fields=fields,
        by="meta",
    )
