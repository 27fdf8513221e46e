"""What fails is done again for a while, and success leaves nothing behind for the cyclic collector."""

import asyncio
import gc

import pytest

from shared.stream import patience
from shared.stream.patience import until_done


class Act:
    """Fails with each of these in turn, then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.done = 0

    async def __call__(self) -> None:
        await asyncio.sleep(0)
        if self._failures:
            raise self._failures.pop(0)
        self.done += 1


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.0)
    return []


async def _do(act: Act, heard: list[tuple[int, str]], give_up_s: float = 60) -> None:
    await until_done(
        act,
        lambda error: isinstance(error, ConnectionError),
        longest_wait_s=0,
        give_up_s=give_up_s,
        told=lambda tries, error: heard.append((tries, str(error))),
    )


async def test_each_failure_that_may_pass_is_told_and_tried_again(heard: list[tuple[int, str]]) -> None:
    act = Act(ConnectionError("one"), ConnectionError("two"))
    await _do(act, heard)
    assert (act.done, heard) == (1, [(1, "one"), (2, "two")])


@pytest.mark.parametrize("before", [[], [ConnectionError("one")]])
async def test_any_other_failure_is_raised_at_once(
    heard: list[tuple[int, str]], before: list[Exception]
) -> None:
    act = Act(*before, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await _do(act, heard)
    assert (act.done, len(heard)) == (0, len(before))


async def test_what_fails_for_too_long_is_raised(heard: list[tuple[int, str]]) -> None:
    act = Act(ConnectionError("one"), ConnectionError("two"))
    with pytest.raises(ConnectionError, match="one"):
        await _do(act, heard, give_up_s=0)
    assert not heard


async def test_success_leaves_no_cycles(heard: list[tuple[int, str]]) -> None:
    gc.collect()
    gc.disable()
    try:
        await _do(Act(), heard)
        assert gc.collect() == 0
    finally:
        gc.enable()
