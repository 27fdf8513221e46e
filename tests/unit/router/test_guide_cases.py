"""Every case of the guide comes out as the guide says."""

from typing import Any

import pytest

from tests.unit.router.cases import Run, load


@pytest.mark.parametrize("case", load(), ids=lambda case: str(case["name"]))
def test_the_case_comes_out_as_the_guide_says(case: dict[str, Any]) -> None:
    wrong = [checked for checked in Run(case).play() if not checked.ok]
    assert wrong == []


def test_all_cases_of_the_fixture_are_played() -> None:
    assert len(load()) == 47
