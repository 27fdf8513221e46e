"""The sender as a process; what is added for a test is in how it is wired, never in the code under test.

`FAULT=claimed` (or any other moment of a send): the process kills itself when the first command reaches that moment. `FAULT=claimed:4`: when the fourth does.
`FAULT=calling:2:stop,answered`: it first stops itself (SIGSTOP), and kills itself later, once somebody has let it go on.
"""

import os
import signal
import sys
from collections import deque
from dataclasses import dataclass
from typing import get_args

from services.sender.app import build
from services.sender.desk import Moment
from services.sender.settings import SenderSettings
from shared.lifecycle import Service, run

MOMENTS: tuple[Moment, ...] = get_args(Moment)


@dataclass(frozen=True)
class Fault:
    """What happens to the process when a command is the `nth` (from 1) to reach the moment."""

    moment: Moment
    nth: int = 1
    stop: bool = False
    """It is stopped, not killed."""

    def __str__(self) -> str:
        return f"{self.moment}:{self.nth}{':stop' if self.stop else ''}"

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Read what `str` wrote; ValueError for another text."""
        name, _, rest = text.partition(":")
        nth, _, how = rest.partition(":")
        moment = next((moment for moment in MOMENTS if moment == name), None)
        if moment is None or how not in ("", "stop"):
            raise ValueError(f"no fault: {text!r}")
        return cls(moment, int(nth or 1), how == "stop")


class Faults:
    """The faults to come, one after the other; each counts the commands that reach its moment once it is the next."""

    def __init__(self, faults: list[Fault]) -> None:
        self._coming = deque(faults)
        self._seen = 0

    def reached(self, moment: Moment, command_id: str) -> None:
        if not self._coming or moment != self._coming[0].moment:
            return
        self._seen += 1
        if self._seen == self._coming[0].nth:
            fault = self._coming.popleft()
            self._seen = 0
            os.kill(os.getpid(), signal.SIGSTOP if fault.stop else signal.SIGKILL)


def main() -> int:
    """Run the sender until stopped, or until the fault."""
    settings = SenderSettings()
    given = os.environ.get("FAULT", "")
    faults = Faults([Fault.parse(text) for text in given.split(",") if text])

    def wire(service: Service) -> None:
        build(service, settings).reached = faults.reached

    return run("sender", settings, wire)


if __name__ == "__main__":
    sys.exit(main())
