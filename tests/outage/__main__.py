"""`make outage`: Kafka stopped, then frozen, for SECONDS=30 under load; leaves reports/outage.json. Exit 0 only if nothing was lost and nothing counted twice."""

import argparse
import asyncio
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.stack import LocalStack
from tests.outage.run import KINDS, Outage, outage, services, tell

REPORT = Path("reports/outage.json")


async def main(seconds: float, rate: float, seed: int) -> list[Outage]:
    """Both kinds on one local stack."""
    async with LocalStack(name="outage") as stack, services(stack) as running:
        found = [await outage(stack, running, kind, seconds, rate, seed) for kind in KINDS]
        await tell(running, found)
    return found


def table(found: list[Outage]) -> Table:
    """The outages side by side."""
    shown = Table("", *(one.kind for one in found))
    for name in asdict(found[0]):
        if name == "kind":
            continue
        values = [getattr(one, name) for one in found]
        shown.add_row(name, *(f"{value:.2f}" if isinstance(value, float) else str(value) for value in values))
    return shown


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make outage")
    parser.add_argument("--seconds", type=float, default=30, help="how long Kafka is away")
    parser.add_argument("--rate", type=float, default=300, help="new messages a second")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its Kafka goes away, and it says so
    found = asyncio.run(main(chosen.seconds, chosen.rate, chosen.seed))
    Console().print(table(found))
    clean = all(one.clean for one in found)
    REPORT.parent.mkdir(exist_ok=True)
    body = {
        "seed": chosen.seed,
        "rate": chosen.rate,
        "clean": clean,
        "outages": [asdict(one) for one in found],
    }
    REPORT.write_text(json.dumps(body, indent=2) + "\n")
    print("clean" if clean else "NOT clean")
    sys.exit(0 if clean else 1)
