"""One worker of the counting fold as a process; faults are in what it is wired with, never in the code under test.

`FAULT=slow-takeover:MS`: every takeover lasts so much longer. `FAULT=stop-before-commit:N` or `FAULT=stop-before-publish:N`: the process stops itself (SIGSTOP) before the commit, or between the commit and
the publication, of its N-th batch. `EACH`: it takes so many records of a partition before the next one's, and twice as many at once.
`FULL`: while this file exists, partition 0 has no room. `TURNS`: a file to which each commit adds a line, its partition and next offset.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from shared.clock import clock_from
from shared.lifecycle import Service, run
from shared.settings import ServiceSettings
from shared.stream.processor import MAX_POLL, Processor
from shared.stream.publisher import Publisher, Record
from shared.stream.store import Keys, Store, Taken, connect
from shared.topics import CONVERSATION_EVENTS, SEND_EVENTS
from tests.integration.stream.counting import Counting


class Stops:
    """Stops this process the N-th time it is asked."""

    def __init__(self, nth: int) -> None:
        self._left = nth

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGSTOP)


class StopsBeforePublishing:
    """A publisher that stops the process first."""

    def __init__(self, real: Publisher, stop: Stops) -> None:
        self._real = real
        self._stop = stop

    async def publish(self, records: Sequence[Record]) -> None:
        self._stop()
        await self._real.publish(records)


class FaultyStore(Store):
    """A store that stops the process before a commit, makes takeovers slow, or notes whose turn it was."""

    def __init__(self, redis: Redis, stop: Stops, slow_s: float, turns: Path | None) -> None:
        super().__init__(redis)
        self._stop = stop
        self._slow_s = slow_s
        self._turns = turns

    async def take(self, keys: Keys) -> Taken:
        taken = await super().take(keys)
        await asyncio.sleep(self._slow_s)
        return taken

    async def commit(self, keys: Keys, epoch: int, expected: int | None, offset: int, *what: Any) -> None:
        self._stop()
        await super().commit(keys, epoch, expected, offset, *what)
        if self._turns is not None:
            with self._turns.open("a") as turns:
                turns.write(f"{keys.partition} {offset}\n")


def build(service: Service) -> None:
    """Wire the worker."""
    settings = service.settings
    fault, _, nth = os.environ.get("FAULT", "").partition(":")
    never = 0
    before_commit = Stops(int(nth) if fault == "stop-before-commit" else never)
    before_publish = Stops(int(nth) if fault == "stop-before-publish" else never)
    each = int(os.environ["EACH"]) if "EACH" in os.environ else None
    turns = Path(os.environ["TURNS"]) if "TURNS" in os.environ else None
    full = Path(os.environ["FULL"]) if "FULL" in os.environ else None
    slow_s = int(nth) / 1000 if fault == "slow-takeover" else 0.0
    redis = connect(settings)
    service.add(
        Processor(
            service,
            settings,
            group="router",
            fold=Counting(),
            source=CONVERSATION_EVENTS,
            memory=SEND_EVENTS,
            facts=lambda: str(os.getpid()),
            redis=redis,
            clock=clock_from(str(settings.clock_file) if settings.clock_file else None),
            each=each,
            room=lambda partition: partition != 0 or full is None or not full.exists(),
            most=2 * each if each else MAX_POLL,
            store=FaultyStore(redis, before_commit, slow_s, turns),
            publisher=lambda real: StopsBeforePublishing(real, before_publish),
        )
    )


if __name__ == "__main__":
    sys.exit(run("worker", ServiceSettings(), build))
