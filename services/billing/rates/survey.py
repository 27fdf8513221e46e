"""Where prices are missing: the price book and the accounts in, what nobody could be charged for out. Pure."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

from services.billing.rates.findings import Finding
from shared.accounts import Account
from shared.pricing import Manifest, PriceBook, RateCard, Regime, UnknownRegimeError, local_day
from shared.pricing.regimes import CALENDAR


class Gap(NamedTuple):
    """Days of a regime without a card in a currency; `until` is exclusive, None for no end."""

    regime: str
    currency: str
    since: date
    until: date | None

    def __str__(self) -> str:
        end = "on" if self.until is None else f"to {self.until - timedelta(days=1)}"
        return f"regime {self.regime}: no {self.currency} card from {self.since} {end}"


def survey(
    book: PriceBook, manifest: Manifest, accounts: Mapping[str, Account], now: datetime
) -> Iterable[Finding]:
    """Say what is missing: errors where an account is concerned, warnings elsewhere.

    Args:
        book: the prices.
        manifest: of their cards.
        accounts: those that are set up, by WABA id.
        now: aware.
    """
    used = {id for regime in book.regimes.in_order for id in regime.rate_cards}
    for card in book.cards.by_id.values():
        if missing := missing_markets(card, book):
            yield Finding("warning", f"card {card.id}: no row for {', '.join(missing)}")
        if card.id not in used:
            yield Finding("remark", f"card {card.id}: no regime uses it (any more)")
    for waba_id, account in sorted(accounts.items()):
        yield from _of_account(book, waba_id, account, now)
    paid_in = {card.currency for card in book.cards.by_id.values()}
    for gap in gaps(book, sorted(paid_in)):
        yield Finding("warning", str(gap))
    for table in manifest.tier_tables:
        if table.replaced_by is not None:
            yield Finding("remark", f"tier table {table.id}: replaced by {table.replaced_by}")


def missing_markets(card: RateCard, book: PriceBook) -> list[str]:
    """The markets of the map of a card's first day that it has no rate for."""
    return sorted(book.cards.markets.markets_on(card.effective_from) - {market for market, _ in card.micros})


def gaps(book: PriceBook, currencies: Iterable[str]) -> Iterable[Gap]:
    """The days of each regime on which it has no card in a currency."""
    order = book.regimes.in_order
    ends = [regime.starts_on for regime in order[1:]]
    for regime, until in zip(order, [*ends, None], strict=True):
        for currency in currencies:
            gap = _gap(book, regime, currency, until)
            if gap is not None:
                yield gap


def _gap(book: PriceBook, regime: Regime, currency: str, until: date | None) -> Gap | None:
    days = [
        card.effective_from
        for card in map(book.cards.by_id.__getitem__, regime.rate_cards)
        if card.currency == currency
    ]
    first = min(days, default=None)
    if first is None or (until is not None and until <= first):
        return Gap(regime.name, currency, regime.starts_on, until)
    return Gap(regime.name, currency, regime.starts_on, first) if first > regime.starts_on else None


def _of_account(book: PriceBook, waba_id: str, account: Account, now: datetime) -> Iterable[Finding]:
    """What an account can't be charged for, from today on."""
    try:
        today = local_day(now, account.timezone)
        regime = book.regimes.regime_at(account.regime, now, account.timezone)
    except (UnknownRegimeError, KeyError) as error:
        yield Finding("error", f"account {waba_id}: {error}")
        return
    follows = account.regime in (None, CALENDAR)
    for later in book.regimes.in_order if follows else (regime,):
        day = max(today, later.starts_on)
        if follows and book.regimes.on(day) is not later:
            continue
        if book.cards.card_at(later, account.currency, day) is None:
            yield Finding(
                "error",
                f"account {waba_id}: no {account.currency} card in the regime {later.name} on {day}: what costs something is refused",
            )
