"""The sender as a process forked from one that has imported everything, so that a new one is up in a fraction of a second; it is killed as any other."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.paths import REPOSITORY
from deploy.local.process import die_with
from tests.integration import sender_process
from tests.integration.processes import state

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([sender_process.__name__])


class ForkedSender:
    """One process of the sender; `env` is added to the environment, the output is appended to `log_path`."""

    def __init__(self, env: Mapping[str, str], log_path: Path) -> None:
        self._process = _FORKS.Process(target=_run, args=(dict(env), log_path))
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid or 0

    @property
    def ended(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        return self._process.exitcode

    async def gone(self) -> bool:
        """Whether it has ended."""
        return self.ended is not None

    async def asleep(self) -> bool:
        """Whether it stands still (SIGSTOP), or has ended."""
        return state(self.pid) in ("T", "Z", None)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.ended is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL it and wait for its end."""
        self._process.kill()
        self._process.join()


def _run(env: dict[str, str], log_path: Path) -> None:
    die_with(os.getppid())()
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(REPOSITORY)
    os.environ.update(env)
    sys.exit(sender_process.main())
