"""The price book: a configuration folder in, checked regimes and cards out. Pure after `load`."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from shared.pricing.amounts import RateCardError
from shared.pricing.cards import RateCards
from shared.pricing.regimes import Regimes


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Regimes and the cards they name."""

    regimes: Regimes
    cards: RateCards

    @classmethod
    def load(cls, folder: Path) -> "PriceBook":
        """Read `regimes.yaml` and `rates/` of a configuration folder and check one against the other.

        Raises:
            RegimesFileError, RateCardError, MarketMapError: a file is not what it must be.
            OSError: a file can't be read.
        """
        book = cls(Regimes.load(folder / "regimes.yaml"), RateCards.load(folder / "rates"))
        for regime in book.regimes.in_order:
            begun: dict[tuple[str, date], str] = {}
            for card_id in regime.rate_cards:
                card = book.cards.by_id.get(card_id)
                if card is None:
                    raise RateCardError(
                        f"regime {regime.name} names the card {card_id}, which the manifest lacks"
                    )
                if card.unit != regime.unit:
                    raise RateCardError(
                        f"regime {regime.name} charges by {regime.unit}, card {card_id} by {card.unit}"
                    )
                other = begun.setdefault((card.currency, card.effective_from), card_id)
                if other != card_id:
                    raise RateCardError(
                        f"regime {regime.name} names {other} and {card_id}: one currency, one first day"
                    )
        return book
