"""Ingress as a process on a real Kafka: what is answered with 200 is on its topic."""

import asyncio
import hmac
import json
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
    AccountWebhook,
    MessageReceived,
    SendRequested,
    decode_account_event,
    decode_conversation_event,
)
from shared.settings import ServiceSettings
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
async def running(
    stack: LocalStack, prefix: Prefix, tmp_path: Path, service: str = "ingress", **env: str
) -> AsyncIterator[Ingress]:
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
    process = ServiceProcess(service, all_env, tmp_path)
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


async def test_webhooks_wait_for_kafka_alone_and_after_its_absence_all_goes_on(
    prefix: Prefix, tmp_path: Path
) -> None:
    async with LocalStack(name="ingress-outage") as own:
        if not own.parts or own.endpoints.kafka_bootstrap != own._kafka.bootstrap:
            pytest.skip("Kafka is given by the environment and can't be stopped")
        async with (
            running(own, prefix, tmp_path) as ingress,
            running(own, prefix, tmp_path, "ingress.intake") as intake,
        ):
            body, _ = fixture("message_text")
            intake.process.pause()
            await ingress.produce(SEND_REQUESTS, request("before", **{"from": "106"}))
            assert await ingress.post(body) == 200, "intake stands still, and webhooks do not wait for it"
            await until(ingress.ready)
            intake.process.resume()
            await own.kafka.stop()
            await own.kafka.start()
            await ingress.produce(SEND_REQUESTS, request("after", **{"from": "106"}))

            async def taken_in() -> bool:
                rows = await ingress.records(CONVERSATION_EVENTS)
                events = [decode_conversation_event(row.value) for row in rows]
                return {e.request_id for e in events if isinstance(e, SendRequested)} == {"before", "after"}

            await until(taken_in, within_s=60)
            assert ingress.process.returncode is None
            assert intake.process.returncode is None
