"""`python -m services.ingress.edge`: serve business systems over HTTP until SIGTERM."""

import sys

from services.ingress.edge.app import build
from services.ingress.edge.settings import EdgeSettings
from shared.lifecycle import run

if __name__ == "__main__":
    sys.exit(run("edge", EdgeSettings(), build))
