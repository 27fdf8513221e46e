"""What Meta's answers say about an account, its numbers and its templates: Graph fields in, facts out. Pure.

The tables say which fields are asked for and what each means. A field that Meta leaves out, or a word that nobody here knows, says nothing.
Sources: Meta, Cloud API, phone numbers, message templates, health status, messaging limits; Meta, Graph API, WhatsApp Business Account.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from zoneinfo import available_timezones

from msgspec import UNSET

from shared import template_definition
from shared.accounts import limit_told

Node = Mapping[str, Any]
"""One object as the Graph API gives it."""


class Row(NamedTuple):
    """What Graph fields (None where Meta leaves one out) mean for one fact; UNSET is nothing."""

    graph: tuple[str, ...]
    fact: str
    read: Callable[..., Any]


COEXISTENCE_MPS = 20
"""A number that is also used in the WhatsApp Business app (Meta, Cloud API, throughput)."""

_MPS = {"STANDARD": 80, "HIGH": 1000}
"""Messages per second of a throughput level (Meta, Cloud API, throughput)."""

_UNVERIFIED = frozenset(
    {
        "expired",
        "failed",
        "ineligible",
        "not_verified",
        "pending",
        "pending_need_more_info",
        "pending_submission",
        "rejected",
        "revoked",
    }
)

_PAYMENT_ERRORS = frozenset({"131042", "131044", "141006"})
"""Codes of an entity of `health_status` that has no payment method Meta can charge (Meta, health status; Meta, Cloud API, error codes)."""


def _text(value: Any) -> Any:
    return value if isinstance(value, str) and value else UNSET


def _id(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _word(value: Any) -> Any:
    return value.upper() if isinstance(value, str) and value else UNSET


def _currency(value: Any) -> Any:
    return value if isinstance(value, str) and len(value) == 3 and value.isalpha() else UNSET


def _zone(value: Any) -> Any:
    """A zone's name. Where Meta gives only a number of its own, the accounts file has the say."""
    return value if isinstance(value, str) and value in _ZONES else UNSET


def _verified(value: Any) -> Any:
    word = value.lower() if isinstance(value, str) else None
    return True if word == "verified" else False if word in _UNVERIFIED else UNSET


def _limit(value: Any) -> Any:
    limit = limit_told(value)
    return UNSET if limit is None else limit


def _flag(value: Any) -> Any:
    return value if isinstance(value, bool) else UNSET


def _quality(value: Any) -> Any:
    word = _word(value)
    return "UNKNOWN" if word == "NA" else word


def _score(value: Any) -> Any:
    return _quality(value.get("score")) if isinstance(value, dict) else UNSET


def _registered(platform: Any) -> Any:
    """A number is ours to send from while the Cloud API is its platform."""
    word = _word(platform)
    return word if word is UNSET else word == "CLOUD_API"


def _throughput(value: Any, on_app: Any) -> Any:
    if on_app is True:
        return COEXISTENCE_MPS
    level = value.get("level") if isinstance(value, dict) else None
    return _MPS.get(level, UNSET) if isinstance(level, str) else UNSET


def _category(value: Any) -> Any:
    return value.lower() if isinstance(value, str) and value else UNSET


def _rejection(value: Any) -> Any:
    word = _word(value)
    return None if word == "NONE" else word


def _country(value: Any) -> Any:
    return (
        value if isinstance(value, str) and len(value) == 2 and value.isascii() and value.isupper() else UNSET
    )


def _shape(components: Any, parameter_format: Any) -> Any:
    """What messages of the template must have; not known where the definition can't be read."""
    if not isinstance(components, list) or not components:
        return UNSET
    try:
        return template_definition.read(
            components, parameter_format if isinstance(parameter_format, str) else None
        )
    except template_definition.InvalidDefinition:
        return None


_ZONES = frozenset(available_timezones())

ACCOUNT = (
    Row(("currency",), "currency", _currency),
    Row(("timezone_id",), "timezone", _zone),
    Row(("business_verification_status",), "business_verified", _verified),
    Row(("whatsapp_business_manager_messaging_limit",), "messaging_limit", _limit),
    Row(("primary_business_location",), "primary_location", _country),
    Row(("account_review_status",), "review", _word),
    Row(("disable_marketing_messages_on_cloud_api",), "marketing_on_cloud_api_disabled", _flag),
)
NUMBER = (
    Row(("display_phone_number",), "display_phone_number", _text),
    Row(("verified_name",), "verified_name", _text),
    Row(("name_status",), "name_status", _word),
    Row(("quality_rating",), "quality", _quality),
    Row(("status",), "status", _word),
    Row(("platform_type",), "registered", _registered),
    Row(("throughput", "is_on_biz_app"), "throughput", _throughput),
)
TEMPLATE = (
    Row(("status",), "status", _word),
    Row(("category",), "category", _category),
    Row(("quality_score",), "quality", _score),
    Row(("rejected_reason",), "rejection_reason", _rejection),
    Row(("components", "parameter_format"), "parameters", _shape),
    Row(("id",), "meta_id", _id),
)

HEALTH = "health_status"
ACCOUNT_FIELDS = ("id", HEALTH, *(name for row in ACCOUNT for name in row.graph))
NUMBER_FIELDS = (
    *("id", HEALTH, "whatsapp_business_manager_messaging_limit"),
    *(name for row in NUMBER for name in row.graph),
)
TEMPLATE_FIELDS = ("name", "language", *(name for row in TEMPLATE for name in row.graph))


def read(table: Iterable[Row], node: Node) -> dict[str, Any]:
    """The facts that a node tells."""
    found = ((row.fact, row.read(*map(node.get, row.graph))) for row in table)
    return {fact: value for fact, value in found if value is not UNSET}


def number_id(node: Node) -> str | None:
    """The `phone_number_id`, or None where the node has none."""
    found = _id(node.get("id"))
    return None if found is UNSET else found


def template_id(node: Node) -> str | None:
    """`name/language` as account events name a template, or None where either is missing."""
    name, language = _text(node.get("name")), _text(node.get("language"))
    return None if UNSET in (name, language) else f"{name}/{language.replace('-', '_')}"


def limit_of(numbers: Iterable[Node]) -> dict[str, int]:
    """The portfolio's messaging limit as its numbers tell it, for accounts that do not: all of them have the same."""
    for node in numbers:
        limit = _limit(node.get("whatsapp_business_manager_messaging_limit"))
        if limit is not UNSET:
            return {"messaging_limit": limit}
    return {}


def can_charge(nodes: Iterable[Node]) -> bool | None:
    """Whether the health of an account and its numbers shows a payment method that Meta can charge; None: it says nothing.

    A payment error of any entity that is not available says no; yes is said by an account that can send.
    """
    verdict = None
    for node in nodes:
        health = node.get(HEALTH)
        if not isinstance(health, dict):
            continue
        listed = health.get("entities")
        entities = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
        if any(e.get("can_send_message") != "AVAILABLE" and _lacks_payment(e) for e in entities):
            return False
        accounts = [e for e in entities if e.get("entity_type") == "WABA"] or [health]
        if any(e.get("can_send_message") == "AVAILABLE" for e in accounts):
            verdict = True
    return verdict


def _lacks_payment(entity: Node) -> bool:
    errors = entity.get("errors")
    return isinstance(errors, list) and any(
        isinstance(error, dict) and str(error.get("error_code")) in _PAYMENT_ERRORS for error in errors
    )
