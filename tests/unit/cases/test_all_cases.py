"""Every case of every file comes out as it says, as pure decisions."""

import pytest

from tests.cases.form import Case, load
from tests.cases.names import Names
from tests.cases.pure import play
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
    guide, edges = map(load, CASES)
    assert len(guide) == 47
    assert len(edges) >= 30
