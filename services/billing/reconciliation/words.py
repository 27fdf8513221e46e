"""What one ledger entry says of predicted against billed: how much Meta's word was about, and how much it came to. Pure.

A sum of these over time is a metric: nothing need be remembered of a message, whichever of its entries brings Meta's word. Only a word that
confirms an earlier prediction is not seen, for it makes no entry.
"""

from typing import NamedTuple

from shared.events import LedgerEntry


class Share(NamedTuple):
    """Millionths of a category, the column of the card."""

    category: str
    micros: int


class Word(NamedTuple):
    """What was predicted of a message that Meta has priced, and what is billed; None where another entry of the same event says it."""

    predicted: Share | None
    billed: Share | None


def word(entry: LedgerEntry) -> Word | None:
    """None where the entry is no word of Meta's, or nobody predicted the message."""
    expected = entry.predicted
    if entry.basis != "meta" or expected is None:
        return None
    predicted = Share(expected.category, expected.amount_micros)
    if entry.entry == "correction" and entry.counts < 0:
        return Word(predicted, None)
    if entry.entry == "correction" and entry.counts > 0:
        return Word(None, Share(entry.category, entry.amount_micros))
    costs = expected.amount_micros + (entry.difference_micros or 0)
    return Word(predicted, Share(entry.category, costs))
