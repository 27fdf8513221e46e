"""The senders of a run: each place in the group is filled by one process after another, each of which dies as planned."""

import asyncio
import random
import signal
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Protocol

from tests.chaos.sends.forked import ForkedSender
from tests.chaos.sends.owners import Owners
from tests.integration.sender_process import Fault
from tests.integration.stream.harness import until

REACHED_WITHIN_S = 60.0
"""Under load a moment comes within a second or two."""
TAKEN_OVER_WITHIN_S = 60.0
STOPPED_WITHIN_S = 30.0


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
        owners: Owners,
        watching: Watching,
    ) -> None:
        self.crashes: Counter[str] = Counter()
        self.zombies: Counter[str] = Counter()
        self.takeovers_s: list[float] = []
        """From the stop of a zombie until every partition had a new owner."""
        self._env = {**env, "WA_SESSION_TIMEOUT_S": str(session_s), "WA_METRICS_PORT": "0"}
        self._logs = logs
        self._session_s = session_s
        self._owners = owners
        self._watching = watching
        self._names = [str(name) for name in range(size)]
        self._serving: dict[str, ForkedSender] = {}
        self._zombie = False
        """Whether one of them is a zombie, or will be."""

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
                await until(sender.gone, f"the end of sender {name}", STOPPED_WITHIN_S)
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
            faults = self._next(left)
            if faults is None:
                await self._keep_up(name)
                continue
            sender = self._start(name, faults)
            for fault in faults:
                if fault.stop:
                    await self._be_a_zombie(name, sender, fault, chance)
                    self._zombie = False
                else:
                    await self._die(name, sender, fault)
        self._start(name, ())

    def _next(self, left: deque[tuple[Fault, ...]]) -> tuple[Fault, ...] | None:
        """The next life; one at a time may be a zombie's, for the others must take over."""
        for nth, faults in enumerate(left):
            stops = any(fault.stop for fault in faults)
            if stops and self._zombie:
                continue
            self._zombie = self._zombie or stops
            del left[nth]
            return faults
        return None

    async def _keep_up(self, name: str) -> None:
        """Serve while another is a zombie."""
        sender = self._start(name, ())

        async def over() -> bool:
            return not self._zombie

        await until(over, "the end of a zombie", TAKEN_OVER_WITHIN_S + REACHED_WITHIN_S)
        sender.kill()
        await until(sender.gone, f"the end of sender {name}", STOPPED_WITHIN_S)

    def _start(self, name: str, faults: tuple[Fault, ...]) -> ForkedSender:
        env = {**self._env, "WA_INSTANCE": name, "FAULT": ",".join(map(str, faults))}
        sender = self._serving[name] = ForkedSender(env, self._logs / f"sender-{name}.log")
        return sender

    async def _be_a_zombie(
        self, name: str, sender: ForkedSender, fault: Fault, chance: random.Random
    ) -> None:
        await until(sender.asleep, f"{fault} of sender {name}", REACHED_WITHIN_S)
        self._require(name, sender.ended is None, sender)
        began, epochs = monotonic(), await self._owners.epochs()

        async def taken_over() -> bool:
            return await self._owners.all_new_since(epochs)

        await until(taken_over, f"a takeover from {name}", TAKEN_OVER_WITHIN_S)
        self.takeovers_s.append(monotonic() - began)
        await asyncio.sleep(chance.uniform(0, self._session_s))  # the fault itself: it wakes sooner or later
        sender.send_signal(signal.SIGCONT)
        self.zombies[fault.moment] += 1
        self._watching.crashed(self.crashes, self.zombies)

    async def _die(self, name: str, sender: ForkedSender, fault: Fault) -> None:
        await until(sender.gone, f"{fault} of sender {name}", REACHED_WITHIN_S)
        self._require(name, sender.ended == -signal.SIGKILL, sender)
        self.crashes[fault.moment] += 1
        self._watching.crashed(self.crashes, self.zombies)

    def _require(self, name: str, as_planned: bool, sender: ForkedSender) -> None:
        if not as_planned:
            raise RuntimeError(f"sender {name} ended with code {sender.ended}; see {self._logs}")
