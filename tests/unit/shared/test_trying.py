"""Work that begins anew after failures."""

import asyncio

import pytest

from shared import trying


async def test_pauses_grow_and_are_short_again_after_work_that_went_on_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopping, pauses, failures = asyncio.Event(), list[float](), list[Exception]()
    now_s = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now_s, raising=False)

    async def paused(_: asyncio.Event, seconds: float) -> None:
        pauses.append(seconds)

    async def work() -> None:
        nonlocal now_s
        if len(pauses) == 7:
            now_s += trying.LONGEST_PAUSE_S + 1
        if len(pauses) == 9:
            stopping.set()
            return
        raise OSError("gone")

    monkeypatch.setattr(trying, "pause", paused)
    await trying.until_stopped(stopping, work, (OSError,), failures.append)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 1, 2]
    assert len(failures) == len(pauses)


async def test_a_stop_ends_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "FIRST_PAUSE_S", 1000.0)
    stopping = asyncio.Event()

    async def work() -> None:
        asyncio.get_running_loop().call_soon(stopping.set)
        raise OSError("gone")

    async with asyncio.timeout(30):
        await trying.until_stopped(stopping, work, (OSError,), lambda _: None)


async def test_what_nobody_foresaw_is_raised() -> None:
    async def work() -> None:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        await trying.until_stopped(asyncio.Event(), work, (OSError,), lambda _: None)
