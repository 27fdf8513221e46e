"""The table of the regimes: what each kind of message costs, inside and outside the window."""

from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.accounts import Account
from shared.pricing import PriceBook, Quote, QuoteType, RateCategory, RateUnknown, quote

BOOK = PriceBook.load(Path(__file__).parents[3] / "config")
NOW = datetime(2026, 11, 23, tzinfo=UTC)
# The bounds of a strategy are naive; what it draws is aware.
INSTANTS = st.datetimes(datetime(2023, 6, 2), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
GERMAN, SATELLITE = "4915112345678", "870773111632"
GUIDE, FREE_SERVICE, PER_MESSAGE, PAID_SERVICE = "2023-06-01", "2024-11-01", "2025-07-01", "2026-10-01"
CATEGORIES: tuple[RateCategory, ...] = ("marketing", "utility", "authentication", "service")


def ask(
    pin: str | None,
    category: RateCategory,
    *,
    user: str = GERMAN,
    at: datetime = NOW,
    timezone: str = "UTC",
    in_window: bool = True,
    entry_point: bool = False,
    opens: bool = True,
    room: bool = True,
) -> Quote | RateUnknown:
    return quote(
        BOOK.cards,
        BOOK.regimes.regime_at(pin, at, timezone),
        Account(timezone=timezone),
        category=category,
        user=user,
        at=at,
        in_window=in_window,
        entry_point_open=entry_point,
        opens_conversation=opens,
        free_tier_has_room=room,
    )


TABLE: list[tuple[str, RateCategory, QuoteType, QuoteType | None]] = [
    # regime, category, inside the window, outside (free-form can't go out there)
    (GUIDE, "marketing", "regular", "regular"),
    (GUIDE, "utility", "regular", "regular"),
    (GUIDE, "authentication", "regular", "regular"),
    (GUIDE, "service", "free_tier", None),
    (FREE_SERVICE, "marketing", "regular", "regular"),
    (FREE_SERVICE, "utility", "regular", "regular"),
    (FREE_SERVICE, "authentication", "regular", "regular"),
    (FREE_SERVICE, "service", "free_customer_service", None),
    (PER_MESSAGE, "marketing", "regular", "regular"),
    (PER_MESSAGE, "utility", "free_customer_service", "regular"),
    (PER_MESSAGE, "authentication", "regular", "regular"),
    (PER_MESSAGE, "service", "free_customer_service", None),
    (PAID_SERVICE, "marketing", "regular", "regular"),
    (PAID_SERVICE, "utility", "regular", "regular"),
    (PAID_SERVICE, "authentication", "regular", "regular"),
    (PAID_SERVICE, "service", "free_tier", None),
]


@pytest.mark.parametrize(("pin", "category", "inside", "outside"), TABLE)
def test_a_message_costs_what_its_regime_says(
    pin: str, category: RateCategory, inside: QuoteType, outside: QuoteType | None
) -> None:
    for in_window, expected in ((True, inside), (False, outside)):
        if expected is not None:
            found = ask(pin, category, in_window=in_window)
            assert isinstance(found, Quote)
            assert found.type == expected
            assert found.free == (expected != "regular")
            assert (found.amount_micros > 0) == (expected == "regular")


def test_the_table_has_every_regime_and_category() -> None:
    assert {(pin, category) for pin, category, _, _ in TABLE} == set(
        product([regime.name for regime in BOOK.regimes.in_order], CATEGORIES)
    )


@pytest.mark.parametrize("pin", [GUIDE, FREE_SERVICE])
@pytest.mark.parametrize("category", CATEGORIES)
def test_within_an_open_conversation_nothing_is_charged_again(pin: str, category: RateCategory) -> None:
    found = ask(pin, category, opens=False, room=False)
    assert isinstance(found, Quote)
    assert (found.type, found.amount_micros) == ("reused", 0)


@pytest.mark.parametrize("pin", [PER_MESSAGE, PAID_SERVICE])
def test_where_messages_are_charged_an_open_conversation_saves_nothing(pin: str) -> None:
    found = ask(pin, "marketing", opens=False)
    assert isinstance(found, Quote)
    assert found.type == "regular"


@pytest.mark.parametrize("pin", [GUIDE, FREE_SERVICE, PER_MESSAGE, PAID_SERVICE])
@pytest.mark.parametrize("category", CATEGORIES)
def test_a_free_entry_point_makes_everything_free(pin: str, category: RateCategory) -> None:
    found = ask(pin, category, entry_point=True, in_window=False, room=False)
    assert isinstance(found, Quote)
    assert (found.type, found.amount_micros) == ("free_entry_point", 0)


@pytest.mark.parametrize(
    ("pin", "amount", "card"),
    [(GUIDE, 17_800, "illustrative_usd_guide"), (PAID_SERVICE, 55_000, "usd_2026-10-01")],
)
def test_beyond_the_free_tier_service_is_charged(pin: str, amount: int, card: str) -> None:
    found = ask(pin, "service", room=False)
    assert isinstance(found, Quote)
    assert (found.type, found.amount_micros, found.rate_card, found.market) == (
        "regular",
        amount,
        card,
        "Germany",
    )


@pytest.mark.parametrize("category", ["marketing", "utility", "authentication"])
def test_templates_never_use_the_free_tier(category: RateCategory) -> None:
    for pin in (GUIDE, PAID_SERVICE):
        assert ask(pin, category, room=True) == ask(pin, category, room=False)


def test_an_illustrative_price_says_so() -> None:
    found = ask("guide", "marketing")
    assert isinstance(found, Quote)
    assert found.illustrative
    assert found.rate_card.startswith("illustrative")


def test_a_market_without_a_rate_is_unknown_and_never_zero() -> None:
    for pin in (GUIDE, FREE_SERVICE, PER_MESSAGE, PAID_SERVICE):
        assert isinstance(ask(pin, "marketing", user=SATELLITE), RateUnknown)


def test_a_free_message_needs_no_rate() -> None:
    found = ask(PER_MESSAGE, "service", user=SATELLITE)
    assert isinstance(found, Quote)
    assert (found.amount_micros, found.market) == (0, "unknown")


@pytest.mark.parametrize(
    ("instant", "timezone", "kind"),
    [
        ("2026-09-30T23:59:59+00:00", "UTC", "free_customer_service"),
        ("2026-10-01T00:00:00+00:00", "UTC", "regular"),
        ("2026-10-01T02:59:59+00:00", "America/Sao_Paulo", "free_customer_service"),
        ("2026-10-01T03:00:00+00:00", "America/Sao_Paulo", "regular"),
    ],
)
def test_from_october_2026_utility_in_the_window_is_charged(instant: str, timezone: str, kind: str) -> None:
    found = ask(None, "utility", at=datetime.fromisoformat(instant), timezone=timezone)
    assert isinstance(found, Quote)
    assert found.type == kind


@given(
    st.sampled_from([None, "guide", FREE_SERVICE, PER_MESSAGE, PAID_SERVICE]),
    st.sampled_from(CATEGORIES),
    st.sampled_from([GERMAN, SATELLITE, "919876543210", "US.1"]),
    INSTANTS,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_quotes_agree_with_the_rules_as_prose(
    pin: str | None,
    category: RateCategory,
    user: str,
    at: datetime,
    in_window: bool,
    entry_point: bool,
    opens: bool,
    room: bool,
) -> None:
    found = ask(
        pin, category, user=user, at=at, in_window=in_window, entry_point=entry_point, opens=opens, room=room
    )
    regime = {"guide": GUIDE}.get(pin, pin) if pin else max(d for d in _STARTS if d <= at.date().isoformat())
    by_conversation = regime in (GUIDE, FREE_SERVICE)
    reasons_to_be_free = [
        entry_point,
        by_conversation and not opens,
        category == "service" and regime in (FREE_SERVICE, PER_MESSAGE),
        category == "service" and regime in (GUIDE, PAID_SERVICE) and room,
        category == "utility" and in_window and regime == PER_MESSAGE,
    ]
    if any(reasons_to_be_free):
        assert isinstance(found, Quote)
        assert found.free
        assert found.amount_micros == 0
    elif user == SATELLITE:
        assert isinstance(found, RateUnknown)
    else:
        assert isinstance(found, Quote)
        assert found.amount_micros > 0
        assert found.regime == regime


_STARTS = (GUIDE, FREE_SERVICE, PER_MESSAGE, PAID_SERVICE)
