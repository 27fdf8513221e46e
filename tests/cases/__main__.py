"""`python -m tests.cases [--system] [--only TEXT] [FILE]`: plays the cases of a file; 0 if all agree, 1 if not, 2 if the file is not of the form."""

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.local.demo.business import Missing
from deploy.local.errors import StackError
from services.console.tallies import TalliesUnavailable
from tests.cases.form import Case, FormError, load
from tests.cases.player import Played
from tests.cases.pure import PurePlayer
from tests.cases.screen import Screen
from tests.cases.system.player import SystemPlayer
from tests.cases.system.running import running

GUIDE: Final = Path(__file__).parents[1] / "fixtures" / "guide-cases.yaml"


async def through_system(cases: Sequence[Case], screen: Screen) -> list[Played]:
    """Start a system, play the cases on it, stop it. Raises StackError, Missing, TalliesUnavailable."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    began_s = time.monotonic()
    screen.say("Starting Kafka, Redis, the simulator and all services; the first time fetches Kafka.")
    with screen.live():
        screen.doing("starting the system")
        async with running(cases) as outside:
            screen.say(f"Ready after {time.monotonic() - began_s:.1f} s.")
            return await SystemPlayer(outside, screen.moved).play(cases, screen.case)


def main(arguments: Sequence[str] | None = None, screen: Screen | None = None) -> int:
    """Reads the command line, plays; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=GUIDE, help="default: %(default)s")
    parser.add_argument(
        "--system", action="store_true", help="through the whole system, not as pure decisions"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases with TEXT in their name")
    given = parser.parse_args(arguments)
    screen = screen or Screen()
    try:
        cases = [case for case in load(given.file) if given.only in case.name]
    except (FormError, OSError) as error:
        print(f"{given.file}: {error}", file=sys.stderr)
        return 2
    if not cases:
        print(f"{given.file}: no case has {given.only!r} in its name", file=sys.stderr)
        return 2
    began_s = time.monotonic()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        if given.system:
            played = asyncio.run(through_system(cases, screen))
        else:
            played = asyncio.run(PurePlayer().play(cases, screen.case))
    except (StackError, Missing, TalliesUnavailable) as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped", file=sys.stderr)
        return 130
    screen.counts(played, time.monotonic() - began_s)
    return 0 if all(each.ok for each in played) else 1


if __name__ == "__main__":
    sys.exit(main())
