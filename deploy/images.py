"""Builds the image and tries it: `python -m deploy.images`; exit 0 only if a service from it starts and answers `/live` and `wam` runs.

The engine is podman or docker, whichever answers. `WA_IMAGE` names the image, `WA_BASE_IMAGE` another base, `WA_BUILD_FLAGS` more flags
for the build (behind a proxy: `--network host --volume /etc/ssl/certs:/etc/ssl/certs:ro`).
"""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parent.parent
_FILE: Final = "deploy/Dockerfile"
_LIVE: Final = (
    "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['WA_METRICS_PORT'] + '/live')"
)
_READY_WITHIN_S: Final = 30.0


def engine() -> str | None:
    """Finds an engine that answers: a client without its daemon does not."""
    for name in ("podman", "docker"):
        try:
            if subprocess.run([name, "info"], capture_output=True, timeout=30, check=False).returncode == 0:
                return name
        except (FileNotFoundError, subprocess.TimeoutExpired):
            continue
    return None


def build(command: str, image: str) -> None:
    """Build the image.

    Raises:
        CalledProcessError: the build failed; it has said why.
    """
    flags = shlex.split(os.environ.get("WA_BUILD_FLAGS", ""))
    if base := os.environ.get("WA_BASE_IMAGE"):
        flags += ["--build-arg", f"BASE={base}"]
    if command == "podman":
        # OCI's own format has no HEALTHCHECK, and podman does not look for the ignore file beside the Dockerfile.
        flags += ["--format", "docker", "--ignorefile", f"{_FILE}.dockerignore"]
    subprocess.run([command, "build", *flags, "-f", _FILE, "-t", image, "."], cwd=_ROOT, check=True)


def try_out(command: str, image: str) -> str | None:
    """Start the simulator as production would, without a root file system to write to; None if it answers, else what it said."""
    hardened = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges"]  # noqa: S108
    started = _run(command, "run", "--detach", *hardened, image, "services.simulator")
    if started.returncode != 0:
        return started.stderr
    container = started.stdout.strip()
    try:
        until = time.monotonic() + _READY_WITHIN_S
        while _run(command, "exec", container, "python", "-c", _LIVE).returncode != 0:
            if time.monotonic() > until:
                return _run(command, "logs", container).stdout or "it says nothing"
            time.sleep(0.5)
        user = _run(
            command, "exec", container, "python", "-c", "import os; print(os.getuid())"
        ).stdout.strip()
        if user in ("", "0"):
            return f"it runs as user {user}"
    finally:
        _run(command, "rm", "--force", container)
    version = _run(command, "run", "--rm", image, "services.console.cli", "version")
    return None if version.returncode == 0 else version.stderr


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def main() -> int:
    """Build and try; the exit code."""
    image = os.environ.get("WA_IMAGE", "wa-middleware")
    command = engine()
    if command is None:
        print(
            "no container engine answers: install podman (Debian: apt-get install podman runc), or start docker"
        )
        return 1
    try:
        build(command, image)
    except subprocess.CalledProcessError as error:
        return error.returncode
    wrong = try_out(command, image)
    print(
        f"{image} does not work: {wrong}"
        if wrong
        else f"{image} is built and starts (non-root, read-only, no capabilities)"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
