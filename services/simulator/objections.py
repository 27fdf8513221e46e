"""What Meta objects to in a well-formed message: template, window, restrictions, payment; the first fault. Pure.

Source: Meta, Cloud API, error codes; Meta, customer service windows.
"""

from collections.abc import Callable
from math import inf

from services.simulator.accounts import Template, Waba
from services.simulator.conversations import Thread, entry_point_open, window_open
from services.simulator.errors import GraphError
from services.simulator.messages import Send
from services.simulator.template_parameters import parameter_fault

_USABLE = ("APPROVED", "FLAGGED", "REINSTATED", "UNARCHIVED")


def unknown_object(object_id: str) -> GraphError:
    """The error for an id nobody has."""
    return GraphError(
        100,
        f"Object with ID '{object_id}' does not exist, cannot be loaded due to missing permissions, or does not support this operation.",
        subcode=33,
    )


def template_fault(send: Send, template: Template | None, now: float) -> GraphError | None:
    """What is wrong with sending that template at `now` (epoch seconds); None is the registry's answer for one it does not hold."""
    if template is None:
        return GraphError(132001, f"template name ({send.template}) does not exist in {send.language}")
    status = template.status_at(now)
    if status == "PAUSED":
        return GraphError(132015, "Template is paused due to low quality.")
    if status == "DISABLED":
        return GraphError(132016, "Template is disabled.")
    if status not in _USABLE:
        return GraphError(132001, f"template name ({send.template}) is not approved in {send.language}")
    if template.parameters is not None and template.parameters != send.body_parameters:
        return GraphError(
            132000,
            f"body: number of localizable_params ({send.body_parameters}) does not match "
            f"the expected number of params ({template.parameters})",
        )
    if template.components:
        fault = parameter_fault(template.components, template.parameter_format, send.components)
        if fault is not None:
            return fault
    if send.bsuid and template.category_at(now) == "authentication":
        return GraphError(131062, "Authentication templates need a phone number.")
    return None


def endpoint_fault(waba: Waba, send: Send, template: Template | None, now: float) -> GraphError | None:
    """What is wrong with the endpoint a template was posted to."""
    marketing = template is not None and template.category_at(now) == "marketing"
    if send.endpoint == "marketing_messages" and not marketing:
        return GraphError(134100, "Only marketing messages are supported by this endpoint.")
    if send.endpoint == "messages" and marketing and waba.disable_marketing_messages_on_cloud_api:
        return GraphError(131063, "Marketing templates of this account go out by Marketing Messages API.")
    return None


def account_fault(
    waba: Waba, user: str, thread: Thread, now: float, *, initiated: bool, would_cost: Callable[[], bool]
) -> GraphError | None:
    """What forbids the account to write to the user now.

    Args:
        waba: the account.
        user: whom it writes to.
        thread: what was between the number and the user so far.
        now: epoch seconds.
        initiated: whether the business begins (a template), else it answers.
        would_cost: whether an answer would be charged; asked only without a payment method.
    """
    if not initiated and not window_open(thread, now):
        return GraphError(
            131047,
            "Message failed to send because more than 24 hours have passed since the customer last replied.",
        )
    restricted = (
        "RESTRICTED_BIZ_INITIATED_MESSAGING" if initiated else "RESTRICTED_CUSTOMER_INITIATED_MESSAGING"
    )
    if restricted in waba.restrictions and now < waba.restricted_until.get(restricted, inf):
        return GraphError(
            368, "The account is restricted from this kind of messaging for violating a policy."
        )
    if waba.payment_method == "valid":
        return None
    if initiated and not entry_point_open(thread, now):
        return GraphError(131042, "Message failed to send because of a missing or failing payment method.")
    if waba.verified_receivers is not None and user not in waba.verified_receivers:
        return GraphError(131030, "Recipient phone number not in allowed list.")
    if not initiated and would_cost():
        return GraphError(131042, "The free tier is used up and there is no valid payment method.")
    return None
