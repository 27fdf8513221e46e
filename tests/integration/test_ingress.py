"""Ingress as a process on a real Kafka: what is answered with 200 is on its topic, and requests come out checked."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from deploy.local.ports import free_ports
from deploy.local.stack import LocalStack, ServiceProcess
from shared import kafka
from shared.events import (
    AccountChanged,
    AccountWebhook,
    MessageReceived,
    RequestMalformed,
    SendRequested,
    decode_account_event,
    decode_conversation_event,
    encode,
)
from shared.settings import ServiceSettings
from shared.times import DAY_MS
from shared.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS, SEND_REQUESTS, WEBHOOKS, Topic
from tests.conftest import Prefix

SECRET = "integration-secret"
FIXTURES = Path(__file__).parents[1] / "fixtures" / "webhooks"
PARTITIONS = 4


class Ingress:
    """The running process, and the Kafka it works on."""

    def __init__(self, process: ServiceProcess, settings: ServiceSettings, ports: list[int]) -> None:
        self.process = process
        self.settings = settings
        self.url = f"http://127.0.0.1:{ports[0]}/webhooks"
        self.probes = f"http://127.0.0.1:{ports[1]}"
        self.http = aiohttp.ClientSession()
        self.reader = kafka.reader(settings)

    async def post(self, body: bytes) -> int:
        signature = "sha256=" + hmac.digest(SECRET.encode(), body, "sha256").hex()
        async with self.http.post(self.url, data=body, headers={"X-Hub-Signature-256": signature}) as answer:
            return answer.status

    async def ready(self) -> bool:
        async with self.http.get(f"{self.probes}/ready") as answer:
            return answer.status == 200

    async def records(self, topic: Topic) -> list[ConsumerRecord]:
        """Everything on the topic now, partition by partition."""
        name = kafka.name_of(topic, self.settings)
        places = [TopicPartition(name, number) for number in range(1 if topic.single else PARTITIONS)]
        reader = self.reader
        ends = await reader.end_offsets(places)
        reader.assign(places)
        for place in places:
            reader.seek(place, 0)
        found: list[ConsumerRecord] = []
        async with asyncio.timeout(20):
            while any([await reader.position(place) < ends[place] for place in places]):
                for rows in (await reader.getmany(timeout_ms=200)).values():
                    found += rows
        return found

    async def produce(
        self, topic: Topic, *values: bytes, key: bytes | None = None, timestamp_ms: int | None = None
    ) -> None:
        producer: AIOKafkaProducer = kafka.producer(self.settings)
        await producer.start()
        try:
            name = kafka.name_of(topic, self.settings)
            sends = [await producer.send(name, value, key=key, timestamp_ms=timestamp_ms) for value in values]
            for sent in sends:
                await sent
        finally:
            await producer.stop()

    async def open(self) -> None:
        await self.reader.start()
        await self.process.start(f"{self.probes}/ready", timeout_s=60)

    async def close(self) -> None:
        await self.process.stop()
        await self.reader.stop()
        await self.http.close()


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 40) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(stack: LocalStack, prefix: Prefix, tmp_path: Path, **env: str) -> AsyncIterator[Ingress]:
    settings = ServiceSettings(
        kafka_bootstrap=stack.endpoints.kafka_bootstrap,
        topic_prefix=prefix.topics,
        partitions=PARTITIONS,
        replication=1,
    )
    await kafka.create_topics(settings)
    ports = free_ports(2)
    all_env: Mapping[str, str] = {
        **prefix.env,
        "WA_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "WA_REDIS_URL": stack.endpoints.redis_url,
        "WA_PARTITIONS": str(PARTITIONS),
        "WA_HTTP_PORT": str(ports[0]),
        "WA_METRICS_PORT": str(ports[1]),
        "WA_APP_SECRET": SECRET,
        "WA_VERIFY_TOKEN": "token",
        **env,
    }
    process = ServiceProcess("ingress", all_env, tmp_path)
    ingress = Ingress(process, settings, list(ports))
    try:
        await ingress.open()
        yield ingress
    finally:
        await ingress.close()


@pytest_asyncio.fixture
async def ingress(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> AsyncIterator[Ingress]:
    async with running(stack, prefix, tmp_path) as started:
        yield started


def fixture(name: str) -> tuple[bytes, list[dict[str, Any]]]:
    shape = json.loads((FIXTURES / f"{name}.json").read_text())
    return json.dumps(shape["body"]).encode(), shape["expected"]


def request(request_id: str, to: str = "+4915112345678", **members: Any) -> bytes:
    message = {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "hi"}}
    return json.dumps({"request_id": request_id, "message": message} | members).encode()


async def test_what_is_answered_with_200_is_on_the_right_topics_by_then(ingress: Ingress) -> None:
    body, expected = fixture("batch_of_several_entries")
    assert await ingress.post(body) == 200
    conversation = await ingress.records(CONVERSATION_EVENTS)
    account = await ingress.records(ACCOUNT_EVENTS)
    assert sorted(row.key.decode() for row in conversation) == sorted(
        update["key"] for update in expected if update["topic"] == CONVERSATION_EVENTS.name
    )
    assert [(row.key, type(decode_account_event(row.value))) for row in account] == [(b"55", AccountWebhook)]
    assert sorted(decode_conversation_event(row.value).event_id for row in conversation) == [
        "wamid.b1", "wamid.b2", "wamid.b3:read", "wamid.b4:sent",
    ]  # fmt: skip


async def test_what_cannot_be_read_is_parked_and_the_rest_goes_on(ingress: Ingress) -> None:
    body, expected = fixture("damaged_parts_among_good_ones")
    assert await ingress.post(body) == 200
    parked = await ingress.records(WEBHOOKS.dead_letters)
    places = [f"webhook:{update['undecodable']}" for update in expected if "undecodable" in update]
    assert sorted(dict(row.headers)["dlq-source"].decode() for row in parked) == sorted(places)
    (good,) = await ingress.records(CONVERSATION_EVENTS)
    assert decode_conversation_event(good.value).event_id == "wamid.ok:read"


async def test_a_message_of_3_mb_arrives_whole(ingress: Ingress) -> None:
    body, _ = fixture("message_text")
    body = body.replace(b"Does it come", b"x" * 3_000_000)
    assert await ingress.post(body) == 200
    (row,) = await ingress.records(CONVERSATION_EVENTS)
    event = decode_conversation_event(row.value)
    assert isinstance(event, MessageReceived)
    assert len(bytes(event.message)) > 3_000_000


async def test_the_wrong_signature_and_the_unknown_object_leave_nothing_on_any_topic(
    ingress: Ingress,
) -> None:
    body, _ = fixture("message_text")
    async with ingress.http.post(ingress.url, data=body) as answer:
        assert answer.status == 401
    assert await ingress.post(b'{"object":"user","entry":[{"id":"1"}]}') == 404
    for topic in (CONVERSATION_EVENTS, ACCOUNT_EVENTS, WEBHOOKS.dead_letters):
        assert await ingress.records(topic) == []


async def test_good_bad_and_unreadable_requests_each_go_their_way(ingress: Ingress) -> None:
    number = AccountChanged(
        event_id="n",
        at_ms=1,
        waba_id="1",
        subject="number",
        id="106",
        fields={"default": True, "display_phone_number": "1"},
    )
    await ingress.produce(ACCOUNT_EVENTS, encode(number), key=b"1")

    async def default_known() -> bool:
        async with ingress.http.get(f"{ingress.probes}/metrics") as answer:
            return "wa_account_facts_revision 1.0" in await answer.text()

    await until(default_known)
    good = [request(f"good-{n}", to=f"+49151123456{n:02}") for n in range(20)]
    await ingress.produce(SEND_REQUESTS, *good[:10], b"no json", b'{"request_id":"bad"}', *good[10:])

    async def arrived() -> bool:
        return len(await ingress.records(CONVERSATION_EVENTS)) >= 21

    await until(arrived)
    events = [
        (row.key.decode(), decode_conversation_event(row.value))
        for row in await ingress.records(CONVERSATION_EVENTS)
    ]
    requested = {event.request_id: key for key, event in events if isinstance(event, SendRequested)}
    assert requested == {f"good-{n}": f"106:49151123456{n:02}" for n in range(20)}
    (refused,) = [(key, event) for key, event in events if isinstance(event, RequestMalformed)]
    assert refused[0] == "malformed:bad"
    assert refused[1].problems == ["message: Field required"]
    (parked,) = await ingress.records(SEND_REQUESTS.dead_letters)
    assert parked.value == b"no json"
    assert dict(parked.headers)["dlq-source"].startswith(
        f"{ingress.settings.topic_prefix}send.requests.v1:".encode()
    )


async def test_after_a_kill_every_request_still_comes_out(
    stack: LocalStack, prefix: Prefix, tmp_path: Path
) -> None:
    async with running(stack, prefix, tmp_path, WA_SESSION_TIMEOUT_S="6") as ingress:
        ids = {f"r{n}" for n in range(400)}
        values = [request(name, **{"from": "106"}) for name in sorted(ids)]
        producing = asyncio.create_task(ingress.produce(SEND_REQUESTS, *values))

        async def seen() -> set[str]:
            rows = await ingress.records(CONVERSATION_EVENTS)
            return {
                event.request_id
                for row in rows
                if isinstance(event := decode_conversation_event(row.value), SendRequested)
            }

        async def some() -> bool:
            return bool(await seen())

        async def all_of_them() -> bool:
            return await seen() == ids

        await until(some)
        await ingress.process.kill()
        await producing
        await ingress.process.start(f"{ingress.probes}/ready")
        await until(all_of_them)


async def test_stopped_and_started_again_it_goes_on_where_it_was(ingress: Ingress) -> None:
    await ingress.produce(SEND_REQUESTS, *(request(f"a{n}", **{"from": "106"}) for n in range(50)))

    async def first() -> bool:
        return len(await ingress.records(CONVERSATION_EVENTS)) == 50

    await until(first)
    await ingress.process.stop()
    assert ingress.process.returncode == 0
    await ingress.produce(SEND_REQUESTS, request("b", **{"from": "106"}))
    await ingress.process.start(f"{ingress.probes}/ready")

    async def second() -> bool:
        return len(await ingress.records(CONVERSATION_EVENTS)) > 50

    await until(second)
    rows = await ingress.records(CONVERSATION_EVENTS)
    ids = [decode_conversation_event(row.value).event_id for row in rows]
    assert sorted(ids) == sorted([*(f"a{n}:requested" for n in range(50)), "b:requested"])


async def test_a_group_that_kafka_forgot_takes_nothing_that_the_router_may_have_forgotten_too(
    stack: LocalStack, prefix: Prefix, tmp_path: Path
) -> None:
    async with running(stack, prefix, tmp_path, WA_INGRESS_INTAKE="false") as without_intake:
        old_ms = int(time.time() * 1000) - 8 * DAY_MS
        old, new = request("old", **{"from": "106"}), request("new", **{"from": "106"})
        await without_intake.produce(SEND_REQUESTS, old, timestamp_ms=old_ms)
        await without_intake.produce(SEND_REQUESTS, new)
    async with running(stack, prefix, tmp_path) as ingress:

        async def arrived() -> bool:
            return bool(await ingress.records(CONVERSATION_EVENTS))

        await until(arrived)
        events = [decode_conversation_event(row.value) for row in await ingress.records(CONVERSATION_EVENTS)]
        assert [event.event_id for event in events] == ["new:requested"]
        assert "intake_skips_old_requests" in ingress.process.log_tail(100)


async def test_after_kafka_was_away_requests_are_taken_in_again(prefix: Prefix, tmp_path: Path) -> None:
    """What becomes of webhooks meanwhile: tests/chaos/test_short_outage.py."""
    async with LocalStack(name="ingress-outage") as own:
        if not own.parts or own.endpoints.kafka_bootstrap != own._kafka.bootstrap:
            pytest.skip("Kafka is given by the environment and can't be stopped")
        async with running(own, prefix, tmp_path) as ingress:
            await own.kafka.stop()
            await own.kafka.start()
            await ingress.produce(SEND_REQUESTS, request("after", **{"from": "106"}))

            async def taken_in() -> bool:
                rows = await ingress.records(CONVERSATION_EVENTS)
                return b"malformed" not in b"".join(row.key for row in rows) and any(
                    isinstance(decode_conversation_event(row.value), SendRequested) for row in rows
                )

            await until(taken_in, within_s=60)
            assert ingress.process.returncode is None
