"""The fake Meta's pricing and conversation analytics, over HTTP: from its own truth, and as scripts plant differences."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.simulator.bench import N1, START, A, Bench, template, text

pytestmark = pytest.mark.asyncio
GUERNSEY = "447781123456"
DIMENSIONS = '["PHONE","COUNTRY","PRICING_CATEGORY","PRICING_TYPE","TIER"]'
MIDNIGHT = int(START.replace(hour=0).timestamp())


def of(field: str, dimensions: str, **more: str) -> str:
    parameters = {
        "start": str(MIDNIGHT - 86_400),
        "end": str(MIDNIGHT + 3 * 86_400),
        "granularity": "DAILY",
        "phone_numbers": "[]",
        "country_codes": "[]",
        "metric_types": "[]",
        "dimensions": dimensions,
    } | more
    return f"/v23.0/W1?fields={field}" + "".join(f".{name}({value})" for name, value in parameters.items())


async def points(
    bench: Bench, field: str = "pricing_analytics", dimensions: str = DIMENSIONS, **more: str
) -> Any:
    status, answer = await bench.get(of(field, dimensions, **more))
    assert status == 200, answer
    assert answer["id"] == "W1"
    return answer[field]["data"][0]["data_points"]


async def per_message(bench: Bench, *rates: dict[str, Any]) -> None:
    await bench.sim("POST", "/options", {"pricing": "2026-10-01"})
    await bench.sim("PUT", "/rates", {"rates": list(rates)})


MARKETING = {"category": "marketing", "amount": "0.1365"}
UTILITY = {"country": "DE", "category": "utility", "amount": "0.0550"}


async def test_a_charged_delivery_is_counted_on_its_day_with_number_country_tier_and_cost(
    bench: Bench,
) -> None:
    await per_message(bench, MARKETING)
    await bench.call(template())
    await bench.advance(1)
    assert await points(bench) == [
        {
            "start": MIDNIGHT,
            "end": MIDNIGHT + 86_400,
            "phone_number": "15550253483",
            "country": "DE",
            "pricing_category": "MARKETING",
            "pricing_type": "REGULAR",
            "tier": "0:MAX",
            "volume": 1,
            "cost": 0.1365,
        }
    ]


async def test_what_is_free_has_no_tier_and_costs_nothing(bench: Bench) -> None:
    await per_message(bench, {"category": "service", "amount": "0.05"})
    await bench.writes(A)
    await bench.call(text())
    await bench.advance(1)
    (point,) = await points(bench)
    assert "tier" not in point
    assert (point["pricing_type"], point["volume"], point["cost"]) == ("FREE_CUSTOMER_SERVICE", 1, 0)


async def test_only_what_was_delivered_counts(bench: Bench) -> None:
    await per_message(bench)
    await bench.sim("POST", "/script", {"then": {"delivery": "failed"}})
    await bench.call(template())
    await bench.advance(5)
    assert await points(bench) == []


async def test_tiers_begin_with_the_units_they_name(bench: Bench) -> None:
    low = {"category": "utility", "amount": "0.0500"}
    await per_message(bench, {**low, "tier": "0:2"}, {**low, "amount": "0.0400", "tier": "3:MAX"})
    for _ in range(3):
        await bench.call(template("order_update"))
        await bench.advance(1)
    assert {p["tier"]: (p["volume"], p["cost"]) for p in await points(bench)} == {
        "0:2": (2, 0.1),
        "3:MAX": (1, 0.04),
    }


async def test_days_are_those_of_the_accounts_time_zone(bench: Bench) -> None:
    await bench.sim("PATCH", "/accounts/W1", {"timezone": "America/Los_Angeles"})
    await per_message(bench, MARKETING)
    await bench.call(template())
    await bench.advance(1)
    (point,) = await points(bench)
    assert datetime.fromtimestamp(point["start"], UTC).hour == 8


async def test_a_territory_is_a_country_of_its_own(bench: Bench) -> None:
    await per_message(bench, MARKETING)
    await bench.call(template(to=GUERNSEY))
    await bench.advance(1)
    (point,) = await points(bench)
    assert point["country"] == "GG"


async def test_filters_and_fewer_dimensions_add_up_what_is_left(bench: Bench) -> None:
    await per_message(bench, MARKETING, UTILITY)
    await bench.call(template())
    await bench.call(template("order_update"))
    await bench.advance(1)
    (point,) = await points(bench, dimensions='["PHONE"]', country_codes='["DE"]')
    assert (point["volume"], point["cost"]) == (2, 0.1915)
    assert await points(bench, phone_numbers='["1234"]') == []
    assert await points(bench, country_codes='["FR"]') == []


async def test_conversations_have_analytics_of_their_own(bench: Bench) -> None:
    await bench.sim("POST", "/options", {"pricing": "guide"})
    await bench.sim("PUT", "/rates", {"rates": [{**MARKETING, "amount": "0.03"}]})
    await bench.call(template())
    await bench.call(template())
    await bench.advance(1)
    dimensions = '["PHONE","COUNTRY","CONVERSATION_CATEGORY","CONVERSATION_TYPE","CONVERSATION_DIRECTION"]'
    (point,) = await points(bench, "conversation_analytics", dimensions)
    assert (point["conversation"], point["cost"], point["conversation_type"]) == (1, 0.03, "REGULAR")
    assert point["conversation_direction"] == "BUSINESS_INITIATED"
    assert await points(bench) == []


async def test_a_lost_webhook_leaves_the_delivery_in_the_analytics(bench: Bench) -> None:
    await per_message(bench, MARKETING)
    await bench.sim("POST", "/script", {"then": {"unsaid": ["delivered"]}})
    await bench.call(template())
    await bench.advance(1)
    assert [s["status"] for s in bench.receiver.statuses()] == ["sent"]
    assert [p["volume"] for p in await points(bench)] == [1]


async def test_a_delivery_is_counted_as_a_script_says_while_its_webhook_tells_what_is_true(
    bench: Bench,
) -> None:
    await per_message(bench, MARKETING, UTILITY)
    as_ = {"category": "utility", "days": 1, "cost": "0.0700", "country": "FR"}
    await bench.sim("POST", "/script", {"then": {"counted_as": as_}})
    await bench.call(template())
    await bench.advance(1)
    (point,) = await points(bench)
    assert (point["pricing_category"], point["start"], point["country"]) == (
        "UTILITY",
        MIDNIGHT + 86_400,
        "FR",
    )
    assert point["cost"] == 0.07
    assert bench.receiver.statuses()[-1]["pricing"]["category"] == "marketing"


async def test_a_delivery_can_be_left_out_or_counted_though_nobody_sent_it(bench: Bench) -> None:
    await per_message(bench, MARKETING)
    await bench.sim("POST", "/script", {"then": {"counted_as": {"volume": 0}}})
    await bench.call(template())
    await bench.advance(1)
    assert await points(bench) == []
    extra = {"phone_number_id": N1, "country": "DE", "category": "marketing"}
    await bench.sim("POST", "/deliveries", extra)
    assert [p["volume"] for p in await points(bench)] == [1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"start": "x"}, "start and end"),
        ({"granularity": "HOURLY"}, "granularity"),
        ({"metric_types": '["VOLUMES"]'}, "VOLUMES"),
    ],
)
async def test_what_meta_does_not_know_is_refused(bench: Bench, more: dict[str, str], said: str) -> None:
    status, answer = await bench.get(of("pricing_analytics", DIMENSIONS, **more))
    assert (status, answer["error"]["code"]) == (400, 100)
    assert said in answer["error"]["message"] + str(answer["error"].get("error_data"))


async def test_an_unknown_dimension_is_refused(bench: Bench) -> None:
    status, _ = await bench.get(of("pricing_analytics", '["MOON"]'))
    assert status == 400
