"""What a delivered message costs: from a regime, its conversation and the free tier to a charge. Pure.

Written apart from the product's own pricing on purpose: the product's tally is checked against it.
Source: Meta, WhatsApp Business Platform, pricing (2023-06-01 to 2026-10-01).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

ENTRY_POINT = "referral_conversion"


@dataclass(frozen=True, slots=True)
class PricingModel:
    """The rules of one regime."""

    name: str
    unit: Literal["conversation", "message"]
    free_service: int | None
    """Free service units a month; None: service is always free."""
    free_scope: Literal["waba", "number"] = "waba"
    utility_in_window_free: bool = False

    @property
    def wire_name(self) -> str:
        """`pricing_model` of a status."""
        return "CBP" if self.unit == "conversation" else "PMP"


_GUIDE = PricingModel("guide", "conversation", 1000)
_BY_DATE: list[tuple[str, PricingModel]] = [
    ("2023-06-01", PricingModel("2023-06-01", "conversation", 1000)),
    ("2024-11-01", PricingModel("2024-11-01", "conversation", None)),
    ("2025-07-01", PricingModel("2025-07-01", "message", None, utility_in_window_free=True)),
    ("2026-10-01", PricingModel("2026-10-01", "message", 1000, free_scope="number")),
]
_BY_NAME = {"guide": _GUIDE, **dict(_BY_DATE)}
REGIMES = (*_BY_NAME, "calendar")


@lru_cache(maxsize=4096)
def local_day(at: float, timezone: str) -> str:
    """The date (YYYY-MM-DD) of epoch seconds in the account's time zone: it rules regimes and months."""
    return datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(timezone)).date().isoformat()


def model_for(regime: str, day: str) -> PricingModel:
    """The rules of a regime on a day; `calendar` follows Meta's dates (KeyError: unknown regime)."""
    if regime != "calendar":
        return _BY_NAME[regime]
    applicable = [model for since, model in _BY_DATE if since <= day]
    return applicable[-1] if applicable else _BY_DATE[0][1]


@dataclass(frozen=True, slots=True)
class Charge:
    """What one delivery costs and how a status tells it."""

    category: str
    billable: bool
    type: str
    """PMP's `type`: regular, free_customer_service, free_entry_point."""
    uses_free_tier: bool
    counted: bool
    """Whether it is a unit of the regime: an opened conversation, or a message."""


def charge(
    model: PricingModel, *, category: str, opened: bool, conversation_category: str, conversation_free: bool,
    in_window: bool, free_left: int,
) -> Charge:  # fmt: skip
    """Price one delivery.

    Args:
        model: the regime's rules on the day of delivery.
        category: the message's own: the template's, or `service`.
        opened: whether this delivery opened its conversation.
        conversation_category: the conversation's, `referral_conversion` for a free entry point.
        conversation_free: whether the conversation it reuses was free.
        in_window: whether the customer service window was open.
        free_left: free service units left this month in the regime's scope.
    """
    if conversation_category == ENTRY_POINT:
        counted = opened if model.unit == "conversation" else True
        return Charge(ENTRY_POINT, False, "free_entry_point", False, counted)
    if model.unit == "conversation":
        if not opened:
            kind = "free_customer_service" if conversation_free else "regular"
            return Charge(conversation_category, not conversation_free, kind, False, False)
        free = category == "service" and (model.free_service is None or free_left > 0)
        uses = free and model.free_service is not None
        return Charge(category, not free, "free_customer_service" if free else "regular", uses, True)
    if category == "service":
        free = model.free_service is None or free_left > 0
        uses = free and model.free_service is not None
    else:
        free = category == "utility" and in_window and model.utility_in_window_free
        uses = False
    return Charge(category, not free, "free_customer_service" if free else "regular", uses, True)
