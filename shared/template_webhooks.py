"""What Meta's webhooks about a template say of it: a webhook's value and time in, the fields it sets out. Pure.

Every value may be missing or of another type than documented. Source: Meta, webhooks, message_template_status_update, _quality_update, _components_update
and template_category_update.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from shared.template_definition import InvalidDefinition, read_update
from shared.times import HOUR_MS

Value = Mapping[str, Any]

_PAUSES_MS: Mapping[str, int | None] = {
    "FIRST_PAUSE": 3 * HOUR_MS,
    "SECOND_PAUSE": 6 * HOUR_MS,
    "RATE_LIMITING_PAUSE": None,
}
"""How long a pause lasts, by `other_info.title`; one for pacing is ended by hand (Meta, template pausing)."""
_ENDED_BY_A_NEW_STATUS = ("paused_until_ms", "disabled_at_ms", "rejection_reason", "recommendation")


def _status(value: Value, at_ms: int) -> dict[str, Any]:
    """Each word on the status ends the pause, the rejection and the disabling that were told before it."""
    title = str(_object(value, "other_info").get("title"))
    status = str(value.get("event", "PENDING"))
    if status == "REINSTATED" or (status in ("PAUSED", "LOCKED") and title == "UNPAUSE"):
        status = "APPROVED"
    elif status == "LOCKED" and (title in _PAUSES_MS or title == "DISABLED"):
        status = "DISABLED" if title == "DISABLED" else "PAUSED"  # what it is locked by
    fields: dict[str, Any] = {**dict.fromkeys(_ENDED_BY_A_NEW_STATUS), "status": status, **_id(value)}
    if category := value.get("message_template_category"):
        fields["category"] = str(category).lower()
    if status == "REJECTED":
        rejection = _object(value, "rejection_info")
        fields["rejection_reason"] = _text(value.get("reason")) or _text(rejection.get("reason"))
        fields["recommendation"] = _text(rejection.get("recommendation"))
    elif status == "PAUSED" and (lasts_ms := _PAUSES_MS.get(title)) is not None:
        fields["paused_until_ms"] = at_ms + lasts_ms
    elif status == "DISABLED":
        fields["disabled_at_ms"] = _seconds_to_ms(_object(value, "disable_info").get("disable_date"))
    return fields


def _quality(value: Value, _: int) -> dict[str, Any]:
    return {"quality": str(value.get("new_quality_score")), **_id(value)}


def _category(value: Value, _: int) -> dict[str, Any]:
    """`new_category` is the current one; with it `correct_category` is only announced, for `category_update_timestamp`."""
    if not value.get("new_category"):
        return {}
    announced, from_ms = _text(value.get("correct_category")), None
    if announced is not None:
        from_ms = _seconds_to_ms(value.get("category_update_timestamp"))
    return {
        "category": str(value["new_category"]).lower(),
        "next_category": None if announced is None or from_ms is None else announced.lower(),
        "next_category_ms": from_ms,
        **_id(value),
    }


def _components(value: Value, _: int) -> dict[str, Any]:
    """The template was edited; where its new form can't be read, it is not known."""
    try:
        shape = msgspec.to_builtins(read_update(value))
    except InvalidDefinition:
        shape = None
    return {"parameters": shape, **_id(value)}


TEMPLATE_WEBHOOKS: Mapping[str, Callable[[Value, int], dict[str, Any]]] = MappingProxyType(
    {
        "message_template_status_update": _status,
        "message_template_quality_update": _quality,
        "template_category_update": _category,
        "message_template_components_update": _components,
    }
)
"""By the webhook's field: from its value and time (epoch ms) to the fields of the template it sets, none if it says nothing."""


def _id(value: Value) -> dict[str, str]:
    id_ = value.get("message_template_id")
    return {"meta_id": str(id_)} if id_ else {}


def _object(value: Value, name: str) -> Value:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _seconds_to_ms(value: object) -> int | None:
    """Epoch seconds, as a number or in digits, in milliseconds; None for anything else."""
    digits = str(value)
    return int(digits) * 1000 if digits.isdecimal() and len(digits) <= 12 else None
