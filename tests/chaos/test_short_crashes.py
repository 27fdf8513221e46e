"""A short run of crashes, as part of everything that must pass; `make crashes` is the long one."""

import json
from collections.abc import Mapping

from tests.chaos.sends.plan import Plan
from tests.chaos.sends.run import run


class Silent:
    """Nobody looks on."""

    def doing(self, what: str) -> None:
        """Not shown."""

    def crashed(self, crashes: Mapping[str, int], zombies: Mapping[str, int]) -> None:
        """Not shown."""


async def test_senders_killed_at_every_moment_of_a_send_lose_nothing_and_send_nothing_twice() -> None:
    report = await run(Plan(seed=3, crashes=10, zombies=1, at_default_settings=False), Silent())
    assert report.clean, json.dumps(report.as_json())
    assert report.crashes == {"claimed": 2, "calling": 2, "answered": 2, "recorded": 2, "reported": 2}
    assert report.answers_lost.total() > 5
    assert report.verdict.resolved["given up"] > 0
    assert report.verdict.sent_twice["authentication"] == 0
    assert len(report.takeovers_s) == 1
