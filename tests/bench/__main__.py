"""`make bench`: runs every measurement, prints a table, writes reports/bench.json. Options go into ARGS: `make bench ARGS="--only router"`.

A value stands beside a ceiling measured in the same round, the two in turn; the ratio quoted is the median over the rounds.
The measured process has one core to itself (`--no-pin` to leave that to the machine), Kafka, Redis and the load the others; where the whole system is measured, nobody has.
"""

import argparse
import asyncio
import json
import logging
import os
import platform
import statistics
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.stack import LocalStack
from tests.bench import (
    apart,
    bulk,
    decisions,
    edge,
    ingress,
    limits,
    push,
    recovery,
    router,
    sender,
    tallies,
    waits,
)

REPORT = Path("reports/bench.json")


@dataclass(frozen=True)
class Result:
    """One measurement over all rounds: values and ceilings, round by round. The ratio should be `goal` at least; of costs, at most."""

    name: str
    unit: str
    pairs: list[tuple[float, float]]
    goal: float
    cost: bool

    @property
    def ratios(self) -> list[float]:
        return [value / ceiling for value, ceiling in self.pairs]

    def row(self) -> dict[str, object]:
        """As in the report; `spread` is the ratio's smallest and greatest."""
        return {
            "name": self.name,
            "value": round(statistics.median(value for value, _ in self.pairs)),
            "unit": self.unit,
            "ceiling": round(statistics.median(ceiling for _, ceiling in self.pairs)),
            "ratio": round(statistics.median(self.ratios), 3),
            "spread": [round(min(self.ratios), 3), round(max(self.ratios), 3)],
            "goal": self.goal,
            "goal_is": "at most" if self.cost else "at least",
        }


async def main(
    rounds: int, only: str | None, *, pin: bool, million: bool, troubles: str | None
) -> list[Result]:
    """Measure on one local stack."""
    console = _console()
    cpus = sorted(os.sched_getaffinity(0))
    core = cpus[-1] if pin and len(cpus) > 1 else None
    pairs: dict[str, list[tuple[float, float]]] = {}
    kinds: dict[str, tuple[str, float, bool]] = {}
    one_process = (
        ("router", rounds, "events/s", 0.4, False, router.measure),
        ("ingress", rounds, "requests/s", 0.4, False, ingress.measure),
        ("edge", min(rounds, 3), "requests/s", 0.15, False, edge.measure),
        ("push", min(rounds, 3), "events/s", 0.35, False, push.measure),
        ("tallies", min(rounds, 3), "entries/s", 0.5, False, tallies.measure),
        (
            "tallies",
            1,
            "ms",
            1.5,
            True,
            partial(tallies.restart, entries=1_000_000 if million else tallies.ENTRIES),
        ),
        ("waits", 1, "ms or MB", 1.2, True, waits.measure),
        ("recovery", 1, "", 1.0, True, partial(recovery.measure, names=troubles)),
        (
            "decisions",
            1,
            "",
            1.2,
            True,
            partial(decisions.measure, most=1_000_000 if million else decisions.MOST),
        ),
    )
    whole_system = (
        ("sender", rounds, "messages/s", 0.6, False, sender.measure),
        ("edge", 1, "ms or KB", 10.0, True, edge.waits),
        ("apart", 1, "ms", 1.5, True, apart.measure),
        ("limits", 1, "messages/s", 0.95, False, limits.measure),
        ("bulk", 1, "ms", 1.0, True, bulk.measure),
        ("bulk", 1, "messages/s", 0.95, False, bulk.limits),
    )
    for measurements, own in ((one_process, core), (whole_system, None)):
        chosen = [one for one in measurements if only in (None, one[0])]
        if not chosen:
            continue
        # Inherited by Kafka, Redis and the load.
        os.sched_setaffinity(0, set(cpus) - {own})
        async with LocalStack(name="bench") as stack:
            for _, times, unit, goal, cost, measure in chosen:
                for nth in range(times):
                    for what, (value, ceiling) in (await measure(stack, own)).items():
                        pairs.setdefault(what, []).append((value, ceiling))
                        kinds[what] = (unit, goal, cost)
                        ratio = value / ceiling
                        console.print(
                            f"{what}: round {nth + 1} of {times}: {value:,.0f} of {ceiling:,.0f} {unit} = {ratio:.2f}"
                        )
    return [Result(what, kinds[what][0], measured, *kinds[what][1:]) for what, measured in pairs.items()]


def _console() -> Console:
    """As wide as the terminal; in a file as wide as the table."""
    return Console(width=None if sys.stdout.isatty() else 160)


def report(results: list[Result], rounds: int) -> None:
    """Print the table and write the report."""
    table = Table("measured", "value", "ceiling", "ratio", "spread", "goal")
    for row in (result.row() for result in results):
        table.add_row(
            str(row["name"]),
            f"{row['value']:,} {row['unit']}".strip(),
            f"{row['ceiling']:,}",
            str(row["ratio"]),
            "{} - {}".format(*row["spread"]),  # type: ignore[misc]
            f"{row['goal_is']} {row['goal']}",
        )
    _console().print(table)
    REPORT.parent.mkdir(exist_ok=True)
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    body = {"machine": machine, "rounds": rounds, "results": [result.row() for result in results]}
    REPORT.write_text(json.dumps(body, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only",
        help="router, ingress, edge, sender, push, tallies, waits, limits, apart, bulk, recovery or decisions",
    )
    parser.add_argument(
        "--no-pin", dest="pin", action="store_false", help="do not give the measured process a core"
    )
    parser.add_argument(
        "--million",
        action="store_true",
        help="decisions among a million conversations, tallies of a million entries, too",
    )
    parser.add_argument(
        "--troubles", help="of recovery: parts of the names of those to measure, comma-separated"
    )
    chosen = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # new topics look for their leaders a moment
    measured = main(
        chosen.rounds, chosen.only, pin=chosen.pin, million=chosen.million, troubles=chosen.troubles
    )
    report(asyncio.run(measured), chosen.rounds)
    sys.exit(0)
