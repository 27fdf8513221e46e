"""`make siege`: every attack for SECONDS=10, then all at once; leaves reports/siege.json. Exit 0 only if all good webhooks were answered 200 in time, and the memory came back."""

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.stack import LocalStack
from tests.siege.run import ALL, GROWTH_MB, P50_MS, P99_MS, PEAK_MB, Phase, besieged, siege

REPORT = Path("reports/siege.json")
WRONG_SIGNATURES = 100_000


async def main(seconds: float, seed: int, only: list[str]) -> tuple[list[Phase], int]:
    """On one local stack; the phases, and how many tracebacks are in the log."""
    async with LocalStack(name="siege") as stack, besieged(stack) as target:
        phases = await siege(target, only or ALL, seconds, WRONG_SIGNATURES, seed)
        return phases, target.log.read_text(errors="replace").count("Traceback")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make siege")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], choices=ALL)
    chosen = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    phases, tracebacks = asyncio.run(main(chosen.seconds, chosen.seed, chosen.only))
    rows = [phase.as_json() for phase in phases]
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=170).print(table)
    held = all(phase.held for phase in phases) and not tracebacks
    bounds = {"p50_ms": P50_MS, "p99_ms": P99_MS, "peak_mb": PEAK_MB, "growth_mb": GROWTH_MB}
    REPORT.parent.mkdir(exist_ok=True)
    report = {"seed": chosen.seed, "held": held, "bounds": bounds, "tracebacks": tracebacks, "phases": rows}
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    print("held" if held else "NOT held", f"(tracebacks in the log: {tracebacks})")
    sys.exit(0 if held else 1)
