"""Runs what is measured as processes on a core of their own."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.process import OwnedProcess

REPOSITORY = Path(__file__).resolve().parents[2]


def start(arguments: list[str], env: Mapping[str, str], log_path: Path, core: int | None) -> OwnedProcess:
    """`python -m …` pinned to `core`."""
    command = [sys.executable, "-m", *arguments]
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    process = OwnedProcess(command, log_path=log_path, env={**os.environ, **env}, cwd=REPOSITORY)
    process.spawn()
    return process
