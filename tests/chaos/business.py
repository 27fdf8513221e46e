"""One business that the system and the fake Meta both know, and records appended to its topics."""

import asyncio
import time

import aiohttp

from shared import events, kafka
from shared.settings import ServiceSettings
from shared.topics import ACCOUNT_EVENTS, Topic
from tests.bench import load

TEMPLATES = {"utility": "order_update", "marketing": "promo", "authentication": "login_code"}
"""Category → the template of that category; of service there is none."""


def settings_of(env: dict[str, str]) -> ServiceSettings:
    """The settings of a client of the same system, from what its services get."""
    return ServiceSettings(
        kafka_bootstrap=env["WA_KAFKA_BOOTSTRAP"],
        redis_url=env["WA_REDIS_URL"],
        topic_prefix=env["WA_TOPIC_PREFIX"],
        redis_namespace=env["WA_REDIS_NAMESPACE"],
        partitions=int(env["WA_PARTITIONS"]),
        replication=1,
    )


async def introduce(settings: ServiceSettings, sim: str, numbers: int, options: dict[str, object]) -> None:
    """Tell the system and the fake Meta (`sim`: root of its control API) of one account with so many numbers and three templates."""
    facts = load.accounts(numbers, int(time.time() * 1000), regime="2025-07-01")
    await append(settings, ACCOUNT_EVENTS, [(fact.waba_id, events.encode(fact)) for fact in facts])
    account = {
        "id": load.WABA,
        "numbers": [
            {"id": load.number_id(i), "display_phone_number": f"+1 555 {i:07}", "default": i == 0}
            for i in range(numbers)
        ],
        "templates": [
            {"name": name, "language": "en", "category": category} for category, name in TEMPLATES.items()
        ],
    }
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        await http.put(f"{sim}/accounts", json={"wabas": [account]})
        await http.post(f"{sim}/options", json={**options, "pricing": "2025-07-01"})


async def append(settings: ServiceSettings, topic: Topic, rows: list[tuple[str, bytes]]) -> None:
    """Append (key, value) records; returns when Kafka has them."""
    producer = kafka.producer(settings, linger_ms=5)
    await producer.start()
    try:
        name = kafka.name_of(topic, settings)
        await asyncio.gather(*[await producer.send(name, value, key=key.encode()) for key, value in rows])
    finally:
        await producer.stop()
