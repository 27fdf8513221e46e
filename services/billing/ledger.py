"""The ledger: send events in, one entry per charge and one or two per correction out; one of 0 where Meta confirms what was predicted. Pure.

The state of a message is what the ledger holds for it. What Meta says wins over what was predicted, whichever comes first; an
event seen again changes nothing.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from services.billing.charge import (
    Charge,
    Delivery,
    Posting,
    billed_as,
    posted,
    postings,
    predicted,
    unforeseen,
)
from services.billing.meta_pricing import CONVERSATION_BASED, Billed, billed
from shared.accounts import Account, AccountFacts
from shared.events import (
    LedgerEntry,
    MetaPricing,
    PredictedCost,
    SendEvent,
    decode_ledger_entry,
    decode_send_event,
    encode,
)
from shared.ids import conversation_key
from shared.phone import country_of
from shared.pricing import PriceBook
from shared.stream.fold import Grants, Outgoing, Rank, Step
from shared.times import DAY_MS, from_ms, parse_rfc3339, rfc3339
from shared.topics import BILLING_CHARGES

FORGET = "forget"
"""The sorted set of a partition's messages by the time they are forgotten; `forgetting.py` does it."""

CORRECTABLE_MS = 60 * DAY_MS
"""How long a predicted charge waits for Meta's word: beyond the invoice of its month."""

SETTLED_MS = 17 * DAY_MS
"""How long a charge that Meta has priced is remembered against repetitions and for corrections: the router knows a message for 8 days after its
delivery, once it was read within them for 8 more, and tells no price afterwards; a day for delays."""

_PRICED = frozenset({"delivered", "read", "played", "priced"})


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a message.

    Attributes:
        charge: what the ledger holds, or would if it counted.
        entries: how many entries it has; the next is the charge itself (0) or correction `entries`.
        foreseen: whether the router's prediction is in.
        pricing: Meta's latest word, and
        said: (seq, epoch ms) of the event that brought it.
        predicted: category, type and millionths that were predicted, once it is foreseen.
        tags: the request's; the router's events no longer have them once the message has ended.
    """

    charge: Charge
    entries: int
    foreseen: bool
    pricing: MetaPricing | None
    said: tuple[int, int]
    predicted: tuple[str, str, int] | None = None
    tags: dict[str, str] = {}


_encode_state = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(Remembered).decode


class LedgerFold:
    """The pure part of the ledger's processor; a `shared.stream.fold.Fold`.

    Args:
        book: regimes and rate cards.
        pseudonym: the keyed hash that stands for a user (`shared.logs.hasher`): the ledger is kept for ever and must not name anyone.
    """

    def __init__(self, book: PriceBook, pseudonym: Callable[[str], str]) -> None:
        self._book = book
        self._pseudonym = pseudonym

    def decode(self, value: bytes) -> SendEvent:
        """A send event; msgspec's errors for what is none."""
        return decode_send_event(value)

    def key(self, record_key: str, event: SendEvent) -> str:
        """The wamid; for a message that is not ours, its conversation where conversations are charged."""
        if event.event not in _PRICED or event.wamid is None:
            return ""
        return _key(event, billed(event) if event.request_id is None else None)

    def fold(
        self, state: Remembered | None, event: SendEvent, facts: AccountFacts, grants: Grants
    ) -> Step[Remembered]:
        """The entries that the event calls for, and the message as remembered after them."""
        if event.event not in _PRICED or event.wamid is None:
            return Step(state)
        at_ms = parse_rfc3339(event.at)
        word = billed(event)
        new = self._remember(state, event, word, at_ms, facts)
        if new is None or new is state:
            return Step(state)
        key = _key(event, word)
        if grants.recalled is not None:
            return _step(key, _recall(state, new, grants.recalled.events), at_ms)
        held = _in_ledger(state)
        changes = postings(held, new.charge)
        if not changes and held is not None:
            new = msgspec.structs.replace(new, charge=held)
            if state is not None and not held.empty and _is_vouched(state, new):
                changes = (Posting(held, 0, 0, 0),)
        entries = tuple(
            self._entry(event, word, new, posting, new.entries + index)
            for index, posting in enumerate(changes)
        )
        counted = msgspec.structs.replace(new, entries=new.entries + len(entries))
        return _step(key, counted, at_ms, entries)

    def malformed(self, record_key: str, value: bytes, reason: str) -> tuple[Outgoing, ...]:
        """Nothing: a send event that can't be read is parked for an operator."""
        return ()

    def encode_state(self, state: Remembered) -> bytes:
        """The state as MessagePack, some 200 bytes."""
        return _encode_state(state)

    def decode_state(self, value: bytes) -> Remembered:
        """What `encode_state` made."""
        return _decode_state(value)

    def _remember(
        self, state: Remembered | None, event: SendEvent, word: Billed | None, at_ms: int, facts: AccountFacts
    ) -> Remembered | None:
        """The message after what the event says of it; the very same state if that is nothing new."""
        foreseen = event.charge if event.charge is not None and not (state and state.foreseen) else None
        said = (event.seq, at_ms)
        known = state is not None and state.pricing is not None and said <= state.said
        news = None if known else word
        delivered_ms = state.charge.delivered_ms if state is not None and foreseen is None else 0
        delivery = Delivery(
            _user(event), from_ms(delivered_ms or at_ms), facts.account(event.waba_id or "") or Account()
        )
        expected = state.predicted if state is not None else None
        if foreseen is not None:
            charge = predicted(foreseen, delivery)
            expected = (charge.category, charge.type, charge.amount_micros)
        elif news is None:
            return state
        else:
            charge = state.charge if state is not None else unforeseen(news, delivery, self._book)
        pricing = news.pricing if news else state.pricing if state else None
        if pricing is not None:
            charge = billed_as(charge, pricing, delivery, self._book)
        return Remembered(
            charge=charge,
            entries=state.entries if state else 0,
            foreseen=foreseen is not None or (state is not None and state.foreseen),
            pricing=pricing,
            said=said if news else state.said if state else (0, 0),
            predicted=expected,
            tags=event.tags or (state.tags if state else {}),
        )

    def _entry(
        self, event: SendEvent, word: Billed | None, message: Remembered, posting: Posting, index: int
    ) -> Outgoing:
        kind: Literal["charge", "correction", "unattributed"]
        kind = "correction" if index else "charge" if event.request_id is not None else "unattributed"
        charge = posting.charge
        user = _user(event)
        user_ref = self._pseudonym(user)
        expected = _expected(message)
        entry = LedgerEntry(
            event_id=f"{event.wamid}:correction:{index}" if index else f"{event.wamid}:charge",
            entry=kind,
            at=event.at,
            month=charge.month,
            waba_id=event.waba_id or "",
            phone_number_id=event.phone_number_id or "",
            user_ref=user_ref,
            wamid=event.wamid or "",
            request_id=event.request_id,
            conversation_id=charge.conversation_id,
            unit=charge.unit,
            category=charge.category,
            market=charge.market,
            regime=charge.regime,
            rate_card=charge.rate_card,
            type=charge.type,
            free=charge.free,
            counts=posting.counts,
            amount_micros=posting.amount_micros,
            currency=charge.currency,
            basis="predicted" if message.pricing is None else "meta",
            tags=message.tags,
            delivered_at=rfc3339(charge.delivered_ms),
            day=charge.day,
            country=country_of(user),
            conversations=posting.conversations,
            predicted=expected,
            difference_micros=(
                message.charge.amount_micros - expected.amount_micros if expected is not None else None
            ),
            meta_pricing=word.as_it_came if word else _as_read(message.pricing),
            volume_tier=charge.volume_tier,
        )
        key = conversation_key(entry.phone_number_id, user_ref)
        return Outgoing(BILLING_CHARGES, key, entry.event_id, entry.entry, encode(entry), beside_source=True)


def _key(event: SendEvent, word: Billed | None) -> str:
    """The message, or the conversation of others' that it carries the price of; `word` is not asked for where the message is ours."""
    if (
        event.request_id is None
        and word is not None
        and word.conversation_id
        and word.pricing.pricing_model == CONVERSATION_BASED
    ):
        return f"conversation:{word.conversation_id}"
    return event.wamid or ""


def _step(key: str, state: Remembered, at_ms: int, out: tuple[Outgoing, ...] = ()) -> Step[Remembered]:
    keep_ms = CORRECTABLE_MS if state.pricing is None else SETTLED_MS
    return Step(state, out=out, ranks=(Rank(FORGET, key, at_ms + keep_ms),))


def _in_ledger(state: Remembered | None) -> Charge | None:
    return state.charge if state is not None and state.entries else None


def _is_vouched(before: Remembered, after: Remembered) -> bool:
    """Whether Meta's word or the prediction has come of a charge that it leaves as it is: an entry of 0 says so."""
    return (before.pricing is None and after.pricing is not None) or before.predicted != after.predicted


def _recall(state: Remembered | None, new: Remembered, events: tuple[bytes, ...]) -> Remembered:
    """The message as it stood after this event's first folding: with the entries that are in the ledger, whatever the accounts say now."""
    charge = _in_ledger(state)
    for value in events:
        charge = posted(charge, decode_ledger_entry(value))
    entries = new.entries + len(events)
    return msgspec.structs.replace(new, charge=charge if charge is not None else new.charge, entries=entries)


def _expected(message: Remembered) -> PredictedCost | None:
    if message.predicted is None:
        return None
    category, type_, amount_micros = message.predicted
    return PredictedCost(category=category, type=type_, amount_micros=amount_micros)


def _as_read(pricing: MetaPricing | None) -> msgspec.Raw | None:
    """Meta's word of an earlier event, whose entry holds it as it came."""
    return None if pricing is None else msgspec.Raw(encode(pricing))


def _user(event: SendEvent) -> str:
    if event.user is None:
        return ""
    return event.user.user_id or event.user.bsuid or ""
