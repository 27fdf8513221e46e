"""Whether a card can be right: a found card, its regime and the card before in, what is to be said of it out. Pure."""

from collections.abc import Iterable
from datetime import date

from services.billing.rates.amounts import written
from services.billing.rates.card_file import FoundCard
from services.billing.rates.difference import Rates, difference
from services.billing.rates.findings import Finding
from shared.pricing import Market, MarketMap, RateCard, RateCategory, Regime

_MOST_TIMES = 3
"""A rate that grew or shrank by more than this factor is asked about: Meta's own changes are smaller, a slipped decimal mark is not."""

_CHANGE_DAYS = ((1, 1), (4, 1), (7, 1), (10, 1))
"""Month and day on which Meta changes rates (Meta, pricing)."""


def check(
    card: FoundCard,
    rates: Rates,
    day: date,
    regime: Regime,
    before: RateCard | None,
    markets: MarketMap,
    today: date,
) -> Iterable[Finding]:
    """What is to be asked and told about a card that could be read.

    Args:
        card: as found.
        rates: its rates, those that are above zero.
        day: its first.
        regime: of that day.
        before: the card it follows, of the same currency and unit; None for the first one.
        markets: the map; of its edition of `day` the card should have every market.
        today: the importer's day.
    """
    yield from _markets(card, day, markets)
    yield from _gaps(card, rates, regime)
    if before is None:
        yield Finding("remark", f"no {card.currency} card before it to compare with")
    else:
        yield from _against(card, rates, before, markets.markets_on(day))
    if (day.month, day.day) not in _CHANGE_DAYS:
        yield Finding("warning", f"{day} is none of Meta's days of change (1 January, April, July, October)")
    if day <= today:
        yield Finding(
            "warning", f"in force since {day}: what was charged before the services restart keeps its rate"
        )


def _markets(card: FoundCard, day: date, markets: MarketMap) -> Iterable[Finding]:
    wanted, there = markets.markets_on(day), {market for market, _ in card.micros}
    if missing := sorted(wanted - there):
        yield Finding("question", f"no row for {_list(missing)}: what is sent there will be refused")
    for market in sorted(there - wanted):
        place = next(place for (of, _), place in card.places.items() if of == market)
        yield Finding(
            "warning", f"{market} is no market of the map on {day}: nobody will be charged by this row", place
        )


def _gaps(card: FoundCard, rates: Rates, regime: Regime) -> Iterable[Finding]:
    """Charged categories without a rate, in rows that are there."""
    charged: list[RateCategory] = ["marketing", "utility", "authentication"]
    if regime.service != "free":
        charged.append("service")
    there = {market for market, _ in card.micros}
    for category in charged:
        if without := sorted(market for market in there if (market, category) not in rates):
            yield Finding(
                "question",
                f"no {category} rate for {_list(without)}: the regime {regime.name} charges it, so it will be refused",
            )


def _against(card: FoundCard, rates: Rates, before: RateCard, wanted: frozenset[Market]) -> Iterable[Finding]:
    change = difference(before.micros, rates)
    for market, category, old, new in change.changes:
        place = card.places.get((market, category))
        if old is None or market in change.vanished_markets:
            continue
        if new is None:
            yield Finding("question", f"{market} has no {category} rate any more; {before.id} has one", place)
        elif new > _MOST_TIMES * old or old > _MOST_TIMES * new:
            yield Finding(
                "question",
                f"{market} {category} goes from {written(old)} to {written(new)}, by more than a factor of {_MOST_TIMES}",
                place,
            )
    if gone := [market for market in change.vanished_markets if market not in wanted]:
        yield Finding("remark", f"{before.id} has rows that the map no longer wants: {_list(gone)}")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
