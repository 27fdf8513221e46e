"""Where promtool and kustomize are on this machine: `deploy/` is checked with them.

`python -m deploy.checks promtool kustomize` gets those two that are missing; without them the tests that need them are skipped.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_TOOLS: Final = Path(__file__).parent.parent / ".local" / "tools"
_KUSTOMIZE: Final = "sigs.k8s.io/kustomize/kustomize/v5@v5.5.0"


def promtool() -> Path | None:
    """Finds promtool."""
    return _found("promtool", _TOOLS / "usr" / "bin" / "promtool")


def kustomize() -> list[str] | None:
    """Finds the command that renders a kustomization: kustomize itself, or kubectl, which has it inside."""
    if own := _found("kustomize", _TOOLS / "kustomize"):
        return [str(own), "build"]
    if kubectl := shutil.which("kubectl"):
        return [kubectl, "kustomize"]
    return None


def _found(name: str, here: Path) -> Path | None:
    path = shutil.which(name)
    return Path(path) if path else here if here.exists() else None


def _commands(tool: str) -> Iterator[list[str]]:
    """How a missing tool is got: promtool out of Debian's package, whose server is not installed; kustomize from its source."""
    if tool == "promtool" and promtool() is None and shutil.which("apt-get"):
        yield [
            "sh",
            "-c",
            "{ apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }; }"
            " && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb",
        ]
    if tool == "kustomize" and kustomize() is None and shutil.which("go"):
        yield ["env", f"GOBIN={_TOOLS}", "go", "install", _KUSTOMIZE]


def main(tools: list[str]) -> None:
    """Get what is missing, and say what could not be got."""
    _TOOLS.mkdir(parents=True, exist_ok=True)
    for tool in tools:
        for command in _commands(tool):
            subprocess.run(command, cwd=_TOOLS, check=False)
        if (promtool if tool == "promtool" else kustomize)() is None:
            print(f"{tool} is missing and could not be got: what needs it is skipped")


if __name__ == "__main__":
    main(sys.argv[1:])
