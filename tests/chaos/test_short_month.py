"""Two short months as part of everything that must pass; `make month` plays the long ones."""

import json
from pathlib import Path

import pytest

from tests.billing_month import reconciled
from tests.billing_month.differences import KINDS
from tests.billing_month.run import run


class Silent:
    """Nobody looks on."""

    def doing(self, what: str) -> None:
        """Not shown."""

    def moved(self, done: int, total: int) -> None:
        """Not shown."""


async def test_a_months_books_equal_an_independent_reckoning_though_billing_is_killed_and_redis_lost() -> (
    None
):
    report = await run(10_000, seed=5, kills=2, watching=Silent(), undisturbed=False)
    assert report.clean, json.dumps(report.as_json(), indent=1)
    (disturbed,) = report.rounds
    assert disturbed.killed == {"ledger": 2, "tallies": 2, "redis killed": 1, "redis emptied": 1}
    assert len(disturbed.comparisons) >= 11
    assert min(comparison.rows for comparison in disturbed.comparisons) > 10
    assert disturbed.published > disturbed.entries * 0.99 > 9_500


@pytest.mark.long
async def test_every_planted_difference_is_named_by_the_reconciliation_and_nothing_else(
    tmp_path: Path,
) -> None:
    found = await reconciled.run(12_000, seed=3, count=50, folder=tmp_path / "report", watching=Silent())
    assert found.clean, found
    assert found.planted == dict.fromkeys(KINDS, 5)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Reconciliation" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
