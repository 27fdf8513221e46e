"""Cases through the whole system: each reason at least once with each outcome; `make cases SYSTEM=1` plays all of a file."""

import pytest

from deploy.local.errors import StackError
from tests.cases.form import load
from tests.cases.selection import one_per_answer
from tests.cases.system.player import SystemPlayer
from tests.cases.system.running import running
from tests.conftest import missing
from tests.fixtures import CASES


@pytest.mark.timeout(400)  # a busy machine takes long to start everything; playing takes well under a minute
async def test_each_reason_comes_out_of_the_whole_system_with_each_outcome_as_the_cases_say() -> None:
    cases = one_per_answer([case for file in CASES for case in load(file)])
    try:
        async with running(cases) as outside:
            played = await SystemPlayer(outside).play(cases, lambda _: None)
    except StackError as error:
        missing(str(error))
    wrong = {
        each.case.name: each.error or [checked for checked in each.checked if not checked.ok]
        for each in played
        if not each.ok
    }
    assert wrong == {}
    assert len(played) == len(cases)
