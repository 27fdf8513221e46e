"""Cards and regimes that begin in the middle of a month, by comparing dates: at every instant around the changes and in every zone."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.tariff import Tariff
from shared.accounts import Account
from shared.pricing import PriceBook, Quote, RateCardError, quote
from shared.times import to_ms
from tests.mid_month import CARD_BEGINS, REGIME_BEGINS, configuration, expected

INDIAN, MARKETING = "919876543210", 11_800
ZONES = (
    "UTC",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
)
instants = st.builds(
    lambda day, seconds: datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=seconds),
    st.sampled_from([CARD_BEGINS, REGIME_BEGINS]),
    st.integers(-15 * 3600, 15 * 3600),
)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    return PriceBook.load(configuration(tmp_path_factory.mktemp("mid-month")))


@given(instants, st.sampled_from(ZONES))
def test_the_price_is_that_of_the_day_in_the_accounts_zone(book: PriceBook, at: datetime, zone: str) -> None:
    account = Account(timezone=zone)
    regime = book.regimes.regime_at(None, at, zone)
    asked = {
        "in_window": False,
        "entry_point_open": False,
        "opens_conversation": True,
        "free_tier_has_room": False,
    }
    found = quote(book.cards, regime, account, category="marketing", user=INDIAN, at=at, **asked)
    name, card, factor = expected(at.astimezone(ZoneInfo(zone)).date())
    assert isinstance(found, Quote)
    assert (found.regime, found.rate_card, found.amount_micros) == (name, card, factor * MARKETING)
    tariff = Tariff(book)
    by_tariff = tariff.regime("calendar", zone, to_ms(at))
    assert tariff.quote(by_tariff, "marketing", INDIAN, account, to_ms(at), **asked) == found


def test_two_cards_of_one_currency_and_first_day_in_a_regime_stop_the_start(tmp_path: Path) -> None:
    folder = configuration(tmp_path)
    path = folder / "regimes.yaml"
    path.write_text(
        path.read_text("utf-8").replace("- usd_2026-11-16", "- usd_2026-11-16\n  - usd_twin"), "utf-8"
    )
    manifest = folder / "rates/manifest.yaml"
    twin = "- {id: usd_twin, file: usd_2026-11-16.csv, currency: USD, unit: message, effective_from: 2026-11-16, illustrative: false, source: s}\n"
    manifest.write_text(manifest.read_text("utf-8").replace("cards:\n", f"cards:\n{twin}"), "utf-8")
    with pytest.raises(RateCardError, match="usd_2026-11-16 and usd_twin: one currency, one first day"):
        PriceBook.load(folder)
