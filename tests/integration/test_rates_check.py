"""`wam rates check` on a real Kafka: the accounts that are set up, against the cards that are there."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

from deploy.local.paths import REPOSITORY
from deploy.local.stack import LocalStack
from shared import kafka
from shared.events import AccountChanged, encode
from shared.settings import ServiceSettings
from shared.topics import ACCOUNT_EVENTS
from tests.conftest import Prefix


async def test_an_account_whose_currency_has_no_card_is_found(stack: LocalStack, prefix: Prefix) -> None:
    settings = ServiceSettings(
        kafka_bootstrap=stack.endpoints.kafka_bootstrap,
        topic_prefix=prefix.topics,
        partitions=1,
        replication=1,
    )
    await kafka.create_topics(settings)
    producer = kafka.producer(settings)
    await producer.start()
    try:
        for id_, currency in (("1", "USD"), ("2", "EUR")):
            event = AccountChanged(
                event_id=id_, at_ms=1, waba_id=id_, subject="account", id=id_, fields={"currency": currency}
            )
            topic = kafka.name_of(ACCOUNT_EVENTS, settings)
            await producer.send_and_wait(topic, encode(event), key=id_.encode())
    finally:
        await producer.stop()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.console.cli", "rates", "check"),
        cwd=REPOSITORY,
        env={**os.environ, "WA_KAFKA_BOOTSTRAP": stack.endpoints.kafka_bootstrap, **prefix.env},
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1, err.decode()
    assert "account 2: no EUR card in the regime" in out.decode()
    assert "account 1:" not in out.decode()
    assert "2 accounts looked at" in out.decode()
