"""Messages that Meta took and of which no delivery was ever heard: send events in, what is left of them out. Pure."""

from typing import NamedTuple

from services.billing.reconciliation.cells import Group, Unheard, cell_of
from shared.accounts import AccountFacts
from shared.events import Decision, SendEvent
from shared.phone import country_of
from shared.pricing import PriceBook, local_day
from shared.times import from_ms, parse_rfc3339

_OVER = frozenset({"delivered", "read", "played", "failed", "cancelled"})


class _Waiting(NamedTuple):
    decision: Decision
    taken: Unheard | None


class Unheards:
    """What the events of a conversation's partition, in order, leave without a delivery.

    Only what is on its way is remembered: a delivery, a failure and a refusal end it.
    """

    def __init__(self, book: PriceBook, facts: AccountFacts, days: tuple[str, str]) -> None:
        """`days`: the first and the last on which a message may have been taken, `YYYY-MM-DD`."""
        self._book = book
        self._facts = facts
        self._days = days
        self._waiting: dict[str, _Waiting] = {}

    def add(self, event: SendEvent) -> None:
        """Take in an event."""
        request_id = event.request_id
        if request_id is None:
            return
        if event.event in _OVER:
            self._waiting.pop(request_id, None)
        elif event.event == "decided":
            decision = event.decision
            if decision is not None and decision.outcome == "allow":
                self._waiting[request_id] = _Waiting(decision, None)
            else:
                self._waiting.pop(request_id, None)
        elif (
            event.event in ("accepted", "sent")
            and (known := self._waiting.get(request_id)) is not None
            and (known.taken is None or known.taken.wamid != event.wamid)
        ):
            self._waiting[request_id] = _Waiting(known.decision, self._taken(event, known.decision))

    def left(self) -> list[Unheard]:
        """What was taken on the days and has not been heard of since."""
        first, last = self._days
        return [
            w.taken
            for w in self._waiting.values()
            if w.taken is not None and first <= w.taken.cell.day <= last
        ]

    def _taken(self, event: SendEvent, decision: Decision) -> Unheard | None:
        price, user = decision.price, event.user
        account = self._facts.account(event.waba_id or "")
        if price is None or user is None or account is None or event.wamid is None:
            return None
        regime = self._book.regimes.by_pin.get(price.regime)
        unit = regime.unit if regime is not None else "message"
        opens = decision.conversation is not None and decision.conversation.action == "open"
        if unit == "conversation" and not opens:
            return None
        day = local_day(from_ms(parse_rfc3339(event.at)), account.timezone).isoformat()
        category = price.rate_category or decision.category or "service"
        return Unheard(
            event.wamid,
            event.request_id,
            Group(event.waba_id or "", event.phone_number_id or "", unit, price.currency),
            cell_of(day, category, country_of(user.user_id or user.bsuid or ""), price.type),
            price.amount_micros,
        )
