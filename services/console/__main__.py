"""The console process: `python -m services.console`."""

import sys
from functools import partial

from services.console.app import build
from services.console.settings import ConsoleSettings
from shared.lifecycle import run

if __name__ == "__main__":
    settings = ConsoleSettings()
    sys.exit(run("console", settings, partial(build, settings=settings)))
