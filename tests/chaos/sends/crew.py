"""The senders of a run: each place in the group is filled by one process after another, each of which dies as planned."""

import asyncio
import random
import signal
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from shared.clock import Clock
from tests.chaos.sends.forked import ForkedSender
from tests.integration.sender_process import Fault

LOOK_S = 0.02
REACHED_WITHIN_S = 60.0
"""Bound of a process's life: under load a moment comes within a second or two."""


class Watching(Protocol):
    """Who looks on."""

    def doing(self, what: str) -> None:
        """Something begins."""
        ...

    def crashed(self, crashes: Mapping[str, int], zombies: Mapping[str, int]) -> None:
        """Another process has died; the counts by moment until now."""
        ...


class Crew:
    """So many senders at once, as members of one group by names of their own; a name that dies is started again at once."""

    def __init__(
        self,
        size: int,
        env: Mapping[str, str],
        logs: Path,
        session_s: float,
        clock: Clock,
        watching: Watching,
    ) -> None:
        self.crashes: Counter[str] = Counter()
        self.zombies: Counter[str] = Counter()
        self.stopped_at_s: list[float] = []
        """When a process was stopped past its session, by the clock."""
        self._env = {**env, "WA_SESSION_TIMEOUT_S": str(session_s), "WA_METRICS_PORT": "0"}
        self._logs = logs
        self._session_s = session_s
        self._clock = clock
        self._watching = watching
        self._names = [str(name) for name in range(size)]
        self._serving: dict[str, ForkedSender] = {}

    async def live(self, lives: Sequence[tuple[Fault, ...]], seed: int) -> None:
        """Live all these lives, each name taking the next one; afterwards each name is served by a process that nothing befalls."""
        left = deque(lives)
        await asyncio.gather(
            *(self._serve(name, left, random.Random(f"{seed}-{name}")) for name in self._names)
        )

    async def stop(self) -> None:
        """SIGTERM all, wait for their ends; a process that does not end is killed."""
        for sender in self._serving.values():
            sender.send_signal(signal.SIGCONT)
            sender.send_signal(signal.SIGTERM)
        try:
            for name, sender in self._serving.items():
                await _until(lambda sender=sender: sender.ended is not None, f"the end of sender {name}", 30)  # type: ignore[misc]
        finally:
            for sender in self._serving.values():
                sender.kill()
            self._serving.clear()

    def kill_all(self) -> None:
        """SIGKILL whoever is left."""
        for sender in self._serving.values():
            sender.kill()

    async def _serve(self, name: str, left: deque[tuple[Fault, ...]], chance: random.Random) -> None:
        while left:
            faults = left.popleft()
            sender = self._start(name, faults)
            for fault in faults:
                if fault.stop:
                    await self._be_a_zombie(name, sender, fault, chance)
                else:
                    await self._die(name, sender, fault)
        self._start(name, ())

    def _start(self, name: str, faults: tuple[Fault, ...]) -> ForkedSender:
        env = {**self._env, "WA_INSTANCE": name, "FAULT": ",".join(map(str, faults))}
        sender = self._serving[name] = ForkedSender(env, self._logs / f"sender-{name}.log")
        return sender

    async def _be_a_zombie(
        self, name: str, sender: ForkedSender, fault: Fault, chance: random.Random
    ) -> None:
        await self._reached(name, fault, lambda: sender.stopped or sender.ended is not None)
        self.stopped_at_s.append(self._clock.time())
        await asyncio.sleep(
            self._session_s * chance.uniform(1.5, 2.5)
        )  # the fault itself: silent past its session
        sender.send_signal(signal.SIGCONT)
        self.zombies[fault.moment] += 1
        self._watching.crashed(self.crashes, self.zombies)

    async def _die(self, name: str, sender: ForkedSender, fault: Fault) -> None:
        await self._reached(name, fault, lambda: sender.ended is not None)
        if sender.ended != -signal.SIGKILL:
            raise RuntimeError(f"sender {name} ended with code {sender.ended}; see {self._logs}")
        self.crashes[fault.moment] += 1
        self._watching.crashed(self.crashes, self.zombies)

    async def _reached(self, name: str, fault: Fault, happened: Callable[[], bool]) -> None:
        await _until(happened, f"{fault} of sender {name}", REACHED_WITHIN_S)


async def _until(happened: Callable[[], bool], what: str, within_s: float) -> None:
    """Wait for a condition; TimeoutError, saying what did not come."""
    try:
        async with asyncio.timeout(within_s):
            while not happened():
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise TimeoutError(f"{what} did not come within {within_s:.0f} s") from None
