"""Group commit: what is asked while a round trip is under way goes into the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

MOST = 256
"""Questions in one round trip: so many are answered within some milliseconds."""
GATHER_S = 0.004
"""Where several asked last time, more are waited for so long: a round trip costs what ten questions do (docs/decisions/0013)."""


class Together(Generic[Q, A]):
    """Questions in, answers out, one round trip at a time and in the order asked.

    `ask` gives the answers to several questions, one for each, in order; what it raises, each of its askers is raised.
    """

    def __init__(self, ask: Callable[[Sequence[Q]], Awaitable[Sequence[A]]]) -> None:
        self._ask = ask
        self._waiting: list[tuple[Sequence[Q], asyncio.Future[Sequence[A]]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, *questions: Q) -> Sequence[A]:
        """The answers to these questions, which stay together."""
        future: asyncio.Future[Sequence[A]] = asyncio.get_running_loop().create_future()
        self._waiting.append((questions, future))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())
        return await future

    async def _ask_all(self) -> None:
        askers = 1
        while self._waiting:
            if askers > 1:
                await asyncio.sleep(GATHER_S)
            now = self._next()
            askers = len(now)
            try:
                answers = await self._ask([question for questions, _ in now for question in questions])
            except Exception as failure:  # noqa: BLE001 it is raised where the question was asked
                for _, future in now:
                    if not future.done():
                        future.set_exception(failure)
                continue
            first = 0
            for questions, future in now:
                last = first + len(questions)
                if not future.done():
                    future.set_result(answers[first:last])
                first = last
        self._asking = None

    def _next(self) -> list[tuple[Sequence[Q], asyncio.Future[Sequence[A]]]]:
        """Take those off the line who go together."""
        count = taken = 0
        for questions, _ in self._waiting:
            if taken and count + len(questions) > MOST:
                break
            count += len(questions)
            taken += 1
        now, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return now
