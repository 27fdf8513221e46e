"""Cases through the whole system: at least one for each reason; `make cases SYSTEM=1` plays all of a file."""

import pytest

from deploy.local.errors import StackError
from tests.cases.form import load
from tests.cases.selection import one_per_reason
from tests.cases.system.player import SystemPlayer
from tests.cases.system.running import running
from tests.conftest import missing
from tests.fixtures import CASES


@pytest.mark.timeout(400)  # a busy machine takes long to start everything; playing takes well under a minute
async def test_a_case_of_each_reason_comes_out_of_the_whole_system_as_it_says() -> None:
    cases = one_per_reason([case for file in CASES for case in load(file)])
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
