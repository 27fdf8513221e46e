"""Processes of the tests that are forked from one which has imported already what they need: an interpreter's start takes most of a second of CPU.

They are processes like any other, with an environment, a group and an end of their own; tests of whole systems start theirs by `python -m`.
"""

import atexit
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from deploy.local.paths import REPOSITORY
from deploy.local.process import Child, OwnedProcess
from tests.forkserver import LARGEST

_LOOK_EVERY_S: Final = 0.005
_NOTHING: Final = Path("/dev/null")


class ForkedProcess(OwnedProcess):
    """`python -m <module>`, as `OwnedProcess` with that command."""

    def __init__(self, module: str, *, log_path: Path, env: Mapping[str, str]) -> None:
        super().__init__([sys.executable, "-m", module], log_path=log_path, env=env, cwd=REPOSITORY)
        self._module, self._environ = module, env

    def _launch(self) -> Child:
        return fork(self._module, (), self._environ, stdout=self.log_path, stderr=self.log_path)


class Forked:
    """A process that the fork server started, and reaps."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            self._code = _server().ask({"ended": self.pid})["code"]
        return self._code

    def wait(self) -> int:
        while (code := self.poll()) is None:
            time.sleep(_LOOK_EVERY_S)
        return code


def fork(
    module: str,
    arguments: Sequence[str],
    env: Mapping[str, str],
    *,
    stdout: Path,
    stderr: Path,
    stdin: Path = _NOTHING,
) -> Forked:
    """Starts `python -m module arguments` in the repository; output is appended to the files."""
    streams = [str(path) for path in (stdin, stdout, stderr)]
    started = _server().ask(
        {"module": module, "arguments": list(arguments), "env": dict(env), "streams": streams}
    )
    return Forked(started["pid"])


class _Server:
    """The process that forks, one per process of tests; it ends when its socket closes, and its children with it."""

    def __init__(self) -> None:
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forkserver", str(its.fileno())],
                cwd=REPOSITORY,
                # The terminal's width is read when it is imported.
                env={**os.environ, "COLUMNS": "200"},
                pass_fds=[its.fileno()],
            )

        atexit.register(self._end)

    def ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        self._socket.sendall(json.dumps(question).encode())
        answer: dict[str, Any] = json.loads(self._socket.recv(LARGEST))
        return answer

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()


@cache
def _server() -> _Server:
    return _Server()
