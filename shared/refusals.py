"""What Meta's refusal of one message says of its account or number, so that the router refuses before Meta does. Pure."""

from typing import Any, Literal

from shared.accounts import Account, Number
from shared.times import HOUR_MS

Subject = Literal["account", "number"]
PAYMENT_BELIEVED_FAILING_MS = HOUR_MS
"""So long a refused payment keeps paid messages back; then the next one shows whether it was mended, for Meta sends no word of that."""

_FACTS: dict[str, tuple[Subject, dict[str, Any]]] = {
    "payment_method_missing": ("account", {"payment_method": "failing"}),
    "number_not_registered": ("number", {"registered": False}),
}
"""By the reason of the error table."""


def is_a_fact(reason: str) -> bool:
    """Whether refusals for this reason become facts."""
    return reason in _FACTS


def learnt(
    reason: str, account: Account | None, number: Number | None, now_ms: int
) -> tuple[Subject, dict[str, Any]] | None:
    """The fields to set, and of what; None where they say nothing new, or of nobody known."""
    if reason not in _FACTS:
        return None
    subject, fields = _FACTS[reason]
    known = account if subject == "account" else number
    if "payment_method" in fields:
        if account is not None and not account.can_pay(now_ms):
            return None
        fields = fields | {"payment_failing_until_ms": now_ms + PAYMENT_BELIEVED_FAILING_MS}
    if known is None or all(getattr(known, name) == value for name, value in fields.items()):
        return None
    return subject, fields
