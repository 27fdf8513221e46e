"""Facts and plans as plain JSON values, for the admin API and `--json`. Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec

from services.console.plan import Applied, FieldChange
from shared.accounts import AccountFacts, FactKey
from shared.template_definition import Shape


def accounts(facts: AccountFacts) -> dict[str, Any]:
    """All accounts with their numbers and templates, each under its id, and the revision they are of."""
    known = sorted(facts.known().items())
    entries: dict[str, dict[str, Any]] = {}
    for (_, waba_id, _), _ in known:
        entries.setdefault(waba_id, {"id": waba_id, "numbers": [], "templates": []})
    for (subject, waba_id, id), value in known:
        fields = msgspec.to_builtins(value)
        entry = entries[waba_id]
        if subject == "account":
            entry |= fields
        elif subject == "number" and facts.waba_of(id) == waba_id:
            entry["numbers"].append({"id": id, **fields})
        elif subject == "template":
            name, _, language = id.rpartition("/")
            entry["templates"].append({"name": name, "language": language, **fields})
    return {"revision": facts.revision, "accounts": list(entries.values())}


def applied(outcome: Applied, *, dry_run: bool) -> dict[str, Any]:
    """What a file changed, or with `dry_run` would change."""
    plan = outcome.plan
    return {
        "dry_run": dry_run,
        "revision": outcome.revision,
        "published": outcome.published,
        "changes": [_change(change) for change in plan.changes],
        "kept": [{**_change(kept.change), "set_by": kept.by} for kept in plan.kept],
        "conflicts": list(plan.conflicts),
        "unmanaged": [_subject(key) for key in plan.unmanaged],
    }


def named(key: FactKey) -> str:
    """`number 106540352242922`: a subject in words."""
    return f"{key[0]} {key[2]}"


def shown(value: object) -> str:
    """A fact in words, as YAML would have it."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Shape):
        return _shape(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) if value != "" else '""'


def changed_fields(changes: tuple[FieldChange, ...]) -> Iterator[str]:
    """`number 106540352242922 status`, one for each change: what the audit line names."""
    return (f"{named(change.key)} {change.field}" for change in changes)


def _change(change: FieldChange) -> dict[str, Any]:
    before, after = msgspec.to_builtins((change.before, change.after))
    return {**_subject(change.key), "field": change.field, "before": before, "after": after}


def _shape(shape: Shape) -> str:
    """What a message must bring: `header image; body first_name, city; button 0 url`."""
    parts = []
    if shape.header and (shape.header != "TEXT" or shape.header_variables):
        parts.append(" ".join(("header", shape.header.lower(), *shape.header_variables)))
    if shape.body:
        parts.append(f"body {', '.join(shape.body)}")
    for index, button in enumerate(shape.buttons or []):
        if button.variable or button.type in ("COPY_CODE", "FLOW", "MPM", "ORDER_DETAILS"):
            parts.append(f"button {index} {button.type.lower()}")
    if shape.cards:
        parts.append(f"{len(shape.cards)} cards")
    return "; ".join(parts) or "no parameters"


def _subject(key: FactKey) -> dict[str, str]:
    return {"subject": key[0], "waba_id": key[1], "id": key[2]}
