"""Runs the ledger: `python -m services.billing`."""

import sys

from services.billing.app import build
from services.billing.settings import BillingSettings
from shared.lifecycle import run

if __name__ == "__main__":
    sys.exit(run("billing", BillingSettings(), build))
