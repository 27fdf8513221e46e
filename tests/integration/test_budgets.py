"""Alerts of budgets on a real Kafka and Redis: each once in effect whatever is killed or lost, and the month over HTTP."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from deploy.local.stack import LocalStack
from services.billing.budgets.outbox import RedisOutbox
from services.billing.budgets.outlook import AccountOutlook
from services.billing.settings import TalliesSettings
from shared import kafka
from shared.clock import FileClock
from shared.events import AccountChanged, BillingAlert, LedgerEntry, decode_billing_alert, encode
from shared.stream.publisher import partition_of
from shared.stream.source import SOURCE_HEADER, source_header
from shared.times import parse_rfc3339
from shared.topics import ACCOUNT_EVENTS, BILLING_ALERTS, BILLING_CHARGES
from tests.conftest import Prefix
from tests.integration.test_billing import PARTITIONS, Process, entry, process, producer, read, settings_of
from tests.losing import lose

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CENT = 10_000
TALLIES = "services.billing.tallies"


@pytest.fixture
def clock(tmp_path: Path) -> FileClock:
    """The clock of the processes; it stands still."""
    clock = FileClock(tmp_path / "clock", start=NOON - timedelta(minutes=1))
    clock.stand(NOON)
    return clock


@pytest.fixture
async def settings(
    stack: LocalStack, prefix: Prefix, clock: FileClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TalliesSettings:
    """Settings of processes on topics of their own that look at the budgets all the time."""
    monkeypatch.setenv("WA_CLOCK_FILE", str(tmp_path / "clock"))
    monkeypatch.setenv("WA_BUDGETS_PERIOD_S", "0.01")
    settings = settings_of(stack, prefix)
    await kafka.create_topics(settings)
    return settings


@pytest.fixture
async def redis(settings: TalliesSettings) -> AsyncIterator[Redis]:
    client = Redis.from_url(settings.redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def to_kafka(settings: TalliesSettings) -> AsyncIterator[AIOKafkaProducer]:
    async with producer(settings) as one:
        yield one


async def set_up(
    to_kafka: AIOKafkaProducer,
    settings: TalliesSettings,
    waba_id: str,
    at: str = "2026-11-01T00:00:00Z",
    **facts: object,
) -> None:
    """Tell facts of an account, as `wam apply` does."""
    event = AccountChanged(
        event_id=f"{waba_id}:{at}",
        at_ms=parse_rfc3339(at),
        waba_id=waba_id,
        subject="account",
        id=waba_id,
        fields=facts,
    )
    await to_kafka.send_and_wait(kafka.name_of(ACCOUNT_EVENTS, settings), encode(event), waba_id.encode(), 0)


def charge(number: int, day: str = "2026-11-20", micros: int = CENT) -> LedgerEntry:
    """The nth charge of account W1, each to another user."""
    return msgspec.structs.replace(
        entry(number),
        waba_id="W1",
        free=False,
        type="regular",
        category="utility",
        amount_micros=micros,
        month=day[:7],
        day=day,
        delivered_at=f"{day}T11:59:59.000Z",
    )


async def book(to_kafka: AIOKafkaProducer, settings: TalliesSettings, charges: Iterable[LedgerEntry]) -> None:
    """Append charges to the ledger, each at the partition of its key."""
    topic, sent = kafka.name_of(BILLING_CHARGES, settings), []
    for one in charges:
        number = int(one.wamid.removeprefix("wamid."))
        key = f"{one.phone_number_id}:{one.user_ref}".encode()
        place = partition_of(key, PARTITIONS)
        headers = [(SOURCE_HEADER, source_header(place, number, 0))]
        sent.append(await to_kafka.send(topic, encode(one), key=key, partition=place, headers=headers))
    await asyncio.gather(*sent)


async def told(settings: TalliesSettings, least: int) -> list[bytes]:
    """The alerts as they were published, once there are `least` different ones."""
    return [record.value for record in await read(settings, BILLING_ALERTS, least)]


def spent(alerts: Iterable[bytes]) -> list[BillingAlert]:
    return [alert for alert in map(decode_billing_alert, alerts) if alert.alert == "spent"]


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_each_threshold_is_told_in_one_way_over_six_kills_in_the_middle_of_it(
    settings: TalliesSettings, to_kafka: AIOKafkaProducer, tmp_path: Path
) -> None:
    kills, share = 6, 40
    count = (kills + 1) * share
    percents = list(range(1, 101))
    budget = {"amount_micros": count * CENT}
    await set_up(to_kafka, settings, "W1", budgets=[budget], budget_thresholds=percents)
    async with process(TALLIES, settings, tmp_path / "log") as tallies:
        for kill in range(kills):
            tallies.start()
            await tallies.ready()
            await book(to_kafka, settings, map(charge, range(kill * share, (kill + 1) * share)))
            await told(settings, len(percents) * kill // (kills + 1) + 1)
            tallies.kill()
        tallies.start()
        await tallies.ready()
        await book(to_kafka, settings, map(charge, range(kills * share, count)))
        values = await told(settings, len(percents))
        assert tallies.terminate() == 0
    ways = Counter(decode_billing_alert(value).event_id for value in set(values))
    assert ways == {f"W1:all:2026-11:spent:{percent}": 1 for percent in percents}
    for alert in spent(values):
        assert alert.spent_micros is not None
        assert alert.budget_micros is not None
        assert alert.spent_micros * 100 >= alert.budget_micros * alert.percent


async def test_what_was_decided_before_a_kill_is_published_as_it_was_decided_and_not_decided_anew(
    settings: TalliesSettings, redis: Redis, to_kafka: AIOKafkaProducer, tmp_path: Path
) -> None:
    await set_up(to_kafka, settings, "W1", budgets=[{"amount_micros": 10 * CENT}])
    fixed = BillingAlert(
        event_id="W1:all:2026-11:spent:50",
        alert="spent",
        at="2026-11-20T11:00:00.000Z",
        waba_id="W1",
        month="2026-11",
        percent=50,
        currency="USD",
        budget_micros=10 * CENT,
        spent_micros=5 * CENT,
    )
    outbox = RedisOutbox(redis, settings.redis_namespace)
    await outbox.decide("2026-11", [fixed])
    later = msgspec.structs.replace(fixed, at="2026-11-20T11:30:00.000Z", spent_micros=6 * CENT)
    await outbox.decide("2026-11", [later, msgspec.structs.replace(later, event_id="other", percent=60)])
    assert [decode_billing_alert(value).event_id for value in await outbox.waiting()] == [
        fixed.event_id,
        "other",
    ]
    async with process(TALLIES, settings, tmp_path / "log") as tallies:
        await book(to_kafka, settings, map(charge, range(8)))
        tallies.start()
        await tallies.ready()
        values = await told(settings, 3)
        async with asyncio.timeout(30):
            while await outbox.waiting():
                await asyncio.sleep(0.02)
    assert values.count(encode(fixed)) == 1
    assert {alert.event_id for alert in spent(values)} == {fixed.event_id, "other", "W1:all:2026-11:spent:80"}


async def test_the_month_is_answered_over_http_and_told_once_more_for_what_came_in_its_last_moment(
    settings: TalliesSettings, to_kafka: AIOKafkaProducer, clock: FileClock, tmp_path: Path
) -> None:
    await set_up(to_kafka, settings, "W1", budgets=[{"amount_micros": 100 * CENT}], timezone="Asia/Kolkata")
    await set_up(to_kafka, settings, "W2", name="No budget")
    async with process(TALLIES, settings, tmp_path / "log") as tallies, aiohttp.ClientSession() as http:
        past = [charge(number, f"2026-11-{6 + number:02}", 3 * CENT) for number in range(14)]
        await book(to_kafka, settings, past)
        tallies.start()
        await tallies.ready()
        (expected,) = map(decode_billing_alert, await told(settings, 1))
        shown = await outlook_once(http, tallies.url, 42 * CENT)
        async with http.get(f"{tallies.url}/v1/forecasts") as answer:
            known = [account["waba_id"] for account in (await answer.json())["accounts"]]
        async with http.get(f"{tallies.url}/v1/forecasts/W3") as answer:
            assert answer.status == 404
        total = shown.scopes[0]
        assert (shown.month, shown.method, shown.days_known, known) == (
            "2026-11",
            "weekdays",
            14,
            ["W1", "W2"],
        )
        assert (total.spent_micros, total.used_percent) == (42 * CENT, 42)
        # At noon UTC it is 17:30 in Kolkata: ten days and 6.5 of 24 hours are left.
        assert total.expected_micros == 42 * CENT + 3 * CENT * 10 + 3 * CENT * 13 // 48
        assert expected.event_id == "W1:all:2026-11:forecast:50"
        clock.advance(11 * 86_400)
        await book(to_kafka, settings, [charge(14, "2026-11-30", 8 * CENT)])
        late = spent(await told(settings, 2))
        assert [(alert.event_id, alert.spent_micros, alert.at[:10]) for alert in late] == [
            ("W1:all:2026-11:spent:50", 50 * CENT, "2026-12-01")
        ]


async def test_a_redis_that_lost_everything_tells_again_under_the_same_names(
    settings: TalliesSettings, redis: Redis, to_kafka: AIOKafkaProducer, clock: FileClock, tmp_path: Path
) -> None:
    await set_up(to_kafka, settings, "W1", budgets=[{"amount_micros": 10 * CENT}])

    def names(values: Sequence[bytes]) -> set[str]:
        return {decode_billing_alert(value).event_id for value in values}

    async with process(TALLIES, settings, tmp_path / "log") as tallies:
        await run(tallies)
        await book(to_kafka, settings, map(charge, range(8)))
        before = await told(settings, 2)
        clock.advance(60)
        await lose(redis, f"*{settings.redis_namespace}*")
        after = await told(settings, 4)
    assert names(before) == names(after) == {f"W1:all:2026-11:spent:{percent}" for percent in (50, 80)}


async def outlook_once(
    http: aiohttp.ClientSession, url: str, spent_micros: int, within_s: float = 30
) -> AccountOutlook:
    """The month of W1, once all of it is counted."""
    async with asyncio.timeout(within_s):
        while True:
            async with http.get(f"{url}/v1/forecasts/W1") as answer:
                shown = msgspec.json.decode(await answer.read(), type=AccountOutlook)
            if shown.scopes[0].spent_micros == spent_micros:
                return shown
            await asyncio.sleep(0.05)


async def run(one: Process) -> None:
    one.start()
    await one.ready()
