"""`make crashes`: kills the senders N times, at every moment of a send; leaves reports/crashes.json. Exit 0 only if nothing was lost, or sent twice but as allowed."""

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

from tests.chaos.sends.plan import Plan
from tests.chaos.sends.run import run
from tests.chaos.sends.screen import Screen

REPORT = Path("reports/crashes.json")
CRASHES_PER_ZOMBIE = 25

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make crashes")
    parser.add_argument("--crashes", type=int, default=500, help="how often a sender is killed")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # new topics look for their leaders a moment
    plan = Plan(chosen.seed, chosen.crashes, zombies=-(-chosen.crashes // CRASHES_PER_ZOMBIE))
    screen = Screen(plan.crashes)
    with screen.live():
        report = asyncio.run(run(plan, screen))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    screen.verdict(report)
    sys.exit(0 if report.clean else 1)
