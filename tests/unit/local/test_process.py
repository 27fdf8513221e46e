"""A child process in its own group: stopped, killed, paused, started again, its output kept."""

import asyncio
import signal
import sys
import threading
from pathlib import Path

import pytest

from deploy.local.errors import StackError
from deploy.local.process import OwnedProcess, until_ready

STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
)
OBEDIENT = "import signal; print('ready', flush=True); signal.pause()"


def child(code: str, directory: Path) -> OwnedProcess:
    return OwnedProcess([sys.executable, "-c", code], log_path=directory / "child.log")


async def started(code: str, directory: Path) -> OwnedProcess:
    process = child(code, directory)
    process.spawn()

    async def told() -> bool:
        return "ready" in process.log_tail()

    await until_ready(process, told, what="the child", timeout_s=10)
    return process


async def test_a_stop_ends_the_child_with_sigterm(tmp_path: Path) -> None:
    process = await started(OBEDIENT, tmp_path)
    await process.stop()
    assert process.returncode == -signal.SIGTERM


async def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    process = await started(STUBBORN, tmp_path)
    await process.stop(grace_s=0.1)
    assert process.returncode == -signal.SIGKILL


async def test_a_paused_child_can_be_stopped(tmp_path: Path) -> None:
    process = await started(OBEDIENT, tmp_path)
    process.send_signal(signal.SIGSTOP)
    assert process.running
    await process.stop()
    assert process.returncode == -signal.SIGTERM


async def test_an_ended_child_can_be_started_again_and_its_log_goes_on(tmp_path: Path) -> None:
    process = await started(OBEDIENT, tmp_path)
    first = process.pid
    await process.kill()
    process.spawn()
    assert process.pid != first
    await process.kill()
    assert "ready" in process.log_tail()


async def test_stopping_twice_and_stopping_what_never_ran_do_nothing(tmp_path: Path) -> None:
    process = child(OBEDIENT, tmp_path)
    await process.stop()
    process.spawn()
    await process.stop()
    await process.stop()


async def test_a_running_child_is_not_started_twice(tmp_path: Path) -> None:
    process = await started(OBEDIENT, tmp_path)
    with pytest.raises(StackError, match="running already"):
        process.spawn()
    await process.kill()


async def test_a_child_that_ends_at_start_is_reported_with_its_log(tmp_path: Path) -> None:
    process = child("import sys; print('no such port'); sys.exit(3)", tmp_path)
    process.spawn()

    async def never() -> bool:
        return False

    with pytest.raises(StackError, match=r"(?s)the child ended with code 3.*no such port"):
        await until_ready(process, never, what="the child", timeout_s=10)


async def test_a_child_that_does_not_get_ready_is_killed(tmp_path: Path) -> None:
    process = await started(OBEDIENT, tmp_path)

    async def never() -> bool:
        return False

    with pytest.raises(StackError, match="not ready within"):
        await until_ready(process, never, what="the child", timeout_s=0.05)
    assert not process.running


async def test_a_start_off_the_main_thread_is_refused(tmp_path: Path) -> None:
    process = child(OBEDIENT, tmp_path)
    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(StackError, match="main thread"):
        await asyncio.to_thread(process.spawn)
