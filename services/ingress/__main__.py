"""`python -m services.ingress`: take webhooks until SIGTERM."""

import sys

from services.ingress.app import build
from services.ingress.settings import IngressSettings
from shared.lifecycle import run

if __name__ == "__main__":
    sys.exit(run("ingress", IngressSettings(), build))
