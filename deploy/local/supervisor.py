"""What `make up` leaves in the background: runs the system, starts again what ends, stops all on SIGTERM.

It holds a lock for as long as it lives and tells in `up.json` what runs where; `make down` reads both.
"""

import asyncio
import fcntl
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from deploy.local.demo.accounts import CONFIG, example_for_meta
from deploy.local.errors import StackError
from deploy.local.paths import RUNS
from deploy.local.ports import Ports
from deploy.local.services import ServicePorts, chosen, operator_settings, urls
from deploy.local.stack import LocalStack
from deploy.local.system import LocalSystem
from deploy.local.topics import create_topics

NAME: Final = "up"
STATE: Final = RUNS / "up.json"
WAM: Final = RUNS / "wam"
"""The command `wam` at this system. Exported settings would make the next stack take this one's Kafka for given."""
LOCK: Final = RUNS / "up.lock"
LOG: Final = RUNS / NAME / "logs" / "supervisor.log"
_LOOK_EVERY_S: Final = 0.5
_RESTART_PAUSE_S: Final = 2.0


def running() -> dict[str, Any] | None:
    """Gives the state that the living supervisor wrote, `{}` while it starts, None when there is none."""
    if not LOCK.exists():
        return None
    with LOCK.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            state: dict[str, Any] = json.loads(STATE.read_text()) if STATE.exists() else {}
            return state
    return None


async def supervise() -> None:
    """Runs the system until SIGTERM or SIGINT.

    Raises:
        StackError: it did not start; nothing is left running.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    system = _system()
    _write_wam(system)
    _write_state(system, ready=False)
    starting = asyncio.create_task(system.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        starting.cancel()
        await asyncio.wait({starting})
        await system.stop()
        return
    starting.result()
    _write_state(system, ready=True)
    try:
        while not stop.is_set():
            await _restart_ended(system)
            await asyncio.wait({stopping}, timeout=_LOOK_EVERY_S)
    finally:
        await system.stop()


def _system() -> LocalSystem:
    """The whole system; its fake Meta knows the accounts of the example file, which `wam apply` makes known to us."""
    stack = LocalStack(ports=Ports.fixed(), name=NAME, appendfsync="always")
    ports = ServicePorts.fixed(os.environ)
    stack.directory.mkdir(parents=True, exist_ok=True)
    accounts = stack.directory / "accounts.json"
    accounts.write_text(json.dumps(example_for_meta(), indent=2) + "\n")
    extra = {"WA_ACCOUNTS_FILE": str(accounts)}
    return LocalSystem(stack, create_topics, ports=ports, extra=extra, names=chosen(os.environ))


def _write_wam(system: LocalSystem) -> None:
    settings = operator_settings(system.settings, system.ports) | {"WA_CONFIG_DIR": str(CONFIG)}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    command = shlex.quote(str(Path(sys.executable).with_name("wam")))
    WAM.write_text("\n".join(["#!/bin/sh", *lines, f'exec {command} "$@"']) + "\n")
    WAM.chmod(0o755)


async def _restart_ended(system: LocalSystem) -> None:
    """Starts again what has ended, Kafka and Redis first; what fails to start is tried again at the next look."""
    ended = {part.name: part.start for part in system.stack.parts if not part.running}
    ended |= {name: partial(system.start_service, name) for name in system.ended()}
    if not ended:
        return
    await asyncio.sleep(_RESTART_PAUSE_S)
    for name, start in ended.items():
        print(f"{name} has ended; starting it again", flush=True)
        try:
            await start()
        except StackError as error:
            print(error, flush=True)
    _write_state(system, ready=True)


def _write_state(system: LocalSystem, *, ready: bool) -> None:
    endpoints = system.stack.endpoints
    state = {
        "pid": os.getpid(),
        "ready": ready,
        "processes": _pids(system) if ready else {},
        "kafka": endpoints.kafka_bootstrap,
        "redis": endpoints.redis_url,
        "urls": urls(system.ports),
        "logs": str(system.log_dir),
    }
    draft = STATE.with_suffix(".tmp")
    draft.write_text(json.dumps(state, indent=2) + "\n")
    draft.replace(STATE)


def _pids(system: LocalSystem) -> dict[str, int]:
    pids = {name: service.pid for name, service in system.services.items()}
    return pids | {part.name: part.pid for part in system.stack.parts}


@contextmanager
def _only_one() -> Iterator[None]:
    RUNS.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError("the system is up already; stop it with: make down") from None
        try:
            yield
        finally:
            STATE.unlink(missing_ok=True)
            WAM.unlink(missing_ok=True)


def main() -> int:
    """Runs the supervisor; the exit code."""
    try:
        with _only_one():
            asyncio.run(supervise())
    except StackError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
