"""Repeats what fails for a while."""

from collections.abc import Awaitable, Callable

import tenacity

FIRST_WAIT_S = 0.1


async def until_done(
    act: Callable[[], Awaitable[object]],
    may_pass: Callable[[BaseException], bool],
    *,
    longest_wait_s: float,
    give_up_s: float,
    told: Callable[[int, BaseException | None], object],
) -> None:
    """Act until it succeeds, waiting twice as long after each failure, with jitter.

    Args:
        act: what is to be done.
        may_pass: whether a failure may be over next time; any other is raised at once.
        longest_wait_s: no wait is longer.
        give_up_s: a failure so long after the first is raised.
        told: hears before each wait how many failures there were, and the last.
    """
    try:
        await act()
        return
    except Exception as error:  # noqa: BLE001 told apart below
        first = error

    def tell(state: tenacity.RetryCallState) -> None:
        told(state.attempt_number, state.outcome.exception() if state.outcome else None)

    # Only now: what tenacity makes for a call, thirty-odd objects, refers to itself, and waits for a collector that stops the process.
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(may_pass),
        wait=tenacity.wait_exponential_jitter(multiplier=FIRST_WAIT_S, max=longest_wait_s),
        stop=tenacity.stop_after_delay(give_up_s),
        before_sleep=tell,
        reraise=True,
    ):
        with attempt:
            if attempt.retry_state.attempt_number == 1:
                raise first
            await act()
