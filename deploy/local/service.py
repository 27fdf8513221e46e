"""One of our services as an operating-system process, so that tests can end, pause and restart it for real."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from deploy.local.paths import REPOSITORY
from deploy.local.process import OwnedProcess, until_ready


class ServiceProcess:
    """`python -m services.<name>`, its output in `<log_dir>/<instance or name>.log`; can be started again."""

    def __init__(
        self, name: str, env: Mapping[str, str], log_dir: Path, *, instance: str | None = None
    ) -> None:
        """Keeps the command; `env` is added to this process's environment."""
        self.name = name
        self.instance = instance or name
        self._process = OwnedProcess(
            [sys.executable, "-m", f"services.{name}"],
            log_path=log_dir / f"{self.instance}.log",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
            cwd=REPOSITORY,
        )

    @property
    def pid(self) -> int:
        """The process id, also of a process that has ended."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs or before its first start."""
        return self._process.returncode

    async def start(self, ready_url: str | None = None, timeout_s: float = 30) -> None:
        """Starts the process; with `ready_url`, returns when that answers 200.

        Raises:
            StackError: it ended or was not ready within `timeout_s` seconds; the text ends with its log.
        """
        self._process.spawn()
        if ready_url is None:
            return
        limit = aiohttp.ClientTimeout(total=2.0)
        async with aiohttp.ClientSession(timeout=limit) as http:

            async def ready() -> bool:
                try:
                    async with http.get(ready_url) as answer:
                        return answer.status == 200
                except (aiohttp.ClientError, TimeoutError):
                    return False

            await until_ready(self._process, ready, what=self.instance, timeout_s=timeout_s)

    async def stop(self, grace_s: float = 15.0) -> None:
        """SIGTERM, then SIGKILL after `grace_s` seconds; does nothing when it does not run."""
        await self._process.stop(grace_s=grace_s)

    async def kill(self) -> None:
        """SIGKILLs the process and waits for its end."""
        await self._process.kill()

    def pause(self) -> None:
        """SIGSTOP: the process is alive and silent, as in a long garbage collection or a frozen machine."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: the process goes on where it was."""
        self._process.send_signal(signal.SIGCONT)

    def log_tail(self, n: int = 40) -> str:
        """Gives the last `n` lines of output."""
        return self._process.log_tail(n)
