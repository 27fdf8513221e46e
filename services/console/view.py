"""Facts and plans as plain JSON values, for the admin API and `--json`. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from services.console.growth import Growth, growth
from services.console.plan import Applied, FieldChange
from services.console.tally import money
from shared.accounts import UNLIMITED, Account, AccountFacts, Budget, FactKey, Number
from shared.template_definition import Shape
from shared.times import rfc3339


def accounts(facts: AccountFacts) -> dict[str, Any]:
    """All accounts with their numbers, templates and way to grow, each under its id, and the revision they are of."""
    known = sorted(facts.known().items())
    entries: dict[str, dict[str, Any]] = {}
    for (_, waba_id, _), _ in known:
        entries.setdefault(waba_id, {"id": waba_id, "numbers": [], "templates": []})
    for (subject, waba_id, id), value in known:
        fields = msgspec.to_builtins(value)
        entry = entries[waba_id]
        if subject == "account":
            entry |= fields
            entry["growth"] = msgspec.to_builtins(growth_of(waba_id, facts)._asdict())
        elif subject == "number" and facts.waba_of(id) == waba_id:
            entry["numbers"].append({"id": id, **fields})
        elif subject == "template":
            name, _, language = id.rpartition("/")
            entry["templates"].append({"name": name, "language": language, **fields})
    return {"revision": facts.revision, "accounts": list(entries.values())}


def growth_of(waba_id: str, facts: AccountFacts) -> Growth:
    """How an account comes to its next limit."""
    account = facts.account(waba_id) or Account()
    account = msgspec.structs.replace(account, messaging_limit=facts.messaging_limit(waba_id))
    own = [
        value
        for (_, waba, id), value in facts.known().items()
        if isinstance(value, Number) and waba == waba_id and facts.waba_of(id) == waba_id
    ]
    return growth(account, own)


def limit(users: int) -> str:
    """A messaging limit in words."""
    return "unlimited" if users == UNLIMITED else f"{users:,}"


def restrictions(account: Mapping[str, int | None]) -> str:
    """Meta's restrictions in words, each with its end if it has one."""
    texts = [
        kind if until_ms is None else f"{kind} until {rfc3339(until_ms)[:16].replace('T', ' ')}"
        for kind, until_ms in account.items()
    ]
    return ", ".join(texts) or "none"


def budgets(of_month: Iterable[Budget], currency: str) -> str:
    """A month's budgets in words: `500.00 USD of marketing, 900.00 USD in all`."""
    return ", ".join(
        f"{money(budget.amount_micros, currency)} {f'of {budget.category}' if budget.category else 'in all'}"
        for budget in of_month
    )


def alerts(thresholds: Iterable[int]) -> str:
    """At what percentages of its budgets an account is told of them: `alerts at 50, 80, 100 %`."""
    percents = ", ".join(map(str, sorted(thresholds)))
    return f"alerts at {percents} %" if percents else "no alerts"


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
        return ", ".join(map(_within, value)) or "none"
    if isinstance(value, dict):
        texts = (name if of is None else f"{name}: {_within(of)}" for name, of in value.items())
        return ", ".join(texts) or "none"
    return str(value) if value != "" else '""'


def _within(value: object) -> str:
    """A fact that is part of another."""
    if not isinstance(value, dict):
        return shown(value)
    return f"{{{shown({name: of for name, of in value.items() if of is not None})}}}"


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
