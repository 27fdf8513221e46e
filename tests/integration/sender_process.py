"""The sender as a process; what is added for a test is in how it is wired, never in the code under test.

`FAULT=claimed` (or any other moment of a send): the process kills itself when the first command reaches that moment.
"""

import os
import signal
import sys

from services.sender.app import build
from services.sender.desk import Moment
from services.sender.settings import SenderSettings
from shared.lifecycle import Service, run


def main() -> int:
    """Run the sender until stopped, or until the fault."""
    settings = SenderSettings()
    fault = os.environ.get("FAULT")

    async def reached(moment: Moment, command_id: str) -> None:
        if moment == fault:
            os.kill(os.getpid(), signal.SIGKILL)

    def wire(service: Service) -> None:
        build(service, settings).reached = reached

    return run("sender", settings, wire)


if __name__ == "__main__":
    sys.exit(main())
