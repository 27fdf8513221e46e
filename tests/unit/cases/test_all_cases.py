"""Every case of every file comes out as it says, as pure decisions."""

import pytest

from shared.reasons import REASONS
from tests.cases.form import Case, load
from tests.cases.names import Names
from tests.cases.pure import play
from tests.cases.selection import reasons_of
from tests.fixtures import CASES


@pytest.mark.parametrize(
    "case", [case for file in CASES for case in load(file)], ids=lambda case: str(case.name)
)
def test_the_case_comes_out_as_it_says(case: Case) -> None:
    played = play(Names(case, 1))
    assert [checked for checked in played.checked if not checked.ok] == []
    assert played.ok
    assert played.checked, "a case that expects nothing shows nothing"


def test_the_guides_file_is_whole() -> None:
    guide, edges, waiting, content, uncertain = map(load, CASES)
    assert len(guide) == 47
    assert len(edges) >= 80
    assert len(waiting) + len(content) >= 70
    assert len(uncertain) >= 20


def test_every_reason_that_a_decision_can_have_is_met_by_a_case() -> None:
    assert reasons_of([case for file in CASES for case in load(file)]) == frozenset(REASONS)


def test_no_two_cases_have_one_name() -> None:
    names = [case.name for file in CASES for case in load(file)]
    assert len(names) == len(set(names))
