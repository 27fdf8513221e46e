"""Where a message is posted: to `/messages`, or a marketing template to the Marketing Messages API. Pure.

Source: Meta, Marketing Messages API; Meta, Cloud API, error codes 131063, 134100.
"""

from shared.accounts import Account
from shared.events import Category, Endpoint, SendRequested


def endpoint_of(
    category: Category, request: SendRequested, account: Account, *, used_fallback: bool
) -> Endpoint:
    """The endpoint of an allowed message: marketing goes to the Marketing Messages API if its account or the message itself says so."""
    wanted = account.marketing_messages_api or _names_policy(request, used_fallback=used_fallback)
    return "marketing_messages" if category == "marketing" and wanted else "messages"


def endpoint_refusal(
    category: Category, request: SendRequested, account: Account, *, used_fallback: bool
) -> str | None:
    """Why Meta would refuse the message at its endpoint, whatever is in it: a reason of `shared/reasons.py`, or None."""
    if category != "marketing":
        return "not_marketing" if _names_policy(request, used_fallback=used_fallback) else None
    endpoint = endpoint_of(category, request, account, used_fallback=used_fallback)
    closed = endpoint == "messages" and account.marketing_on_cloud_api_disabled
    return "marketing_on_cloud_api_disabled" if closed else None


def _names_policy(request: SendRequested, *, used_fallback: bool) -> bool:
    """Whether what goes out names a product policy; a fallback is a message of its own and names none."""
    return request.product_policy is not None and not used_fallback
