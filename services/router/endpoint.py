"""Where a message is posted: to `/messages`, or a marketing template to the Marketing Messages API. Pure.

A fallback never names a product policy: only a template message can, and it has no fallback.
Source: Meta, Marketing Messages API; Meta, Cloud API, error codes 131063, 134100.
"""

from shared.accounts import Account
from shared.events import Category, Endpoint, SendRequested


def endpoint_of(category: Category, request: SendRequested, account: Account) -> Endpoint:
    """The endpoint of an allowed message: marketing goes to the Marketing Messages API if its account or the message itself says so."""
    wanted = account.marketing_messages_api or request.product_policy is not None
    return "marketing_messages" if category == "marketing" and wanted else "messages"


def endpoint_refusal(category: Category, request: SendRequested, account: Account) -> str | None:
    """Why Meta would refuse the message at its endpoint, whatever is in it: a reason of `shared/reasons.py`, or None."""
    if category != "marketing":
        return None if request.product_policy is None else "not_marketing"
    closed = account.marketing_on_cloud_api_disabled and endpoint_of(category, request, account) == "messages"
    return "marketing_on_cloud_api_disabled" if closed else None
