"""The forecasts over HTTP: as the OpenAPI description promises, of every account that is set up, errors too."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any, cast

import jsonschema
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.billing.budgets.outlook import DaySpend
from services.billing.budgets.routes import BudgetRoutes
from services.billing.budgets.shown import RedisShown
from services.billing.tallies.answers import AsOf
from services.billing.tallies.lag import Lag
from services.billing.tallies.openapi import openapi
from shared.accounts import AccountFacts
from shared.clock import ManualClock
from shared.events import AccountChanged


class Shown:
    """One charge on each of the last three days, in W1 only."""

    async def spend(self, waba_id: str, today: date) -> list[DaySpend]:
        days = [DaySpend(today.replace(day=day), "utility", {"USD": 1_000_000}) for day in (17, 18, 19)]
        return days if waba_id == "W1" else []


class Counted:
    async def as_of(self) -> AsOf:
        return AsOf("2026-11-20T00:00:00.000Z", 7)


@pytest_asyncio.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    facts = AccountFacts()
    for nth, waba_id in enumerate(("W1", "W2"), start=1):
        fields = {"budgets": [{"amount_micros": 10_000_000}]} if waba_id == "W1" else {}
        facts.apply(
            AccountChanged(
                event_id=waba_id, at_ms=nth, waba_id=waba_id, subject="account", id=waba_id, fields=fields
            ),
            nth,
        )
    routes = BudgetRoutes(
        cast(RedisShown, Shown()),
        facts=lambda: facts,
        lag=cast(Lag, Counted()),
        clock=ManualClock(datetime(2026, 11, 20, tzinfo=UTC)),
    )
    app = web.Application()
    app.add_routes(routes.routes())
    async with TestClient(TestServer(app)) as one:
        yield one


@pytest.mark.parametrize(
    ("path", "described", "status"),
    [
        ("/v1/forecasts", "/v1/forecasts", 200),
        ("/v1/forecasts/W1", "/v1/forecasts/{waba_id}", 200),
        ("/v1/forecasts/W2", "/v1/forecasts/{waba_id}", 200),
        ("/v1/forecasts/W3", "/v1/forecasts/{waba_id}", 404),
    ],
)
async def test_an_answer_is_of_the_shape_that_is_described(
    client: TestClient[Any, Any], path: str, described: str, status: int
) -> None:
    answer = await client.get(path)
    assert answer.status == status
    schema = openapi()
    response = schema["paths"][described]["get"]["responses"][str(status)]["content"]["application/json"]
    jsonschema.validate(await answer.json(), {**response["schema"], "components": schema["components"]})


async def test_a_month_is_told_with_what_it_will_come_to_and_when_the_budget_is_used_up(
    client: TestClient[Any, Any],
) -> None:
    found = await (await client.get("/v1/forecasts/W1")).json()
    assert (found["method"], found["days_known"], found["as_of"]["waiting"]) == ("pace", 3, 7)
    total, utility = found["scopes"]
    assert (total["category"], total["spent_micros"], total["expected_micros"]) == (
        None,
        3_000_000,
        14_000_000,
    )
    assert (total["used_percent"], total["expected_percent"], total["used_up_on"]) == (30, 140, "2026-11-26")
    assert (utility["category"], utility["budget_micros"]) == ("utility", None)
    nothing = await (await client.get("/v1/forecasts/W2")).json()
    assert (nothing["method"], nothing["scopes"][0]["expected_micros"]) == ("none", None)
    assert (await (await client.get("/v1/forecasts/W3")).json())["error"]["code"] == "unknown_account"
