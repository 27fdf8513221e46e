"""What an entry of the ledger tells of its message: which one, which of its entries it is, and the message's state after it. Pure."""

import msgspec

from services.billing.charge import posted
from services.billing.ledger import Remembered
from services.billing.meta_pricing import CONVERSATION_BASED
from shared.events import LedgerEntry, MetaPricing
from shared.times import parse_rfc3339

_CHARGE, _CORRECTION = ":charge", ":correction:"
_decode_pricing = msgspec.json.Decoder(MetaPricing | None).decode


def message_of(entry: LedgerEntry) -> str:
    """The message (or conversation) that the ledger counts it for, as `LedgerFold.key` names it."""
    if entry.request_id is None and entry.conversation_id and entry.meta_pricing is not None:
        pricing = _decode_pricing(entry.meta_pricing)
        if pricing is not None and pricing.pricing_model == CONVERSATION_BASED:
            return f"conversation:{entry.conversation_id}"
    return entry.wamid


def index_of(entry: LedgerEntry) -> int:
    """Which of its message's entries it is, from 0; -1 where its id does not say."""
    if entry.event_id.endswith(_CHARGE):
        return 0
    _, found, number = entry.event_id.rpartition(_CORRECTION)
    return int(number) if found and number.isdecimal() else -1


def after(state: Remembered | None, entry: LedgerEntry, index: int) -> Remembered:
    """The message once the entry is in, as far as the ledger alone tells."""
    pricing = _decode_pricing(entry.meta_pricing) if entry.meta_pricing is not None else None
    if pricing is None and state is not None:
        pricing = state.pricing
    expected = entry.predicted
    return Remembered(
        charge=posted(state.charge if state is not None else None, entry),
        entries=max(index + 1, state.entries if state is not None else 0),
        foreseen=expected is not None or (entry.v < 2 and entry.request_id is not None),
        pricing=pricing,
        said=(0, parse_rfc3339(entry.at)),
        predicted=(expected.category, expected.type, expected.amount_micros)
        if expected is not None
        else None,
    )
