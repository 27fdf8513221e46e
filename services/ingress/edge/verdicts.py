"""What became of a request that did not go out in; the edge's refusal with the nearest of Meta's codes out. Pure."""

from collections.abc import Mapping
from typing import Final

from services.ingress.edge.book import Known
from services.ingress.edge.errors import INVALID, Refusal
from shared.events import SendError
from shared.reasons import FAILURES, META_CODES, REASONS
from shared.times import parse_rfc3339

CODES: Mapping[str, int] = {
    **META_CODES,
    "malformed": INVALID,
    "idempotency_conflict": INVALID,
    "request_expired": 131000,
    "number_restricted": 131031,
    "paused_by_operator": 131016,
    "recipient_invalid": 131026,
    "predecessor_failed": 131000,
    "sender_not_default": 131005,
    "marketing_not_allowed": 131049,
    "tier_limit_reached": 131048,
    "rate_unknown": 131000,
    "max_price_exceeded": 131042,
    "budget_exceeded": 131042,
    "cancelled": 131000,
    "refused_for_now": 131016,
    "expired": 131000,
    "backlog": 130429,
}
"""Where Meta has no such rule, the code whose readers do the right thing; our reason stands in `details`."""
_OTHER: Final = 131000
_WITH_TIME: Final = frozenset({"tier_limit_reached", "backlog"})
"""Of refusals that pass with time and are worth 429: later the same call may pass."""
_OURS: Final = 400


def conflict() -> Refusal:
    """The request's id was used for another one."""
    known = REASONS["idempotency_conflict"]
    return Refusal(INVALID, "idempotency_conflict", f"{known.meaning} {known.fix}", status=409)


def refusal(known: Known, now_ms: int) -> Refusal:
    """The refusal of a request whose standing is refused, failed or cancelled, or that conflicts."""
    if known.conflict:
        return conflict()
    if known.error is not None:
        return _of_error(known.error, now_ms)
    reason = known.decision.reason if known.decision is not None else "cancelled"
    if reason == "idempotency_conflict":
        return conflict()
    return _of_error(SendError(origin="policy", reason=reason), now_ms)


def _of_error(error: SendError, now_ms: int) -> Refusal:
    told = REASONS.get(error.reason) or FAILURES.get(error.reason)
    words = [error.message or (told.meaning if told else ""), error.fix or (told.fix if told else "")]
    text = " ".join(word for word in words if word)
    after_s = None
    if error.retry_at is not None:
        after_s = max(1.0, (parse_rfc3339(error.retry_at) - now_ms) / 1000)
    if error.origin == "meta":
        return Refusal(error.code or _OTHER, error.reason, text, retry_after_s=after_s)
    return Refusal(
        CODES.get(error.reason, _OTHER),
        error.reason,
        text,
        status=429 if error.reason in _WITH_TIME else _OURS,
        retry_after_s=after_s,
    )
