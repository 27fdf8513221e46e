"""Kafka away for seconds under load, as part of everything that must pass; `make outage` is the long one."""

import json
from dataclasses import asdict

import pytest

from deploy.local.stack import LocalStack
from tests.outage.run import KINDS, outage, services, tell


@pytest.mark.long
async def test_while_kafka_is_away_503_is_answered_and_afterwards_every_message_is_told_once() -> None:
    async with LocalStack(name="outage") as stack:
        if len(stack.parts) < 2:
            pytest.skip("Kafka is given by the environment and can't be stopped")
        async with services(stack, WA_WEBHOOK_KAFKA_TIMEOUT_S="2") as running:
            found = [await outage(stack, running, kind, 4, rate=100, seed=3) for kind in KINDS]
            await tell(running, found)
    for one in found:
        assert one.clean, json.dumps(asdict(one))
        assert one.until_unready_s is not None
        assert one.until_503_s is not None
        assert one.until_unready_s < one.until_503_s, "readiness is to turn first"
