"""Work that goes on until a stop, and begins anew, after a pause that grows, when what it needs has failed."""

import asyncio
from collections.abc import Awaitable, Callable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0


async def until_stopped(
    stopping: asyncio.Event,
    work: Callable[[], Awaitable[None]],
    failures: tuple[type[Exception], ...],
    failed: Callable[[Exception], None],
) -> None:
    """Do `work`, which returns soon after `stopping` is set; again whenever one of `failures` ends it, which `failed` is told.

    The pause before doubles each time, and is short again after work that went on for longer than the longest one.
    """
    pause_s = FIRST_PAUSE_S
    clock = asyncio.get_running_loop().time
    while not stopping.is_set():
        began_s = clock()
        try:
            await work()
        except failures as error:
            failed(error)
            if clock() - began_s > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            await pause(stopping, pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def pause(until: asyncio.Event, seconds: float) -> None:
    """Wait so long, no longer than until the event."""
    # Not `wait_for`: in Python 3.11 that may swallow a cancellation which comes together with the event.
    try:
        async with asyncio.timeout(seconds):
            await until.wait()
    except TimeoutError:
        return
