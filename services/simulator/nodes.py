"""Accounts, numbers and templates as the Graph API shows them. Pure.

Sources: Meta, Cloud API, phone numbers, message templates; Meta, health status.
"""

from typing import Any

from services.simulator.accounts import Number, Template, Waba

Node = dict[str, Any]
_NO_PAYMENT = {
    "error_code": 141006,
    "error_description": "There is an error with the payment method. This will block business initiated conversations.",
    "possible_solution": "There was an error with your payment method. Please add a new payment method to the account.",
}


def waba_node(waba: Waba) -> Node:
    """An account."""
    node: Node = {
        "id": waba.id,
        "name": waba.name,
        "currency": waba.currency,
        "timezone_id": waba.timezone,
        "account_review_status": "APPROVED",
        "business_verification_status": waba.business_verification,
        "disable_marketing_messages_on_cloud_api": waba.disable_marketing_messages_on_cloud_api,
        "health_status": _health([_waba_health(waba)]),
    }
    if waba.numbers:
        node["whatsapp_business_manager_messaging_limit"] = waba.numbers[0].messaging_limit
    if waba.primary_business_location:
        node["primary_business_location"] = waba.primary_business_location
    return node


def number_node(waba: Waba, number: Number) -> Node:
    """A number of an account."""
    health = {
        "entity_type": "PHONE_NUMBER",
        "id": number.id,
        "can_send_message": "AVAILABLE" if number.registered else "BLOCKED",
    }
    return {
        "id": number.id,
        "display_phone_number": number.display_phone_number,
        "verified_name": number.verified_name,
        "quality_rating": number.quality_rating,
        "quality_score": {"score": number.quality_rating},
        "code_verification_status": "VERIFIED" if number.code_verified else "NOT_VERIFIED",
        "name_status": number.name_status,
        "status": number.status if number.registered else "PENDING",
        "platform_type": "CLOUD_API" if number.registered else "NOT_APPLICABLE",
        "account_mode": "LIVE",
        "is_on_biz_app": number.on_app,
        "throughput": {"level": number.throughput},
        "whatsapp_business_manager_messaging_limit": number.messaging_limit,
        "health_status": _health([health, _waba_health(waba)]),
    }


def template_node(template: Template) -> Node:
    """A template."""
    return {
        "id": template.id,
        "name": template.name,
        "language": template.language,
        "status": template.status,
        "category": template.category.upper(),
        "components": template.components,
        "parameter_format": (template.parameter_format or "POSITIONAL").upper(),
        "rejected_reason": template.rejected_reason,
        "quality_score": {"score": template.quality_score},
    }


def _waba_health(waba: Waba) -> Node:
    entity: Node = {"entity_type": "WABA", "id": waba.id}
    if waba.payment_method != "valid":
        return entity | {"can_send_message": "BLOCKED", "errors": [_NO_PAYMENT]}
    return entity | {"can_send_message": "LIMITED" if waba.restrictions else "AVAILABLE"}


def _health(entities: list[Node]) -> Node:
    """The worst of the entities is the whole's."""
    entities = [*entities, {"entity_type": "BUSINESS", "id": "1", "can_send_message": "AVAILABLE"}]
    said = {entity["can_send_message"] for entity in entities}
    worst = next(word for word in ("BLOCKED", "LIMITED", "AVAILABLE") if word in said)
    return {"can_send_message": worst, "entities": entities}
