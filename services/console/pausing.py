"""An operator's pause: what is to be paused or resumed in, the account event that says so out. Pure."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from services.console.plan import setting_event
from shared.accounts import AccountFacts, FactKey, template_id
from shared.events import AccountChanged

Kind = Literal["account", "number", "template", "category"]
CATEGORIES = ("marketing", "utility", "authentication", "service")


class UnknownSubject(ValueError):
    """Nobody set up what is to be paused; the text says what."""


class Pause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to pause, or with `paused` false to resume.

    `id` is the account, the phone_number_id, the template's `name/language` or the category's name; the last two need their account, `waba_id`.
    """

    kind: Kind
    id: str
    waba_id: str | None = None
    paused: bool = True
    reason: str | None = None


def pause_event(pause: Pause, facts: AccountFacts, now_ms: int) -> AccountChanged | None:
    """The event that brings the pause about; None when it is so already. `now_ms` is epoch milliseconds.

    Raises:
        UnknownSubject: no such account, number, template or category.
    """
    key = _key(pause, facts)
    known = facts.known().get(key)
    if known is None:
        raise UnknownSubject(
            f"no {key[0]} {key[2]} is known" + (f" in account {key[1]}" if key[0] == "template" else "")
        )
    current: dict[str, Any] = msgspec.structs.asdict(known)
    wanted: dict[str, Any] = {"paused": pause.paused}
    if pause.kind == "category":
        wanted = _category(pause, current)
    after = current | wanted
    held = after["paused"] or after.get("paused_categories")
    if pause.paused:
        wanted["pause_reason"] = pause.reason
    elif not held:
        wanted["pause_reason"] = None
    fields = {name: value for name, value in wanted.items() if current[name] != value}
    return setting_event(key, fields, facts, now_ms) if fields else None


def _key(pause: Pause, facts: AccountFacts) -> FactKey:
    if pause.kind == "account":
        return ("account", pause.id, pause.id)
    if pause.kind == "number":
        return ("number", facts.waba_of(pause.id) or "", pause.id)
    if pause.waba_id is None:
        raise UnknownSubject(f"a {pause.kind} needs its account")
    if pause.kind == "template":
        return ("template", pause.waba_id, template_id(pause.id))
    if pause.id not in CATEGORIES:
        raise UnknownSubject(f"no category {pause.id}; there are {', '.join(CATEGORIES)}")
    return ("account", pause.waba_id, pause.waba_id)


def _category(pause: Pause, account: Mapping[str, Any]) -> dict[str, Any]:
    others = {name for name in account["paused_categories"] if name != pause.id}
    return {"paused_categories": sorted(others | ({pause.id} if pause.paused else set()))}
