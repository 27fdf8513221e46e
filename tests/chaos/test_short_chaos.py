"""A short chaos run, as part of everything that must pass; `make chaos` is the long one."""

import pytest

from tests.chaos.run import NUMBERS, Plan, run


@pytest.mark.timeout(300)
async def test_faults_lose_double_and_miscount_nothing() -> None:
    said: list[str] = []
    report = await run(Plan(seed=3, events=4000, kills=2), said.append)
    assert report.clean, (report.as_json(), said)
    assert report.faults.keys() == {
        "kill router",
        "kill billing",
        "freeze router past its session",
        "empty Redis",
    }
    assert report.acknowledged == 760 + NUMBERS
