"""`python -m services.ingress.intake`: take send requests from their topics until SIGTERM."""

import sys

from services.ingress.intake.app import build
from services.ingress.intake.settings import IntakeSettings
from shared.lifecycle import run

if __name__ == "__main__":
    sys.exit(run("intake", IntakeSettings(), build))
