"""`make fuzz`: N=1000000 signed bodies through the handler, one in a hundred over a socket; leaves reports/fuzz.json and the bodies that failed beside it.

`--show INDEX` writes one body to stdout.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tests.fuzz.run import Tally, mutator, over_a_socket, through_the_handler

REPORT = Path("reports/fuzz.json")
FAILED = Path("reports/fuzz")
_SLICES = 20
_MOST_GROWTH_MB = 64.0


def main(bodies: int, seed: int, processes: int) -> tuple[Tally, Tally]:
    """Through the handler in so many processes, then over a socket."""
    handler = Tally()
    size = -(-bodies // _SLICES)
    with ProcessPoolExecutor(processes) as pool, Progress(transient=True) as progress:
        shown = progress.add_task("bodies", total=bodies)
        slices = [
            pool.submit(through_the_handler, seed, first, min(size, bodies - first))
            for first in range(0, bodies, size)
        ]
        for done in as_completed(slices):
            handler.add(done.result())
            progress.update(shown, completed=handler.bodies)
    return handler, asyncio.run(over_a_socket(seed, bodies, max(100, bodies // 100)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--bodies", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", type=int, help="write this body to stdout")
    chosen = parser.parse_args()
    if chosen.show is not None:
        sys.stdout.buffer.write(mutator(chosen.seed).body(chosen.show))
        sys.exit(0)
    began = time.monotonic()
    handler, socket = main(chosen.bodies, chosen.seed, chosen.processes)
    seconds = time.monotonic() - began
    clean = not handler.failed and not socket.failed and handler.memory_growth_mb < _MOST_GROWTH_MB
    body = {
        "seed": chosen.seed,
        "seconds": round(seconds, 1),
        "clean": clean,
        "handler": handler.as_json(),
        "socket": socket.as_json(),
    }
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(body, indent=2) + "\n")
    console = Console()
    for name, tally in (("handler", handler), ("socket", socket)):
        console.print(name, tally.as_json())
    for index, _ in handler.failures + socket.failures:
        FAILED.mkdir(exist_ok=True)
        (FAILED / f"{chosen.seed}-{index}").write_bytes(mutator(chosen.seed).body(index))
    console.print(f"{'clean' if clean else 'NOT clean'}, {seconds:.0f} s")
    sys.exit(0 if clean else 1)
