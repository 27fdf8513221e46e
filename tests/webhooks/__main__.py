"""`make webhooks N=100000`: so many generated updates, clean and one by one beside disordered, doubled and among damage; leaves reports/webhooks.json.

Exit 0 only if every comparison agrees; of one that does not, the smallest that fails alike is shown, with what must be known to play it again.
"""

import argparse
import json
import random
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.webhooks.compared import Played, compare
from tests.webhooks.told import Told, tellings

REPORT = Path("reports/webhooks.json")
ROUND = 50
"""Histories between two lines of progress."""
LEAST, MOST = 12, 100
"""Updates in a history."""


def play(played: Played, number: int) -> None:
    """One round of histories, its own for each number."""

    @seed(number)
    @settings(
        max_examples=ROUND,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(tellings(LEAST, MOST), st.integers(0, 2**32))
    def histories(told: list[Told], chance: int) -> None:
        compare(told, chance, played)

    histories()


def main() -> int:
    parser = argparse.ArgumentParser(prog="make webhooks")
    parser.add_argument("--updates", type=int, default=100_000, help="at least so many")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    chosen = parser.parse_args()
    played, began, failure = Played(), time.monotonic(), None
    number = chosen.seed
    while played.updates < chosen.updates and failure is None:
        try:
            play(played, number)
        except AssertionError:
            failure = traceback.format_exc()
        number += 1
        seconds = time.monotonic() - began
        print(
            f"{played.updates:>9,} updates, {played.duplicates:,} doubled, {played.damaged:,} damaged, {played.bodies:,} bodies, {seconds:.0f} s",
            flush=True,
        )
    report = {
        "seed": chosen.seed,
        **asdict(played),
        "seconds": round(time.monotonic() - began, 1),
        "agree": failure is None,
    }
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report | {"failure": failure}, indent=2) + "\n")
    print(failure or f"All effects agree (seed {chosen.seed}): {REPORT}")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
