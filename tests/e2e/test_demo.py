"""`make demo` as a user runs it: every step right, a report, no process left; and Ctrl-C in the middle."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path

import pytest

from deploy.local.demo.story import STORY
from deploy.local.paths import REPOSITORY
from tests.conftest import missing
from tests.integration.processes import exists, until

STARTS_WITHIN_S = 240.0
"""Bound of the start on a machine that is busy with other tests, Kafka's download included."""


async def begin(directory: Path) -> Process:
    """Starts the demo on a Kafka and a Redis of its own, its output in a pipe as in CI."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WA_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.local.demo", "--report", str(directory / "demo.json"),
        cwd=REPOSITORY, env={**environ, "WA_RUN_DIR": str(directory)}, stdout=PIPE, stderr=STDOUT,
    )  # fmt: skip


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(below for child in children for below in descendants(child))]


@pytest.mark.timeout(400)
async def test_every_step_of_the_guide_comes_out_right(tmp_path: Path) -> None:
    process = await begin(tmp_path)
    output = (await process.communicate())[0].decode()
    if "steps as the guide says" not in output and "Ready after" not in output:
        missing(output)
    assert process.returncode == 0, output
    report = json.loads((tmp_path / "demo.json").read_text())
    assert [step["name"] for step in report["steps"]] == [step.name for step in STORY]
    assert (report["passed"], report["failed"]) == (len(STORY), 0)
    assert all(step["ok"] and step["actual"] == step["expected"] for step in report["steps"])
    assert "\x1b" not in output, "no escape codes where there is no terminal"
    assert "Where to look next" in output


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_ctrl_c_in_the_middle_leaves_no_process(tmp_path: Path) -> None:
    process = await begin(tmp_path)
    assert process.stdout is not None
    shown = ""
    async with asyncio.timeout(STARTS_WITHIN_S):
        while not re.search(r"✓ +2 ", shown):
            line = await process.stdout.readline()
            if not line:
                missing(shown)
            shown += line.decode()
    started = descendants(process.pid)
    assert len(started) >= 9, "Kafka, Redis and seven services"
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 130
    await until(lambda: not any(map(exists, started)), within_s=10)
