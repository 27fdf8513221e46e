"""What an account webhook changes in the fake Meta itself, so that its answers agree with what it told. Pure.

Fields without an effect on sending change nothing.
"""

from typing import Any

from services.simulator.accounts import CATEGORIES, Accounts, Template, Waba
from services.simulator.template_parameters import definition_fault

_PAUSES_S = {"FIRST_PAUSE": 3 * 3600, "SECOND_PAUSE": 6 * 3600}
"""How long a pause lasts, by `other_info.title` (Meta, template pausing)."""


def apply(accounts: Accounts, waba_id: str, field: str, value: dict[str, Any], now: float) -> None:
    """Take over a template's status, category and components, and restrictions, from a webhook's `value` at `now` (epoch seconds)."""
    waba = accounts.wabas.get(waba_id)
    if waba is None:
        return
    if field == "message_template_status_update":
        for template in _meant(accounts, waba, value):
            template.status = str(value.get("event", template.status))
            info = value.get("other_info")
            lasts_s = _PAUSES_S.get(str(info.get("title"))) if isinstance(info, dict) else None
            template.paused_until = None if lasts_s is None else now + lasts_s
    elif field == "template_category_update":
        for template in _meant(accounts, waba, value):
            _recategorise(template, value)
    elif field == "message_template_components_update":
        for template in _meant(accounts, waba, value):
            edited = _edited(template.components, value)
            if definition_fault(edited) is None:
                template.components = edited
    elif field == "account_update":
        _restrict(waba, value)


def status_update(template: Template, reason: str | None) -> dict[str, Any]:
    """The `value` that tells a template's present status."""
    return {
        "event": template.status,
        "message_template_id": int(template.id),
        "message_template_name": template.name,
        "message_template_language": template.language,
        "message_template_category": template.category.upper(),
        "reason": reason or "NONE",
    }


def _edited(components: list[dict[str, Any]], value: dict[str, Any]) -> list[dict[str, Any]]:
    """The components with the texts and buttons that the webhook tells; what it does not tell stays."""
    told: dict[str, dict[str, Any]] = {}
    if "message_template_title" in value:
        told["HEADER"] = {"type": "HEADER", "format": "TEXT", "text": str(value["message_template_title"])}
    if "message_template_element" in value:
        told["BODY"] = {"type": "BODY", "text": str(value["message_template_element"])}
    if "message_template_buttons" in value:
        names = {"type": "message_template_button_type", "text": "message_template_button_text"}
        names["url"] = "message_template_button_url"
        buttons = [
            {ours: button[theirs] for ours, theirs in names.items() if theirs in button}
            for button in value["message_template_buttons"]
            if isinstance(button, dict)
        ]
        told["BUTTONS"] = {"type": "BUTTONS", "buttons": buttons}
    kept = [component for component in components if str(component["type"]).upper() not in told]
    return [*told.values(), *kept]


def _recategorise(template: Template, value: dict[str, Any]) -> None:
    """`correct_category` announces one for `category_update_timestamp`; without it `new_category` holds at once."""
    at_once = "correct_category" not in value
    told = str(value.get("new_category" if at_once else "correct_category", "")).lower()
    for category in CATEGORIES:
        if category == told and at_once:
            template.category, template.next_category, template.next_category_from = category, None, None
        elif category == told:
            template.next_category = category
            template.next_category_from = float(value.get("category_update_timestamp", "inf"))


def _meant(accounts: Accounts, waba: Waba, value: dict[str, Any]) -> list[Template]:
    """By id, else by name, in the language named or in all."""
    template_id = str(value.get("message_template_id", ""))
    by_id = [t for t in waba.templates if t.id == template_id]
    language = value.get("message_template_language")
    return by_id or [t for _, t in accounts.named(str(value.get("message_template_name")), waba.id, language)]


def _restrict(waba: Waba, value: dict[str, Any]) -> None:
    event = value.get("event")
    if event == "ACCOUNT_RESTRICTION":
        given = value.get("restriction_info")
        infos = given if isinstance(given, list) else []
        told = {str(info.get("restriction_type")): info for info in infos if isinstance(info, dict)}
        waba.restrictions = sorted({*waba.restrictions, *told})
        ends = {name: int(info["expiration"]) for name, info in told.items() if info.get("expiration")}
        waba.restricted_until = {
            name: end for name, end in waba.restricted_until.items() if name not in told
        } | ends
    elif event in ("ACCOUNT_RECONNECTED", "DISABLED_UPDATE") and _reinstated(value):
        waba.restrictions, waba.restricted_until = [], {}


def _reinstated(value: dict[str, Any]) -> bool:
    if value["event"] == "ACCOUNT_RECONNECTED":
        return True
    ban = value.get("ban_info")
    state = ban.get("waba_ban_state") if isinstance(ban, dict) else None
    return "REINSTATE" in (state if isinstance(state, list) else [state])
