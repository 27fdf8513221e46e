"""Runs the router: `python -m services.router`."""

import sys

from services.router.app import build
from services.router.settings import RouterSettings
from shared.lifecycle import Service, run


def main() -> int:
    """Run until stopped; the process's exit code."""
    settings = RouterSettings()

    def wire(service: Service) -> None:
        build(service, settings)

    return run("router", settings, wire)


if __name__ == "__main__":
    sys.exit(main())
