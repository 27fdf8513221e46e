"""A child process that never outlives its parent, in its own process group, with its output in a file.

The kernel kills the child when the parent ends, however that ends (`PR_SET_PDEATHSIG`); an ordinary exit also runs the
`atexit` hook below, which serves systems without that call.
"""

import asyncio
import atexit
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from deploy.local.errors import StackError

_PR_SET_PDEATHSIG: Final = 1
_POLL_S: Final = 0.02
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_alive: set["OwnedProcess"] = set()


class Child(Protocol):
    """A process that was started: what `subprocess.Popen` is, too."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""

    def wait(self) -> int:
        """Blocks until it has ended; the exit code."""


class OwnedProcess:
    """One child process; can be started again after it ended."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Keeps the command; `env` is the whole environment (the parent's when None); output is appended to `log_path`."""
        self.argv = list(argv)
        self.log_path = log_path
        self._env = None if env is None else dict(env)
        self._cwd = cwd
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        """The process id, also of a child that has ended.

        Raises:
            StackError: it was never started.
        """
        return self._started().pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs or before its first start."""
        return None if self._child is None else self._child.poll()

    @property
    def running(self) -> bool:
        """Whether the child runs (a paused one does)."""
        return self._child is not None and self._child.poll() is None

    def spawn(self) -> None:
        """Starts the child.

        Raises:
            StackError: it runs already; or the caller is not on the main thread: the kernel ties the child's life to the
                thread that forked it.
        """
        if self.running:
            raise StackError(f"{self.argv[0]} is running already, pid {self.pid}")
        if threading.current_thread() is not threading.main_thread():
            raise StackError(
                "start child processes on the main thread: they end with the thread that starts them"
            )
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._child = self._launch()
        _alive.add(self)

    def send_signal(self, number: int) -> None:
        """Sends a signal to the child and its children; an ended child is left alone."""
        if self._child is not None and self._child.poll() is None:
            os.killpg(self._child.pid, number)

    def kill_now(self) -> None:
        """SIGKILLs the child's group and reaps the child; blocks for the instant that takes."""
        self.send_signal(signal.SIGKILL)
        if self._child is not None:
            self._child.wait()
        _alive.discard(self)

    async def kill(self) -> None:
        """SIGKILLs the child's group and waits for its end."""
        self.send_signal(signal.SIGKILL)
        await self._ended(timeout_s=10.0)
        _alive.discard(self)

    async def stop(self, grace_s: float = 15.0) -> None:
        """Asks the child to end (SIGTERM), waits up to `grace_s` seconds, then kills it. Does nothing on an ended child."""
        self.send_signal(signal.SIGTERM)
        self.send_signal(signal.SIGCONT)
        if not await self._ended(timeout_s=grace_s):
            await self.kill()
        _alive.discard(self)

    def log_tail(self, lines: int = 40) -> str:
        """Gives the last `lines` lines of output."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 400 * lines))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    def _launch(self) -> Child:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                process_group=0,
                preexec_fn=die_with(os.getpid()),
            )

    async def _ended(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.running:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def _started(self) -> Child:
        if self._child is None:
            raise StackError(f"{self.argv[0]} was never started")
        return self._child


async def until_ready(
    process: OwnedProcess, ready: Callable[[], Awaitable[bool]], *, what: str, timeout_s: float
) -> None:
    """Asks `ready` again and again until it says yes.

    Raises:
        StackError: the process ended, or `timeout_s` seconds went by; it is killed then, and the text ends with its log.
    """
    deadline = time.monotonic() + timeout_s
    while not await ready():
        if not process.running:
            raise StackError(
                f"{what} ended with code {process.returncode} at start; its log ends:\n{process.log_tail()}"
            )
        if time.monotonic() >= deadline:
            await process.kill()
            raise StackError(
                f"{what} was not ready within {timeout_s:.0f} s; its log ends:\n{process.log_tail()}"
            )
        await asyncio.sleep(_POLL_S)


def die_with(parent_pid: int) -> Callable[[], None]:
    """Gives what a child runs after the fork so that it never outlives its parent: only calls that are safe before an exec."""

    def prepare() -> None:
        if _LIBC is None:
            return
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent_pid:
            os._exit(1)

    return prepare


@atexit.register
def _kill_all() -> None:
    for process in list(_alive):
        process.kill_now()
