"""The kinds of differences, and one explained: from which cells to which, how much, which messages, what to do. Pure."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from services.billing.reconciliation.cells import Cell, Cells, Group, Message, MetaCells

Kind = Literal[
    "recategorised",
    "free_instead_of_paid",
    "paid_instead_of_free",
    "free_otherwise",
    "rate_differs",
    "unattributed",
    "unpredicted",
    "volume_tier",
    "webhook_lost",
    "not_counted_by_meta",
    "other_day",
    "recategorised_without_word",
    "other_country",
    "unexplained",
]

Between = Literal["predicted_billed", "billed_meta"]
"""Told by a webhook, message by message; or seen in the analytics only."""

MEANING: Final[dict[Kind, str]] = {
    "recategorised": "Meta priced it in another category than its template was known to have.",
    "free_instead_of_paid": "Meta charged nothing for what was expected to cost: a window, an entry point or free tier that we did not know of.",
    "paid_instead_of_free": "Meta charged for what was expected to be free: the window had closed or the free tier was used up at the delivery.",
    "free_otherwise": "Free both ways, for another reason.",
    "rate_differs": "The same messages at another unit price: our rate card differs from what Meta charges.",
    "unattributed": "Meta priced messages of this number that were not sent through here.",
    "unpredicted": "Meta priced a message of ours before it was predicted, and the prediction changed nothing.",
    "volume_tier": "Meta counts these messages in a volume tier with a lower price.",
    "webhook_lost": "Meta counts a delivery of which no webhook came.",
    "not_counted_by_meta": "The ledger has it, as predicted; no webhook priced it, and Meta does not count it.",
    "other_day": "Meta counts it on the day before or after: it was delivered near midnight.",
    "recategorised_without_word": "Meta counts it in another category, and no webhook said so.",
    "other_country": "Meta counts it in another country of the same calling code.",
    "unexplained": "Nothing that is known explains it.",
}

TO_DO: Final[dict[Kind, str]] = {
    "recategorised": "Look at the template's category: `wam poll` takes over Meta's; appeal to Meta if it is wrong.",
    "free_instead_of_paid": "Nothing to pay. If it happens often, see whether received messages and clicks on ads arrive.",
    "paid_instead_of_free": "Check the number's free tier and whether others send from it.",
    "free_otherwise": "Nothing.",
    "rate_differs": "Compare the card with Meta's own: docs/pricing.md, `wam rates import`.",
    "unattributed": "Find out who else sends from the number.",
    "unpredicted": "Nothing: the ledger has Meta's price.",
    "volume_tier": "Add the tier's rates: docs/pricing.md, Add a tier table.",
    "webhook_lost": "Pay it. If there are many, see whether webhooks were refused or dropped that day.",
    "not_counted_by_meta": "Claim it if it is on the invoice; Meta's analytics can lag by some days, so ask again first.",
    "other_day": "Nothing: the month's sum is the same, unless it is the month's first or last day.",
    "recategorised_without_word": "Look at the template's category; ask Meta which messages it means if the money matters.",
    "other_country": "Nothing if both are priced alike; else check the market map.",
    "unexplained": "Run it again when Meta's analytics have settled (some days into the next month); else ask Meta's support with the cell and the messages.",
}

MOST_NAMED: Final = 50
"""Messages that one difference names; of more, `candidates` says how many there are."""


class Named(NamedTuple):
    """A message that a difference is about; money in millionths, None where nobody said."""

    wamid: str
    request_id: str | None
    predicted_micros: int | None
    billed_micros: int | None
    at_ms: int | None = None
    """Its delivery, where it was heard of."""


def named_of(message: Message) -> Named:
    """A message of the ledger as a difference names it."""
    return Named(
        message.wamid, message.request_id, message.predicted_micros, message.micros, message.delivered_ms
    )


class Effect(NamedTuple):
    """What a difference adds to a cell, on the way from the first side to the second."""

    cell: Cell
    volume: int
    micros: int


class Difference(NamedTuple):
    """A difference explained, or what is left.

    `messages` are the messages themselves where `certain`, else as many of the `candidates` (all that fit) as are named.
    """

    kind: Kind
    between: Between
    group: Group
    effects: tuple[Effect, ...]
    messages: tuple[Named, ...]
    candidates: int
    certain: bool

    @property
    def units(self) -> int:
        """How many messages (or conversations) it is about."""
        return max((abs(effect.volume) for effect in self.effects), default=0)

    @property
    def micros(self) -> int:
        """What it adds to the bill."""
        return sum(effect.micros for effect in self.effects)

    @property
    def explained(self) -> bool:
        """Whether anything is known of it."""
        return self.kind != "unexplained"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """A month's three sides, cell by cell, and every difference between them; days outside the month are gone.

    `differences` from predicted to billed add up to `billed`, those from billed to Meta to `meta`, cell by cell. `meta` is None where Meta
    was not asked.
    """

    month: str
    predicted: Cells
    billed: Cells
    priced: Cells
    meta: MetaCells | None
    differences: tuple[Difference, ...]
