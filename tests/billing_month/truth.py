"""A message of the month: what the router predicted, what Meta said of it when, and what it costs in the end.

The prices are the generator's own reading of the cards (`rules.py`). What Meta says last counts; what nobody priced costs what was predicted.
"""

from typing import NamedTuple

import msgspec

from tests.billing_month.rules import Card, Regime, Rules
from tests.billing_month.world import Account, digits_before


class Charge(NamedTuple):
    """What one message costs. `column` is the card's; `units` 0 for a message of a conversation that is charged already."""

    month: str
    day: str
    regime: str
    unit: str
    card: str
    column: str
    market: str
    type: str
    micros: int
    units: int
    conversations: int
    tier: tuple[str, str | None] | None = None
    unknown: bool = False

    @property
    def free(self) -> bool:
        """Whether it is tallied as free."""
        return self.type != "regular" and not self.unknown


class Word(NamedTuple):
    """What Meta says of a message's price, and when. `category` is Meta's own name of it."""

    at_ms: int
    category: str
    type: str
    model: str
    explicit: bool = True
    """Whether `billable` is there; it is going away (Meta, webhooks)."""

    @property
    def free(self) -> bool:
        """Whether Meta charges nothing."""
        return self.type != "regular"


class Message(msgspec.Struct, gc=False):
    """One delivered message; `words` in the order Meta said them, the first perhaps with the delivery itself.

    `request_id` is None where somebody else sent it from the number; `predicted` where the router had no rate, or did not know of it.
    """

    account: Account
    number: str
    user: str
    country: str
    wamid: str
    request_id: str | None
    tags: dict[str, str]
    delivered_ms: int
    category: str
    predicted: Charge | None
    words: tuple[Word, ...] = ()
    conversation_id: str | None = None
    read_ms: int = 0
    steps_told: bool = False
    """Whether accepted and sent are told, too."""
    delivery_told: bool = True
    """Whether any webhook told of the delivery."""
    repeats: bool = False
    """Whether it repeats the price of a conversation of others'."""
    billed: Charge | None = None
    """What the ledger must hold for it in the end; None where nobody knows of any price, or the conversation's first message carries it."""
    counted: Charge | None = None
    """What Meta itself counts: the same, unless `differences.py` says otherwise."""

    @property
    def silent(self) -> bool:
        """Whether Meta never priced it."""
        return not self.words


_COLUMN_OF = {
    "marketing": "marketing",
    "marketing_lite": "marketing",
    "utility": "utility",
    "authentication": "authentication",
    "authentication-international": "authentication_international",
    "service": "service",
}
"""Meta's names of categories → the card's columns; others have none."""


def billed(message: Message, rules: Rules, regime: Regime, card: Card, month: str, day: str) -> Charge | None:
    """What the ledger must hold for it in the end; `regime`, `card`, `month` and `day` are those of its delivery."""
    word = message.words[-1] if message.words else None
    charge = message.predicted
    if word is None:
        return charge
    if charge is None:
        column = _COLUMN_OF.get(word.category, word.category)
        market = rules.market(digits_before(message.country), card.id)
        conversations = int(regime.unit == "conversation")
        charge = Charge(
            month, day, regime.name, regime.unit, card.id, column, market, "unknown", 0, 1, conversations, unknown=True
        )  # fmt: skip
    elif not charge.units and word.model == "CBP":
        return charge
    column = _COLUMN_OF.get(word.category, charge.column)
    if word.free:
        return charge._replace(column=column, type=word.type, micros=0, units=1, tier=None, unknown=False)
    if column == charge.column and charge.type == "regular":
        return charge
    rate = rules.rate(
        regime, rules.cards[charge.card], message.account, charge.market, column, message.delivered_ms, month
    )
    if rate is None:
        return charge._replace(column=column, type="rate_unknown", micros=0, units=1, tier=None, unknown=True)
    return charge._replace(
        column=column, type="regular", micros=rate.micros, units=1, tier=rate.tier, unknown=False
    )
