"""Runs the tallies: `python -m services.billing.tallies`."""

import logging
import os
import sys

from services.billing.settings import TalliesSettings
from services.billing.tallies.app import build
from shared.lifecycle import run

if __name__ == "__main__":
    settings = TalliesSettings()
    code = run("tallies", settings, lambda service: build(service, settings))
    logging.shutdown()
    sys.stdout.flush()
    # Faust's threads are no daemons: a wedged one would keep a process that has ended from being started again.
    os._exit(code)
