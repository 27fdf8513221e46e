"""Runs the sender: `python -m services.sender`."""

import sys

from services.sender.app import build
from services.sender.settings import SenderSettings
from shared.lifecycle import Service, run


def main() -> int:
    """Run until stopped; the process's exit code."""
    settings = SenderSettings()

    def wire(service: Service) -> None:
        build(service, settings)

    return run("sender", settings, wire)


if __name__ == "__main__":
    sys.exit(main())
