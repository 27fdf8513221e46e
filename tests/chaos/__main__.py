"""`make chaos`: load, kills, a zombie, an emptied Redis; then compares with an undisturbed run of the same log. Exit 0 only if nothing was lost or doubled."""

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

from rich.console import Console

from tests.chaos.run import Plan, run

REPORT = Path("reports/chaos.json")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--minutes", type=float, default=0, help="repeat rounds of load and faults for so long; 0: one round"
    )
    parser.add_argument(
        "--events", type=int, default=100_000, help="events through router and ledger in a round"
    )
    parser.add_argument(
        "--kills", type=int, default=10, help="kill -9 of each of router and ledger in a round"
    )
    chosen = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # new topics look for their leaders a moment
    console = Console(highlight=False)
    plan = Plan(seed=chosen.seed, minutes=chosen.minutes, events=chosen.events, kills=chosen.kills)
    report = asyncio.run(run(plan, console.print))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    console.print_json(data=report.as_json())
    console.print(report.verdict())
    sys.exit(0 if report.clean else 1)
