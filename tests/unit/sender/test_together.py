"""Group commit: who goes together, in which order, and who hears of a failure."""

import asyncio
from collections.abc import Sequence

import pytest

from services.sender.together import MOST, Together


class Asked:
    """Answers each question with its double, once it is let; remembers what was asked together."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.let = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self, questions: Sequence[int]) -> list[int]:
        self.rounds.append(list(questions))
        await self.let.wait()
        if self.failure is not None:
            raise self.failure
        return [2 * question for question in questions]


async def test_what_is_asked_while_a_round_trip_is_under_way_goes_into_the_next_one_in_order() -> None:
    asked = Asked()
    together = Together(asked)
    first = asyncio.create_task(together.ask(1))
    while not asked.rounds:
        await asyncio.sleep(0)
    others = [asyncio.create_task(together.ask(*questions)) for questions in ((2,), (3, 4), (5,))]
    await asyncio.sleep(0)
    asked.let.set()
    assert await asyncio.gather(first, *others) == [[2], [4], [6, 8], [10]]
    assert asked.rounds == [[1], [2, 3, 4, 5]]


async def test_no_round_trip_has_more_questions_than_the_most_unless_one_asks_them_all() -> None:
    asked = Asked()
    asked.let.set()
    together = Together(asked)
    many = list(range(MOST + 1))
    await asyncio.gather(together.ask(0), together.ask(*many), together.ask(*many[:-2]), together.ask(1))
    assert [len(questions) for questions in asked.rounds] == [1, MOST + 1, MOST]


async def test_a_failure_is_raised_to_those_who_asked_and_the_next_ones_are_asked_all_the_same() -> None:
    asked = Asked()
    asked.failure = ValueError("once")
    asked.let.set()
    together = Together(asked)
    for failed in await asyncio.gather(together.ask(1), together.ask(2), return_exceptions=True):
        assert isinstance(failed, ValueError)
    asked.failure = None
    assert await together.ask(3) == [6]


async def test_who_asks_and_goes_away_takes_nobody_s_answer() -> None:
    asked = Asked()
    together = Together(asked)
    gone = asyncio.create_task(together.ask(1))
    stays = asyncio.create_task(together.ask(2))
    while not asked.rounds:
        await asyncio.sleep(0)
    gone.cancel()
    asked.let.set()
    assert await stays == [4]
    with pytest.raises(asyncio.CancelledError):
        await gone
