"""What applying an accounts file changes: a checked file and facts in, account events out. Pure.

Applying is idempotent: once a plan's events are folded into the facts, the same file gives an empty plan.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from services.console.document import AccountsDocument
from shared.accounts import Account, AccountFacts, Author, FactKey, Number, Setting, Template
from shared.events import AccountChanged

META_OWNED: Mapping[str, frozenset[str]] = {
    "account": frozenset(
        {
            "messaging_limit",
            "restrictions",
            "status",
            "currency",
            "timezone",
            "business_verified",
            "primary_location",
            "marketing_on_cloud_api_disabled",
            "auth_international",
        }
    ),
    "number": frozenset(
        {"quality", "verified_name", "name_status", "status", "throughput", "display_phone_number"}
    ),
    "template": frozenset({"category", "status", "quality", "parameters"}),
}
"""Facts that Meta tells, by webhook or asked. The file gives their first value; what Meta has told since stays."""


class FieldChange(NamedTuple):
    """One field of one subject: its value now (None when never set) and the one that the file gives."""

    key: FactKey
    field: str
    before: Any
    after: Any


class Kept(NamedTuple):
    """A field in which the file disagrees with what Meta said last, by webhook, asked or on a send, or would lift a pause: it stays."""

    change: FieldChange
    by: Author


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file, or a poll of Meta, would do to the facts of `revision`.

    Attributes:
        conflicts: reasons not to apply the file at all.
        unmanaged: subjects of the file's accounts that the file does not name; they are left alone.
    """

    revision: int
    changes: tuple[FieldChange, ...]
    kept: tuple[Kept, ...]
    conflicts: tuple[str, ...]
    unmanaged: tuple[FactKey, ...]
    events: tuple[AccountChanged, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a file: the plan, and the revision after it; `published` is 0 when nothing was to do."""

    plan: Plan
    published: int
    revision: int


def difference(document: AccountsDocument, facts: AccountFacts, now_ms: int, *, force: bool = False) -> Plan:
    """Compare the file with the facts and make the events that bring the facts to the file.

    With `force` the file also wins over facts set by Meta and lifts pauses, and a number may move from one account to another.
    An event's id hashes its subject, fields and the revision: the same plan made twice gives the same ids.
    Its time is `now_ms`, or later if a field it sets bears a later time, for the last writer by time wins.
    """
    known = facts.known()
    wanted = dict(_wanted(document))
    changes: list[FieldChange] = []
    kept: list[Kept] = []
    events: list[AccountChanged] = []
    conflicts: list[str] = []
    for key, fields in wanted.items():
        if moved := _left_behind(key, facts):
            if force:
                events.append(setting_event(moved, {"registered": False, "default": False}, facts, now_ms))
                changes.append(FieldChange(moved, "registered", True, False))
            else:
                conflicts.append(f"number {key[2]} belongs to account {moved[1]}; --force moves it")
        differing, staying = _compare(key, known.get(key), fields, facts.settings_of(key), force=force)
        changes += differing
        kept += staying
        if differing or key not in known:
            events.append(
                setting_event(key, {change.field: change.after for change in differing}, facts, now_ms)
            )
    conflicts += _two_defaults(wanted, facts)
    accounts = {account.id for account in document.accounts}
    return Plan(
        revision=facts.revision,
        changes=tuple(changes),
        kept=tuple(kept),
        conflicts=tuple(conflicts),
        unmanaged=tuple(sorted(key for key in known if key[1] in accounts and key not in wanted)),
        events=() if conflicts else tuple(events),
    )


def _wanted(document: AccountsDocument) -> Iterator[tuple[FactKey, dict[str, Any]]]:
    for account in document.accounts:
        yield ("account", account.id, account.id), account.facts()
        for number in account.numbers:
            yield ("number", account.id, number.id), number.facts()
        for template in account.templates:
            yield ("template", account.id, template.id), template.facts()


def _compare(
    key: FactKey,
    value: Account | Number | Template | None,
    fields: Mapping[str, Any],
    settings: Mapping[str, Setting],
    *,
    force: bool,
) -> tuple[list[FieldChange], list[Kept]]:
    differing, kept = [], []
    for field, after in fields.items():
        before = getattr(value, field, None)
        if value is not None and msgspec.to_builtins(before) == msgspec.to_builtins(after):
            continue
        change = FieldChange(key, field, before, after)
        setting = settings.get(field)
        if setting and setting.by != "operator" and field in META_OWNED[key[0]] and not force:
            kept.append(Kept(change, setting.by))
        elif _lifts_a_pause(change) and not force:
            kept.append(Kept(change, "operator"))
        else:
            differing.append(change)
    return differing, kept


def _lifts_a_pause(change: FieldChange) -> bool:
    """What an operator paused, a file does not let go: it may be older than the reason for the pause. `wam resume` does."""
    if change.field == "paused":
        return bool(change.before)
    return change.field == "paused_categories" and bool(set(change.before or ()) - set(change.after))


def _left_behind(key: FactKey, facts: AccountFacts) -> FactKey | None:
    """The same number under the account that owns it so far, if that is another one."""
    owner = facts.waba_of(key[2]) if key[0] == "number" else None
    return ("number", owner, key[2]) if owner is not None and owner != key[1] else None


def _two_defaults(wanted: Mapping[FactKey, Mapping[str, Any]], facts: AccountFacts) -> Iterator[str]:
    """A request without `from` must mean one number: one default per account, and one default account."""
    marked = {key: value.default for key, value in facts.known().items() if not isinstance(value, Template)}
    marked |= {key: fields["default"] for key, fields in wanted.items() if "default" in fields}
    moving = {key[2]: key[1] for key in wanted if key[0] == "number"}
    defaults: dict[str, list[str]] = {}
    for (subject, waba_id, id), default in sorted(marked.items()):
        left = subject == "number" and moving.get(id, facts.waba_of(id)) != waba_id
        if default and not left:
            defaults.setdefault("" if subject == "account" else waba_id, []).append(id)
    for waba_id, ids in defaults.items():
        if len(ids) > 1:
            what = (
                f"account {waba_id} would have more than one default number"
                if waba_id
                else "two default accounts"
            )
            yield f"{what}: {', '.join(ids)}"


def setting_event(key: FactKey, fields: dict[str, Any], facts: AccountFacts, now_ms: int) -> AccountChanged:
    """An operator sets fields of one subject: the same at the same revision has the same id, and it is the last writer."""
    settings = facts.settings_of(key)
    identity = msgspec.json.encode([key, fields, facts.revision], order="sorted")
    subject, waba_id, id = key
    return AccountChanged(
        event_id=f"applied:{hashlib.sha256(identity).hexdigest()[:32]}",
        at_ms=max(now_ms, *(settings[field].at_ms for field in fields if field in settings), 0),
        waba_id=waba_id,
        subject=subject,
        id=id,
        fields=fields,
        by="operator",
    )
