"""The price of a decision and of its delivery, by the account's facts at each of the two."""

from typing import Any

import pytest

from shared.events import AccountChanged, ChargePredicted, Price, VolumeTier
from shared.ids import conversation_key
from tests.unit.router.make import HOUR, NOW, accepted, events, request, status, world
from tests.unit.router.world import World

INDIAN = "919876543210"
KEY = conversation_key("N1", INDIAN)
FIRST_RATE, SECOND_RATE = {"1001:5000": NOW}, {"1001:5000": NOW, "5001:MAX": NOW + 500}


def later(**fields: Any) -> AccountChanged:
    return AccountChanged(
        event_id="later", at_ms=NOW + 1, waba_id="W1", subject="account", id="W1", fields=fields
    )


def account(**facts: Any) -> World:
    return world(regime="calendar", **facts)


def priced(made: World, template: str = "login_code", **more: Any) -> Price:
    found = events(made.play(KEY, request(template=template, user=INDIAN, **more), NOW))[0].decision
    assert found is not None
    assert found.price is not None
    assert found.category == {"login_code": "authentication", "order_update": "utility"}[template]
    return found.price


def charged(made: World, at_ms: int = NOW + 1000) -> ChargePredicted:
    made.play(KEY, accepted(), NOW)
    delivered = next(e for e in events(made.play(KEY, status("delivered", at=at_ms), at_ms)) if e.charge)
    assert delivered.charge is not None
    return delivered.charge


def test_a_password_to_another_country_costs_authentication_international_and_stays_authentication() -> None:
    made = account(primary_location="US", auth_international={"start_ms": NOW})
    price = priced(made)
    assert (price.rate_category, price.amount_micros) == ("authentication_international", 30_400)
    charge = charged(made)
    assert (charge.category, charge.rate_category) == ("authentication", "authentication_international")
    assert charge.amount_micros == 30_400


@pytest.mark.parametrize(
    "facts",
    [
        {"primary_location": "US"},
        {"primary_location": "IN", "auth_international": {"start_ms": 0}},
        {"primary_location": "US", "auth_international": {"start_ms": NOW + 1}},
        {"auth_international": {"start_ms": 0, "exceptions": {"IN": NOW + 1}}},
    ],
)
def test_without_eligibility_at_home_or_before_the_start_it_costs_authentication(
    facts: dict[str, Any],
) -> None:
    price = priced(account(**facts))
    assert (price.rate_category, price.amount_micros) == ("authentication", 1_400)


def test_a_business_whose_location_is_not_verified_pays_it_too() -> None:
    assert priced(account(auth_international={"start_ms": 0})).amount_micros == 30_400


@pytest.mark.parametrize(("at_ms", "micros"), [(NOW + 999, 1_400), (NOW + 1000, 30_400)])
def test_the_start_counts_at_the_delivery_not_at_the_decision(at_ms: int, micros: int) -> None:
    made = account(primary_location="US", auth_international={"start_ms": NOW + 1000})
    assert priced(made).amount_micros == 1_400
    assert charged(made, at_ms).amount_micros == micros


def test_a_maximum_price_holds_against_the_price_of_the_right_column() -> None:
    made = account(auth_international={"start_ms": 0})
    refused = request(template="login_code", user=INDIAN, max_price_micros=2_000, max_price_currency="USD")
    decision = events(made.play(KEY, refused, NOW))[0].decision
    assert decision is not None
    assert decision.reason == "max_price_exceeded"


def test_a_price_names_the_tier_in_force_and_that_its_rate_is_not_known() -> None:
    price = priced(account(tier_notices={"utility/2026-11/india": FIRST_RATE}), "order_update")
    assert (price.amount_micros, price.rate_category) == (1_400, "utility")
    assert price.volume_tier == VolumeTier(tier="1001:5000", rates=None)


def test_the_tier_reached_by_the_delivery_is_the_charges() -> None:
    made = account(tier_notices={"utility/2026-11/india": SECOND_RATE})
    priced(made, "order_update")
    assert charged(made).volume_tier == VolumeTier(tier="5001:MAX", rates=None)


def test_a_tier_of_another_month_market_or_category_is_not_this_messages() -> None:
    others = ("utility/2026-10/india", "utility/2026-11/brazil", "authentication/2026-11/india")
    price = priced(account(tier_notices=dict.fromkeys(others, FIRST_RATE)), "order_update")
    assert price.volume_tier is None


def test_facts_that_change_later_change_neither_a_decision_nor_the_state() -> None:
    made = account(primary_location="US", auth_international={"start_ms": 0})
    priced(made)
    charged(made)
    again = account()
    again.know(later(primary_location="IN", tier_notices={"authentication/2026-11/india": FIRST_RATE}))
    again.replay(made.log)
    assert again.states == made.states


def test_an_hour_of_the_next_month_counts_by_the_accounts_time_zone() -> None:
    made = account(timezone="Asia/Kolkata", tier_notices={"utility/2026-11/india": FIRST_RATE})
    midnight = NOW + (28 * 24 + 12 - 5) * HOUR - HOUR // 2  # 2026-12-01T00:00+05:30
    for at_ms, tier in ((midnight - 1, "1001:5000"), (midnight, None)):
        id_ = f"r{at_ms}"
        found = events(made.play(KEY, request(id_, template="order_update", user=INDIAN, at=at_ms), at_ms))[
            0
        ].decision
        assert found is not None
        assert found.price is not None
        assert (found.price.volume_tier and found.price.volume_tier.tier) == tier
