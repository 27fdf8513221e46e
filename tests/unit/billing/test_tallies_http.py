"""The tallies over HTTP: every answer is of the shape that the OpenAPI description promises, errors too."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast

import jsonschema
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisGone

from services.billing.settings import TalliesSettings
from services.billing.tallies.counting import Counting
from services.billing.tallies.lag import Lag
from services.billing.tallies.openapi import openapi
from services.billing.tallies.routes import Routes
from services.billing.tallies.rows import RedisRows
from services.billing.tally_rows import known_key
from shared.accounts import AccountFacts
from shared.clock import ManualClock
from shared.events import AccountChanged
from shared.stream.source import Source
from tests.unit.billing.test_free_tier import REGIMES
from tests.unit.billing.test_tallies import entry

AS_OF = {"at": "2026-12-01T01:30:00.000Z", "waiting": 2}
DESCRIPTION = openapi()
SET_UP: tuple[tuple[Literal["account", "number"], str, str], ...] = (
    ("account", "W1", "W1"),
    ("number", "W1", "N1"),
    ("account", "W2", "W2"),
)


class Shown:
    """What Redis shows: hashes and one set."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[bytes, bytes]] = {}
        self.known: set[bytes] = set()
        self.up = True

    async def hgetall(self, key: str) -> Mapping[bytes, bytes]:
        if not self.up:
            raise RedisGone("no Redis")
        return self.hashes.get(key, {})

    async def hmget(self, key: str, fields: Sequence[str]) -> list[bytes | None]:
        return [self.hashes.get(key, {}).get(field.encode()) for field in fields]

    async def smembers(self, key: str) -> set[bytes]:
        assert key == known_key("wa", 1)
        if not self.up:
            raise RedisGone("no Redis")
        return self.known

    def register_script(self, _: str) -> None:
        """Nothing is written here."""


class Ends:
    """Where the ledger ends; None while Kafka does not answer."""

    def __init__(self) -> None:
        self.ends: dict[int, int] | None = {0: 5, 1: 0}

    async def __call__(self, _: object) -> Mapping[int, int]:
        if self.ends is None:
            raise TimeoutError
        return self.ends


class Tallies:
    """The routes with one account: two entries of November 20, in UTC hours 23 of the day before."""

    def __init__(self) -> None:
        self.redis, self.ends = Shown(), Ends()
        facts = AccountFacts()
        for nth, (subject, waba_id, id) in enumerate(SET_UP, start=1):
            event = AccountChanged(
                event_id=f"e{nth}", at_ms=nth, waba_id=waba_id, subject=subject, id=id, fields={}
            )
            facts.apply(event, nth)
        counting = Counting({})
        counting.hours_since = "2026-11-20"
        counting.take(0, entry(), Source(0, 1, 0))
        counting.take(
            0, entry(free=True, type="free_tier", category="service", amount_micros=0, conversations=1), Source(0, 2, 0)
        )  # fmt: skip
        counting.take(0, entry(day="2026-11-03"), Source(0, 3, 0))
        for line, (_, value) in counting.encode_touched().items():
            self.redis.hashes.setdefault(line.hash_key("wa", 1), {})[line.field.encode()] = value
        self.redis.hashes["wa:tallies:2.1:shown"] = {b"0": b"2"}
        self.redis.known = {b"W1|2026-11", b"W1|2026-10", b"gone|2026-01"}
        redis = cast(Redis, self.redis)
        settings = TalliesSettings()
        clock = ManualClock(datetime(2026, 12, 1, 1, 30, tzinfo=UTC))
        lag = Lag(self.ends, RedisRows(redis, "wa", 1), clock, lambda: 2)
        routes = Routes(settings, redis, facts=lambda: facts, regimes=REGIMES, lag=lag)
        self.application = routes.application()


@pytest.fixture
def tallies() -> Tallies:
    return Tallies()


@pytest_asyncio.fixture
async def client(tallies: Tallies) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(tallies.application)) as one:
        yield one


async def ask(client: TestClient[Any, Any], path: str, described: str = "", status: int = 200) -> Any:
    """The answer, which is as it is described; an error without `described` is of the shape of all errors."""
    answer = await client.get(path)
    assert answer.status == status, await answer.text()
    body = await answer.json()
    schemas = DESCRIPTION["components"]["schemas"]
    if described:
        responses = DESCRIPTION["paths"][described]["get"]["responses"]
        name = responses[str(status)]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    else:
        name = "Failed"
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    jsonschema.validate(body, schema, cls=jsonschema.Draft202012Validator)
    return body


MONTH = "/v1/tallies/{waba_id}/{month}"


async def test_a_month_tells_lines_totals_free_tier_and_what_is_not_counted_yet(
    client: TestClient[Any, Any],
) -> None:
    found = await ask(client, "/v1/tallies/W1/2026-11", MONTH)
    assert found["as_of"] == AS_OF
    assert [(row["category"], row["unit"], row["free"], row["paid"]) for row in found["rows"]] == [
        ("service", "message", 1, 0),
        ("utility", "message", 0, 2),
    ]
    assert found["totals"]["service"]["conversations_free"] == 1
    assert found["free_tier"]["use"] == [{"owner": "N1", "used": 1, "left": 999}]
    alone = await ask(client, "/v1/tallies/W1/2026-11/free-tier", f"{MONTH}/free-tier")
    assert (alone["free_tier"], alone["as_of"]) == (found["free_tier"], AS_OF)


async def test_days_and_hours_of_a_month(client: TestClient[Any, Any]) -> None:
    days = (await ask(client, "/v1/tallies/W1/2026-11/days", f"{MONTH}/days"))["days"]
    assert [(line["day"], line["category"], line["free"] + line["paid"]) for line in days] == [
        ("2026-11-03", "utility", 1),
        ("2026-11-20", "service", 1),
        ("2026-11-20", "utility", 1),
    ]
    hours = (await ask(client, "/v1/tallies/W1/2026-11/hours?day=2026-11-20", f"{MONTH}/hours"))["hours"]
    assert [(line["hour"], line["category"], line["micros"]) for line in hours] == [
        ("2026-11-19T23:00:00Z", "service", {}),
        ("2026-11-19T23:00:00Z", "utility", {"USD": 55_000}),
    ]


async def test_a_day_without_hours_says_so(client: TestClient[Any, Any]) -> None:
    found = await ask(client, "/v1/tallies/W1/2026-11/hours?day=2026-11-03", f"{MONTH}/hours", 404)
    assert found["error"]["code"] == "hours_dropped"


async def test_accounts_and_months_known_are_listed(client: TestClient[Any, Any]) -> None:
    found = await ask(client, "/v1/tallies", "/v1/tallies")
    assert found["accounts"] == [
        {"waba_id": "W1", "months": ["2026-10", "2026-11"]},
        {"waba_id": "gone", "months": ["2026-01"]},
    ]


async def test_an_account_that_sent_nothing_has_an_empty_month(client: TestClient[Any, Any]) -> None:
    found = await ask(client, "/v1/tallies/W2/2026-11", MONTH)
    assert (found["rows"], found["totals"], found["free_tier"]["use"]) == ([], {}, [])
    await ask(client, "/v1/tallies/gone/2026-01", MONTH)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/tallies/W1/2026-13", 400, "invalid_month"),
        ("/v1/tallies/W1/November/days", 400, "invalid_month"),
        ("/v1/tallies/W1/2026-11/hours", 400, "invalid_day"),
        ("/v1/tallies/W1/2026-11/hours?day=2026-12-01", 400, "invalid_day"),
        ("/v1/tallies/W1/2026-11/hours?day=2026-11-31", 400, "invalid_day"),
        ("/v1/tallies/W9/2026-11", 404, "unknown_account"),
        ("/v1/tallies/W9/2026-11/free-tier", 404, "unknown_account"),
        ("/v1/nothing", 404, "unknown_path"),
    ],
)
async def test_a_question_that_makes_no_sense_is_answered_with_its_error(
    client: TestClient[Any, Any], path: str, status: int, code: str
) -> None:
    assert (await ask(client, path, status=status))["error"]["code"] == code


async def test_only_get_is_served(client: TestClient[Any, Any]) -> None:
    answer = await client.post("/v1/tallies")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")
    assert (await answer.json())["error"]["code"] == "method_not_allowed"


async def test_without_redis_there_is_no_answer_and_without_kafka_no_word_on_completeness(
    client: TestClient[Any, Any], tallies: Tallies
) -> None:
    tallies.ends.ends = None
    assert (await ask(client, "/v1/tallies/W1/2026-11", MONTH))["as_of"]["waiting"] is None
    tallies.redis.up = False
    assert (await ask(client, "/v1/tallies", "/v1/tallies", 503))["error"]["code"] == "unavailable"


async def test_the_description_is_served(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/v1/openapi.json")
    assert await answer.json() == DESCRIPTION
