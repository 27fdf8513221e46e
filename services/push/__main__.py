"""`python -m services.push`: tell endpoints of public events until SIGTERM."""

import sys

from services.push.app import build
from services.push.settings import PushSettings
from shared.lifecycle import run

if __name__ == "__main__":
    sys.exit(run("push", PushSettings(), build))
