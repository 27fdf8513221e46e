"""Prices against a naive model: random accounts, users and instants around every change of rules and every end of a month."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.tariff import Tariff
from shared.accounts import Account, AccountFacts
from shared.events import AccountChanged, AccountEvent, AccountWebhook
from shared.pricing import PriceBook, Quote, RateCategory, RateUnknown, quote
from shared.times import to_ms
from tests.unit.shared.naive_pricing import COUNTRY_OF, Business, NaivePricing, Notice, Priced

CONFIG = Path(__file__).parents[3] / "config"
ZONES = (
    "UTC", "America/Sao_Paulo", "Asia/Kolkata", "Asia/Kathmandu", "Europe/Berlin", "Pacific/Kiritimati",
    "Pacific/Pago_Pago", "Australia/Lord_Howe",
)  # fmt: skip
CHANGES = (
    "2023-06-03", "2024-06-01", "2024-11-01", "2025-07-01", "2025-10-01", "2026-02-28", "2026-07-01", "2026-08-01",
    "2026-10-01", "2026-11-01", "2026-12-01", "2027-01-01",
)  # fmt: skip
TIERS = """\
market,currency,category,from,to,rate
India,USD,utility,1,1000,0.0014
India,USD,utility,1001,5000,0.0012
India,USD,utility,5001,MAX,0.00105
India,USD,authentication,1,1000,0.0014
India,USD,authentication,1001,5000,0.0013
India,USD,authentication_international,1,1000,0.0304
India,USD,authentication_international,1001,5000,0.0290
India,USD,authentication_international,5001,MAX,0.0280
Rest of Latin America,USD,utility,1,1000,0.0113
Rest of Latin America,USD,utility,1001,5000,0.0110
"""

seconds = st.builds(
    lambda day, offset: int((datetime.fromisoformat(day + "T00:00Z") + offset).timestamp()),
    st.sampled_from(CHANGES),
    st.one_of(
        st.sampled_from([-1, 0, 1]).map(lambda s: timedelta(seconds=s)),
        st.integers(-15 * 4, 15 * 4).map(lambda quarters: timedelta(minutes=15 * quarters)),
        st.integers(-15 * 3600, 15 * 3600).map(lambda s: timedelta(seconds=s)),
    ),
)
FAVOURED = ("919876543210", "77011234567", "17875551234", "919876543210")


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[Business, list[AccountEvent], str, int]:
    """A business, its events in any order, a user and an instant; facts are drawn near the instant, else they would hardly ever matter."""
    at_s, zone = draw(seconds), draw(st.sampled_from(ZONES))
    user = draw(st.sampled_from(FAVOURED) | st.sampled_from(sorted(COUNTRY_OF)))
    country = COUNTRY_OF[user]
    near = st.sampled_from([at_s - 86_400, at_s - 1, at_s, at_s + 1, at_s + 86_400])
    month = datetime.fromtimestamp(at_s, ZoneInfo(zone)).strftime("%Y-%m")
    notices = st.builds(
        Notice,
        category=st.sampled_from(["UTILITY", "AUTHENTICATION", "AUTHENTICATION_INTERNATIONAL"]),
        region=st.sampled_from(["INDIA", "India", "REST_OF_LATIN_AMERICA", "Kazakhstan"]),
        month=st.just(month) | st.sampled_from(["2026-07", "2026-10", "2026-12"]),  # only four are kept
        tier=st.sampled_from(["0:1000", "1:77", "1001:5000", "5001:MAX", "7:9"]),
        update_s=near,
    )
    business = Business(
        currency=draw(st.sampled_from(["USD", "USD", "USD", "INR", "EUR"])),
        timezone=zone,
        located=draw(st.sampled_from([None, country, "US", "RU"])),
        start_s=draw(near | st.none()),
        exceptions=draw(st.dictionaries(st.sampled_from([country, "NG"]), near, max_size=2)),
        notices=draw(st.lists(notices, max_size=6)),
    )
    return business, draw(st.permutations(told(business))), user, at_s


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configuration with a full table of tiers beside two of its cards."""
    folder = tmp_path_factory.mktemp("config")
    shutil.copy(CONFIG / "regimes.yaml", folder)
    shutil.copytree(CONFIG / "rates", folder / "rates")
    manifest = yaml.safe_load((folder / "rates/manifest.yaml").read_text())
    manifest["tier_tables"] = [
        {"id": f"illustrative_{card}", "file": "tiers.csv", "card": card, "sureness": "illustrative", "source": "made up"}
        for card in ("usd_2026-07-01", "usd_2026-10-01")
    ]  # fmt: skip
    (folder / "rates/manifest.yaml").write_text(yaml.safe_dump(manifest))
    (folder / "rates/tiers.csv").write_text(TIERS)
    return folder


@pytest.fixture(scope="module")
def models(config: Path) -> tuple[NaivePricing, PriceBook, Tariff]:
    book = PriceBook.load(config)
    return NaivePricing(config), book, Tariff(book)


def webhook(index: int, value: dict[str, object]) -> AccountWebhook:
    raw = msgspec.Raw(msgspec.json.encode(value))
    return AccountWebhook(
        event_id=f"w{index}", at_ms=1_700_000_000_000, waba_id="W", field="account_update", value=raw
    )


def told(business: Business) -> list[AccountEvent]:
    """The business as account events: what the operator sets, and what Meta tells."""
    fields = {"currency": business.currency, "timezone": business.timezone}
    values: list[dict[str, object]] = []
    if business.located is not None:
        values.append({"event": "BUSINESS_PRIMARY_LOCATION_COUNTRY_UPDATE", "country": business.located})
    if business.start_s is not None or business.exceptions:
        exceptions = [{"country_code": code, "start_time": s} for code, s in business.exceptions.items()]
        eligibility = {"start_time": business.start_s, "exception_countries": exceptions}
        values.append(
            {
                "event": "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE",
                "auth_international_rate_eligibility": eligibility,
            }
        )
    for notice in business.notices:
        info = {
            "tier_update_time": notice.update_s,
            "pricing_category": notice.category,
            "tier": notice.tier,
            "effective_month": notice.month,
            "region": notice.region,
        }
        values.append({"event": "VOLUME_BASED_PRICING_TIER_UPDATE", "volume_tier_info": info})
    set_up = AccountChanged(event_id="s", at_ms=1, waba_id="W", subject="account", id="W", fields=fields)
    return [set_up, *(webhook(index, value) for index, value in enumerate(values))]


def account_of(events: list[AccountEvent]) -> Account:
    facts = AccountFacts()
    for event in events:
        facts.apply(event, facts.revision + 1)
    account = facts.account("W")
    assert account is not None
    return account


def said(found: Quote | RateUnknown) -> Priced | None:
    if isinstance(found, RateUnknown):
        return None
    tier = found.volume_tier
    return Priced(
        found.regime,
        found.rate_card,
        found.market,
        found.rate_category or "",
        found.amount_micros,
        None if tier is None else tier.tier,
        None if tier is None else tier.rates,
    )


@settings(max_examples=250, deadline=None)
@given(
    deliveries(),
    st.sampled_from(["marketing", "utility", "authentication", "authentication"]),
)
def test_a_price_is_what_the_rows_of_the_files_say(
    models: tuple[NaivePricing, PriceBook, Tariff],
    delivery: tuple[Business, list[AccountEvent], str, int],
    category: RateCategory,
) -> None:
    naive, book, tariff = models
    business, events, user, at_s = delivery
    account = account_of(events)
    at = datetime.fromtimestamp(at_s, UTC)
    regime = book.regimes.regime_at("calendar", at, account.timezone)
    expected = naive.price(business, user, category, at)
    found = quote(
        book.cards, regime, account, category=category, user=user, at=at,
        in_window=False, entry_point_open=False, opens_conversation=True, free_tier_has_room=False,
    )  # fmt: skip
    assert said(found) == expected
    cached = tariff.quote(
        regime, category, user, account, to_ms(at),
        in_window=False, entry_point_open=False, opens_conversation=True, free_tier_has_room=False,
    )  # fmt: skip
    assert cached == found
    if expected is not None:
        assert isinstance(found, Quote)
        assert found.illustrative == ("illustrative" in f"{expected.card} {expected.tier_rates}")
