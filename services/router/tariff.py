"""Prices at the speed of decisions: the price book behind caches that turn with the account's day. Pure but for its caches."""

from datetime import date
from functools import lru_cache

from shared.accounts import Account
from shared.pricing import (
    PriceBook,
    Quote,
    RateCard,
    RateCategory,
    RateUnknown,
    Regime,
    charged_as,
    free_tier_scope,
    local_day,
    month_end,
    quote,
    tier_in_force,
)
from shared.times import from_ms, to_ms

_QUARTER_MS = 900_000
"""Every time zone in use turns its day on a quarter of an hour of UTC."""
_MOST_QUOTES = 20_000


class Tariff:
    """The price book, asked in epoch milliseconds. Pinned regimes and calendars both; see `shared.pricing` for the rules."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._quotes: dict[tuple[object, ...], Quote | RateUnknown] = {}
        self._day = lru_cache(maxsize=4096)(_day_of_quarter)
        self._months = lru_cache(maxsize=4096)(_month_of_quarter)
        self._next_months = lru_cache(maxsize=4096)(_next_month_ms)
        self._regimes: dict[tuple[str, date], Regime] = {}
        self._cards: dict[tuple[str, str, date], RateCard | None] = {}
        self._scopes = lru_cache(maxsize=65_536)(self._scope_of_quarter)
        self._markets = lru_cache(maxsize=16_384)(book.cards.markets.market_of)

    def day(self, timezone: str, at_ms: int) -> date:
        """The account's calendar day."""
        return self._day(timezone, at_ms // _QUARTER_MS)

    def month(self, timezone: str, at_ms: int) -> str:
        """The account's calendar month, `YYYY-MM`."""
        return self._months(timezone, at_ms // _QUARTER_MS)

    def next_month_ms(self, timezone: str, at_ms: int) -> int:
        """When the account's next calendar month begins."""
        return self._next_months(timezone, self.month(timezone, at_ms))

    def regime(self, pin: str, timezone: str, at_ms: int) -> Regime:
        """The regime of an account at an instant; raises UnknownRegimeError for a pin that names none."""
        key = (pin, self.day(timezone, at_ms))
        found = self._regimes.get(key)
        if found is None:
            found = self._regimes[key] = self._book.regimes.regime_at(pin, from_ms(at_ms), timezone)
        return found

    def named(self, name: str) -> Regime:
        """The regime of this name; KeyError when configuration lost it."""
        return self._book.regimes.by_pin[name]

    def quote(
        self,
        regime: Regime,
        category: RateCategory,
        user: str,
        account: Account,
        at_ms: int,
        *,
        in_window: bool,
        entry_point_open: bool,
        opens_conversation: bool,
        free_tier_has_room: bool,
    ) -> Quote | RateUnknown:
        """The price of one message; the arguments are those of `shared.pricing.quote`."""
        day = self.day(account.timezone, at_ms)
        card = self._card(regime, account.currency, day)
        market = self._markets(user, card.effective_from if card is not None else day)
        column: RateCategory = category
        tier = None
        if (
            (account.auth_international is not None or account.tier_notices or account.volume_tiers)
            and card is not None
            and market is not None
        ):
            column = charged_as(card, account, market, category, user, at_ms)
            tier = tier_in_force(regime, account, market, column, at_ms, day.isoformat()[:7])
        key = (
            regime.name, category, column, tier, market, account.currency, day,
            in_window, entry_point_open, opens_conversation, free_tier_has_room,
        )  # fmt: skip
        found = self._quotes.get(key)
        if found is None:
            if len(self._quotes) >= _MOST_QUOTES:
                self._quotes.clear()
            found = self._quotes[key] = quote(
                self._book.cards, regime, account, category=category, user=user, at=from_ms(at_ms),
                in_window=in_window, entry_point_open=entry_point_open,
                opens_conversation=opens_conversation, free_tier_has_room=free_tier_has_room,
            )  # fmt: skip
        return found

    def free_scope(
        self, regime: Regime, waba: str, number: str, timezone: str, at_ms: int
    ) -> tuple[str, int] | None:
        """What the free tier is counted over in this month, and its size."""
        if regime.free_tier is None:
            return None
        return self._scopes(regime.name, waba, number, timezone, at_ms // _QUARTER_MS)

    def _card(self, regime: Regime, currency: str, day: date) -> RateCard | None:
        key = (regime.name, currency, day)
        if key not in self._cards:
            self._cards[key] = self._book.cards.card_at(regime, currency, day)
        return self._cards[key]

    def _scope_of_quarter(
        self, regime: str, waba: str, number: str, timezone: str, quarter: int
    ) -> tuple[str, int] | None:
        return free_tier_scope(self.named(regime), waba, number, from_ms(quarter * _QUARTER_MS), timezone)


def _next_month_ms(timezone: str, month: str) -> int:
    return to_ms(month_end(month, timezone))


def _day_of_quarter(timezone: str, quarter: int) -> date:
    return local_day(from_ms(quarter * _QUARTER_MS), timezone)


def _month_of_quarter(timezone: str, quarter: int) -> str:
    return _day_of_quarter(timezone, quarter).isoformat()[:7]
