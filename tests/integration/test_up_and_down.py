"""`make up` and `make down`: in the background, once, on known ports, and gone without a trace."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.paths import REPOSITORY
from deploy.local.ports import free_ports
from tests.conftest import missing
from tests.integration.processes import exists, until


class Commands:
    """`python -m deploy.local …` with ports and a directory of its own."""

    def __init__(self, directory: Path) -> None:
        kafka, controller, redis = free_ports(3)
        self.kafka = kafka
        self.directory = directory
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WA_")},
            "WA_RUN_DIR": str(directory),
            "WA_SERVICES": "none",
            "WA_KAFKA_PORT": str(kafka),
            "WA_KAFKA_CONTROLLER_PORT": str(controller),
            "WA_REDIS_PORT": str(redis),
        }

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.local", *words],
            cwd=REPOSITORY,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    def wam(self, *words: str) -> str:
        """What the command that `up` made for this system prints."""
        done = subprocess.run(
            [self.directory / "wam", *words], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.directory / "up.json").read_text())
        return state


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(tmp_path)
    yield commands
    commands("down")


def bring_up(local: Commands) -> None:
    done = local("up")
    if done.returncode != 0:
        missing(done.stderr)
    assert f"127.0.0.1:{local.kafka}" in done.stdout


async def test_up_runs_in_the_background_until_down(local: Commands) -> None:
    bring_up(local)
    supervisor = local.state()["pid"]
    assert exists(supervisor)
    listed = local.wam("topics", "list")
    assert "wa.send.requests.v1" in listed
    assert "missing" not in listed
    assert local("status").returncode == 0
    assert local("down").returncode == 0
    await until(lambda: not exists(supervisor), within_s=10)
    assert not (local.directory / "up.json").exists()


async def test_up_twice_starts_nothing_twice_and_down_twice_is_no_error(local: Commands) -> None:
    bring_up(local)
    supervisor = local.state()["pid"]
    bring_up(local)
    assert local.state()["pid"] == supervisor
    assert local("down").returncode == 0
    assert local("down").returncode == 0


@pytest.mark.long
async def test_a_killed_supervisor_leaves_nothing_behind_and_up_works_again(local: Commands) -> None:
    bring_up(local)
    state = local.state()
    os.kill(state["pid"], signal.SIGKILL)
    await until(lambda: not any(map(exists, [state["pid"], *state["processes"].values()])), within_s=10)
    assert local("status").returncode == 1
    bring_up(local)


async def test_a_part_that_ends_is_started_again(local: Commands) -> None:
    bring_up(local)
    before = local.state()["processes"]["redis"]
    os.kill(before, signal.SIGKILL)
    await until(lambda: local.state()["processes"]["redis"] != before, within_s=30)
    assert exists(local.state()["processes"]["redis"])
