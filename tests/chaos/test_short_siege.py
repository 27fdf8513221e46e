"""A short siege, as part of everything that must pass; `make siege` is the long one, and judges the times too."""

import json

from deploy.local.stack import LocalStack
from tests.siege.run import GROWTH_MB, besieged, siege

ATTACKS = ("slow_headers", "slow_bodies", "wrong_signatures", "idle")


async def test_under_attack_all_good_webhooks_are_taken_and_the_memory_comes_back(stack: LocalStack) -> None:
    async with besieged(stack) as target:
        phases = await siege(target, ATTACKS, 1.0, wrong_signatures=2000, seed=3)
        assert "Traceback" not in target.log.read_text()
    for phase in phases:
        assert set(phase.answers) == {"200"}, json.dumps(phase.as_json())
        assert phase.after_mb <= phase.peace_mb + GROWTH_MB, json.dumps(phase.as_json())
        assert phase.attack_code == 0
