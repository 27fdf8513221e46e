"""`python -m tests.forkserver FD`: imports what most services need, then forks a process for each question on the socket; see forking.py.

A question is `{"module", "arguments", "env", "streams"}` (answered with the new `pid`) or `{"ended": pid}` (answered with its `code`, null while it runs).
"""

import gc
import importlib
import json
import os
import runpy
import socket
import sys
from typing import Any, Final

from deploy.local.process import die_with

LARGEST: Final = 256 * 1024
"""Bytes of a question: an environment and some arguments."""
# Faust is not among them: it reads the environment when it is imported.
_PREPARED: Final = (
    "services.console.app",
    "services.console.cli",
    "services.billing.app",
    "services.billing.books.cli",
    "services.billing.rates.cli",
    "services.billing.reconciliation.cli",
    "services.ingress.app",
    "services.router.app",
    "services.sender.app",
    "services.simulator.app",
    "tests.integration.sender_process",
    "tests.integration.stream.worker",
)
_FLAGS: Final = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def serve(questions: socket.socket) -> dict[str, Any]:
    """Answers until the socket closes, then exits; in a child it returns what that is to run."""
    parent = os.getpid()
    while asked := questions.recv(LARGEST):
        question: dict[str, Any] = json.loads(asked)
        if "ended" in question:
            pid, status = os.waitpid(question["ended"], os.WNOHANG)
            answer = {"code": os.waitstatus_to_exitcode(status) if pid else None}
        else:
            pid = os.fork()
            if pid == 0:
                questions.close()
                os.setpgid(0, 0)
                die_with(parent)()
                return question
            answer = {"pid": pid}
        questions.sendall(json.dumps(answer).encode())
    sys.exit()


def become(program: dict[str, Any]) -> None:
    """Runs a module as the main one, as a new interpreter would."""
    for number, (path, flags) in enumerate(zip(program["streams"], _FLAGS, strict=True)):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(program["env"])
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    sys.argv = [program["module"], *program["arguments"]]
    sys.modules.pop(program["module"], None)
    runpy.run_module(program["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for module in _PREPARED:
        importlib.import_module(module)
    gc.freeze()
    become(serve(socket.socket(fileno=int(sys.argv[1]))))
