"""`python -m deploy.local up|down|status`: the whole system in the background on fixed ports, and its end."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from deploy.local import supervisor
from deploy.local.errors import StackError
from deploy.local.paths import REPOSITORY, RUNS
from deploy.local.ports import Ports, require_free
from deploy.local.services import ServicePorts, variable

_UP_WITHIN_S: Final = 300.0
_DOWN_WITHIN_S: Final = 90.0
_LOOK_EVERY_S: Final = 0.1


def up() -> int:
    """Starts the system unless it is up, waits until it is ready, prints where it listens."""
    state = supervisor.running()
    if state is None:
        _require_free_ports()
        print("starting; the first time takes a minute to fetch Kafka", flush=True)
        state = _started()
    elif not state.get("ready"):
        raise StackError("the system is starting; look again with: python -m deploy.local status")
    _print(state)
    return 0


def down(*, wipe: bool = False) -> int:
    """Stops the system if it is up; `wipe` deletes its data too."""
    state = supervisor.running()
    if state is None:
        print("nothing is up")
    else:
        _end(int(state["pid"]))
        print("stopped")
    if wipe:
        shutil.rmtree(RUNS / supervisor.NAME, ignore_errors=True)
        print("data deleted")
    return 0


def status() -> int:
    """Prints what runs where; 1 when nothing does."""
    state = supervisor.running()
    if state is None:
        print("nothing is up")
        return 1
    _print(state)
    return 0


def _started() -> dict[str, Any]:
    supervisor.LOG.parent.mkdir(parents=True, exist_ok=True)
    with supervisor.LOG.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "deploy.local.supervisor"],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _UP_WITHIN_S
    try:
        while child.poll() is None and time.monotonic() < deadline:
            state = supervisor.running()
            if state and state["ready"]:
                return state
            time.sleep(_LOOK_EVERY_S)
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
        child.wait(_DOWN_WITHIN_S)
        raise
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        child.wait(_DOWN_WITHIN_S)
        raise StackError(f"the system was not ready within {_UP_WITHIN_S:.0f} s; see {supervisor.LOG}")
    raise StackError(supervisor.LOG.read_text(errors="replace").strip())


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_WITHIN_S
    while supervisor.running() is not None:
        if time.monotonic() > deadline:
            # The kernel ends its children with it.
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(_LOOK_EVERY_S)


def _require_free_ports() -> None:
    stack = Ports.fixed()
    if not os.environ.get("WA_KAFKA_BOOTSTRAP"):
        require_free(stack.kafka, "Kafka", "WA_KAFKA_PORT")
        require_free(stack.kafka_controller, "Kafka's controller", "WA_KAFKA_CONTROLLER_PORT")
    if not os.environ.get("WA_REDIS_URL"):
        require_free(stack.redis, "Redis", "WA_REDIS_PORT")
    for name, port in vars(ServicePorts.fixed(os.environ)).items():
        require_free(port, name.replace("_", " of "), variable(name))


def _print(state: dict[str, Any]) -> None:
    rows = {"kafka": state["kafka"], "redis": state["redis"], **state["urls"], "logs": _short(state["logs"])}
    rows["wam"] = _short(str(supervisor.WAM))
    width = max(map(len, rows))
    for name, where in rows.items():
        print(f"  {name:<{width}}  {where}")


def _short(path: str) -> str:
    return os.path.relpath(path, Path.cwd())


def main() -> int:
    """Reads the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the system in the background")
    stop = commands.add_parser("down", help="stop it; does nothing when it is not up")
    stop.add_argument("--wipe", action="store_true", help="delete its data too")
    commands.add_parser("status", help="tell what runs where")
    arguments = parser.parse_args()
    try:
        match arguments.command:
            case "up":
                return up()
            case "down":
                return down(wipe=arguments.wipe)
            case _:
                return status()
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
