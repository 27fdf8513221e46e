"""`make month`: a random month through ledger and tallies, undisturbed and with kills; leaves reports/month.json. Exit 0 only if everything equals the oracle.

With `--differences` instead (`make month DIFFERENCES=50`) a month that Meta counts otherwise in so many places, through the ledger and `wam reconcile`; leaves
reports/reconciled.json and the report in reports/reconciled. Exit 0 only if all are found and named, and nothing else.
"""

import argparse
import asyncio
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from tests.billing_month import reconciled
from tests.billing_month.run import run
from tests.billing_month.screen import Screen

REPORT = Path("reports/month.json")
RECONCILED = Path("reports/reconciled")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make month")
    parser.add_argument("--messages", type=int, default=1_000_000, help="about so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--kills", type=int, default=20, help="of each process; 0: only the undisturbed round"
    )
    parser.add_argument("--differences", type=int, default=0, help="planted; 0: none, and kills instead")
    chosen = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # new topics look for their leaders a moment
    screen = Screen()
    REPORT.parent.mkdir(exist_ok=True)
    if chosen.differences:
        with screen.live():
            found = asyncio.run(
                reconciled.run(chosen.messages, chosen.seed, chosen.differences, RECONCILED, screen)
            )
        RECONCILED.with_suffix(".json").write_text(json.dumps(asdict(found), indent=2) + "\n")
        screen.found(found)
        sys.exit(0 if found.clean else 1)
    with screen.live():
        report = asyncio.run(run(chosen.messages, chosen.seed, chosen.kills, screen))
    REPORT.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    screen.verdict(report)
    sys.exit(0 if report.clean else 1)
