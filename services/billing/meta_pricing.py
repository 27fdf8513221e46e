"""What Meta's status object says about the price of a delivered message. Pure."""

from typing import NamedTuple

import msgspec

from shared.events import MetaPricing, OptionalRaw, SendEvent

CONVERSATION_BASED = "CBP"
"""`pricing_model` where conversations are charged; all messages of one repeat its pricing (Meta, webhooks, `pricing`)."""

_NOT_DELIVERED = frozenset({"sent", "failed", "deleted", "warning"})
"""Meta charges at delivery: pricing on these says what a delivery would cost (Meta, pricing)."""


class _Conversation(msgspec.Struct, frozen=True):
    id: str | None = None


class _Status(msgspec.Struct, frozen=True):
    status: str | None = None
    pricing: OptionalRaw = None
    conversation: _Conversation | None = None


class Billed(NamedTuple):
    """Meta's pricing of a delivered message, read and as it came, with the id of its conversation where the status names one."""

    pricing: MetaPricing
    as_it_came: msgspec.Raw
    conversation_id: str | None


_decode = msgspec.json.Decoder(_Status).decode
_decode_pricing = msgspec.json.Decoder(MetaPricing | None).decode


def billed(event: SendEvent) -> Billed | None:
    """Read `meta`; None when it prices no delivery.

    A status of a shape that nobody knows prices nothing either: the charge then stays predicted, and the comparison of predicted and
    billed shows it.
    """
    if event.meta is None:
        return None
    try:
        status = _decode(event.meta)
        if status.pricing is None or status.status in _NOT_DELIVERED:
            return None
        pricing = _decode_pricing(status.pricing)
    except msgspec.MsgspecError:
        return None
    if pricing is None:
        return None
    return Billed(pricing, status.pricing, status.conversation.id if status.conversation else None)


def is_free(pricing: MetaPricing) -> bool | None:
    """Whether Meta charges nothing; None when it does not say. `billable` is going away, `type` stays (Meta, webhooks)."""
    if pricing.billable is not None:
        return not pricing.billable
    return None if pricing.type is None else pricing.type != "regular"
