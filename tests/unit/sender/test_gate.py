"""The gate of a number: who passes when, on the real clock."""

import asyncio
from time import monotonic

from services.sender.gate import Gate


def gate(limit: int, early_s: float = 0.0) -> Gate:
    return Gate(lambda: limit, lambda: 0, lambda: early_s)


async def passed(one: Gate) -> float:
    at_s = await one.enter()
    assert at_s is not None
    return at_s


async def test_a_command_passes_so_early_as_is_told_and_is_called_when_its_place_is_free() -> None:
    one = gate(1, early_s=0.9)
    called_s = await passed(one)
    before_s = monotonic()
    one.leave(called_s)
    after_s = monotonic()
    waiting = asyncio.create_task(passed(one))
    await asyncio.sleep(0)
    if one._timer is not None:  # else the machine slept until then
        assert one._timer.when() <= monotonic() + 0.1
    at_s = await waiting
    passed_s = monotonic()
    assert before_s + 1 <= at_s <= max(after_s + 1, passed_s)
    assert at_s - passed_s <= 0.9


async def test_without_anything_to_do_before_a_call_nobody_passes_before_its_place_is_free() -> None:
    one = gate(1)
    one.leave(await passed(one))
    assert await passed(one) <= monotonic() + 0.002


async def test_while_all_places_are_flying_nobody_passes_and_nobody_more_is_called_to_the_gate() -> None:
    one = gate(1, early_s=5.0)
    called_s = await passed(one)
    waiting = asyncio.create_task(passed(one))
    await asyncio.sleep(0)
    assert one.ahead == 0
    assert not waiting.done()
    one.leave(called_s)
    assert await waiting >= called_s + 1


async def test_whoever_is_dismissed_gets_no_place() -> None:
    one = gate(1)
    await passed(one)
    waiting = asyncio.create_task(one.enter())
    await asyncio.sleep(0)
    one.dismiss()
    assert await waiting is None


async def test_a_place_promised_to_somebody_who_went_away_is_free_again() -> None:
    one = gate(1)
    called_s = await passed(one)
    waiting = asyncio.create_task(one.enter())
    await asyncio.sleep(0)
    one.leave(called_s)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(30):  # a place that is lost never comes back
        assert await passed(one) >= called_s + 1
