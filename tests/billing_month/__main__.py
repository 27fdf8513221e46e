"""`make month`: a random month through ledger and tallies, undisturbed and with kills; leaves reports/month.json. Exit 0 only if everything equals the oracle."""

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

from tests.billing_month.run import run
from tests.billing_month.screen import Screen

REPORT = Path("reports/month.json")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make month")
    parser.add_argument("--messages", type=int, default=1_000_000, help="about so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--kills", type=int, default=20, help="of each process; 0: only the undisturbed round"
    )
    chosen = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # new topics look for their leaders a moment
    screen = Screen()
    with screen.live():
        report = asyncio.run(run(chosen.messages, chosen.seed, chosen.kills, screen))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    screen.verdict(report)
    sys.exit(0 if report.clean else 1)
