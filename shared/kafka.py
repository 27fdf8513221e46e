"""Kafka clients as all services use them: `acks=all`, idempotent, static membership, no silent offset reset; and the topics' creation."""

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, ProducerClosed, TopicAlreadyExistsError, for_code

from shared.settings import ServiceSettings
from shared.topics import DEAD_LETTERS, MAX_RECORD_BYTES, TOPICS, Topic

log = structlog.get_logger(__name__)

_LEADERS_WITHIN_S = 60.0
"""Longest that new topics may take to be served; a busy broker takes seconds."""
_LOOK_EVERY_S = 0.02


_send = AIOKafkaConnection.send


def _send_or_break(connection: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
    """A request sent, or KafkaConnectionError.

    uvloop refuses to write to a transport that was closed a moment ago with a RuntimeError. aiokafka (0.14) expects none there but OSError: it would take it for a fault of
    its own, and end the consumer for good.
    """
    try:
        return _send(connection, request, expect_response)
    except RuntimeError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(
            f"connection to {connection.host}:{connection.port} broken: {error}"
        ) from error


AIOKafkaConnection.send = _send_or_break


def name_of(topic: Topic, settings: ServiceSettings) -> str:
    """The topic's full name in this deployment."""
    return settings.topic_prefix + topic.name


def connection(settings: ServiceSettings) -> dict[str, Any]:
    """The arguments that every Kafka client shares: servers, TLS and SASL."""
    tls = settings.kafka_security.endswith("SSL") and settings.kafka_security != "PLAINTEXT"
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        "security_protocol": settings.kafka_security,
        "ssl_context": ssl.create_default_context(cafile=settings.kafka_ca_file) if tls else None,
    }
    if settings.kafka_security.startswith("SASL"):
        password = settings.kafka_password
        arguments |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }
    return arguments


BATCH_BYTES = 1_000_000
"""Of one partition in one request at most: what a batch of the stream brings forth goes out at once, and a consumer that fetches 1 MiB of a partition, Kafka's default, gets all of it."""


def producer(
    settings: ServiceSettings, *, linger_ms: int = 0, request_timeout_ms: int = 10_000
) -> AIOKafkaProducer:
    """A producer that loses and doubles nothing on its own: `acks=all`, idempotent."""
    return AIOKafkaProducer(
        **connection(settings),
        acks="all",
        enable_idempotence=True,
        linger_ms=linger_ms,
        max_batch_size=BATCH_BYTES,
        max_request_size=MAX_RECORD_BYTES,
        request_timeout_ms=request_timeout_ms,
    )


async def abandon(producer: AIOKafkaProducer, within_s: float) -> None:
    """Close a producer that gave a batch up: what else is in it fails, with ProducerClosed. Left to itself it would try on, without a pause where a partition has no leader."""
    producer._sender.sender_task.cancel()
    await close(producer, within_s)
    producer._message_accumulator.fail_all(ProducerClosed())


async def close(producer: AIOKafkaProducer, within_s: float) -> None:
    """Close a producer; who sent what is then left in it has been told that it failed."""
    try:
        async with asyncio.timeout(within_s):
            await producer.stop()
    except TimeoutError:
        log.warning("producer_stopped_with_batches_left")
        await producer.client.close()


def group_consumer(
    settings: ServiceSettings, group: str, *, fetch_bytes: int = 50 * 1024 * 1024
) -> AIOKafkaConsumer:
    """A consumer of a group with static membership and manual commits; subscribe it before use.

    `auto_offset_reset=none`: an offset out of range is an alarm, never a silent skip. `fetch_bytes` is how much one fetch brings at most.
    """
    session_ms = int(settings.session_timeout_s * 1000)
    return AIOKafkaConsumer(
        **connection(settings),
        group_id=group,
        group_instance_id=f"{group}-{settings.instance}",
        enable_auto_commit=False,
        auto_offset_reset="none",
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=max(500, session_ms // 5),
        rebalance_timeout_ms=max(session_ms, 30_000),
        fetch_max_bytes=fetch_bytes,
        max_partition_fetch_bytes=MAX_RECORD_BYTES + 1024,
        fetch_max_wait_ms=100,
    )


def reader(settings: ServiceSettings) -> AIOKafkaConsumer:
    """A consumer without a group, for reading a partition from where one says."""
    return AIOKafkaConsumer(
        **connection(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=MAX_RECORD_BYTES + 1024,
        fetch_max_wait_ms=50,
    )


async def create_topics(
    settings: ServiceSettings, topics: Iterable[Topic] = (*TOPICS, *DEAD_LETTERS)
) -> list[str]:
    """Create the topics that are missing and return their names once every partition has a leader; existing ones are left as they are.

    Raises:
        KafkaError: a topic could not be created.
        TimeoutError: Kafka has taken them and gives no leaders.
    """
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        wanted = [
            NewTopic(
                name=name_of(topic, settings),
                num_partitions=1 if topic.single else settings.partitions,
                replication_factor=settings.replication,
                topic_configs={
                    "retention.ms": str(topic.retention_ms),
                    "max.message.bytes": str(MAX_RECORD_BYTES),
                    "min.insync.replicas": str(min(2, settings.replication)),
                    "cleanup.policy": "compact" if topic.compacted else "delete",
                },
            )
            for topic in topics
        ]
        try:
            answer = await admin.create_topics(wanted)
        except TopicAlreadyExistsError:
            return []
        created = []
        for name, code, *_ in answer.topic_errors:
            error = for_code(code)
            if error is TopicAlreadyExistsError:
                continue
            if code:
                raise error(f"creating topic {name}")
            created.append(name)
        async with asyncio.timeout(_LEADERS_WITHIN_S):
            while created and not await _led(admin, created):  # noqa: ASYNC110 - Kafka tells nobody
                await asyncio.sleep(_LOOK_EVERY_S)
        return created
    finally:
        await admin.close()


async def _led(admin: AIOKafkaAdminClient, names: list[str]) -> bool:
    """Whether a client that begins now would find every partition of the topics and its leader."""
    return all(
        topic["error_code"] == 0
        and topic["partitions"]
        and all(part["error_code"] == 0 for part in topic["partitions"])
        for topic in await admin.describe_topics(names)
    )
