"""`python -m deploy.local.demo`: starts a whole system of its own, plays the guide on it, reports, stops everything."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from deploy.local.demo.play import Judged, play, write_report
from deploy.local.demo.screen import Screen
from deploy.local.demo.stage import Stage
from deploy.local.demo.story import STORY
from deploy.local.errors import StackError
from deploy.local.paths import REPOSITORY
from deploy.local.services import urls
from deploy.local.stack import LocalStack
from deploy.local.system import LocalSystem
from deploy.local.topics import create_topics
from shared.clock import FileClock
from shared.settings import ServiceSettings

REPORT: Final = REPOSITORY / "reports" / "demo.json"
_LASTS: Final = timedelta(days=8)


def starts_at(today: datetime) -> datetime:
    """The story's first hour: ahead of the wall clock, and early enough for the whole story to lie in one month. Pure."""
    start = (today + timedelta(days=1)).replace(hour=9, minute=0, second=0, microsecond=0)
    ends = start + _LASTS
    return start if ends.month == start.month else ends.replace(day=1)


async def demo(report: Path, *, keep: bool = False, environ: Mapping[str, str] = os.environ) -> int:
    """Starts, plays, reports and stops; 0 only if every step came out as the guide says.

    Raises:
        StackError: the system did not start; everything is stopped again.
    """
    began_s = time.monotonic()
    screen = Screen(len(STORY))
    clocks: list[FileClock] = []

    async def prepare(settings: Mapping[str, str]) -> None:
        clocks.append(FileClock(settings["WA_CLOCK_FILE"], starts_at(datetime.now(UTC))))
        await create_topics(settings)

    stack = LocalStack(name="demo", appendfsync="always", environ=environ)
    system = LocalSystem(stack, prepare, extra=_own_names(environ))
    screen.say("Starting Kafka, Redis, the simulator and all services; the first time fetches Kafka.")
    try:
        with screen.live():
            screen.doing("starting the system")
            await system.start()
            screen.say(f"Ready after {time.monotonic() - began_s:.1f} s.")
            judged = await _played(system, clocks[0], screen)
        seconds = time.monotonic() - began_s
        write_report(report, judged, seconds)
        failed = [step for step in judged if not step.ok]
        screen.say(
            f"{len(judged) - len(failed)} of {len(judged)} steps as the guide says, in {seconds:.0f} s.",
            "bold red" if failed else "bold green",
        )
        _where_next(screen, system, report, keep=keep)
        if keep:
            screen.say("Everything keeps running until Ctrl-C.")
            await asyncio.Event().wait()
        return 1 if failed else 0
    finally:
        await system.stop()


async def _played(system: LocalSystem, clock: FileClock, screen: Screen) -> list[Judged]:
    settings = ServiceSettings.model_validate(
        {name.removeprefix("WA_").lower(): value for name, value in system.settings.items()}
    )

    def tail(service: str, lines: int) -> str:
        return system.services[service].log_tail(lines)

    async with Stage(settings, urls(system.ports), clock) as stage:
        await stage.set_up()
        screen.say(f"The story begins on {stage.now():%d %B, %H:%M} UTC, by the one clock of all processes.")
        judged = await play(STORY, stage, screen, require_running=system.require_running, log_tail=tail)
        if stage.counted:
            screen.tallies(stage.counted)
            screen.say(
                "Prices are of an illustrative card within the guide's 0.01-0.03 USD: config/rates.", "dim"
            )
    return judged


def _own_names(environ: Mapping[str, str]) -> dict[str, str]:
    """On somebody else's Kafka or Redis: topics, groups and keys that nobody else uses."""
    if not (environ.get("WA_KAFKA_BOOTSTRAP") or environ.get("WA_REDIS_URL")):
        return {}
    name = f"demo{os.getpid()}"
    return {"WA_TOPIC_PREFIX": f"{name}.", "WA_REDIS_NAMESPACE": name}


def _where_next(screen: Screen, system: LocalSystem, report: Path, *, keep: bool) -> None:
    places = {
        "report": os.path.relpath(report),
        "logs": os.path.relpath(system.log_dir),
        "how it works": "docs/architecture.md; every reason: docs/reasons.md; prices: docs/pricing.md",
        "dashboards": "deploy/grafana/dashboards/ (Grafana comes with deploy/compose.yaml)",
    }
    if keep:
        places = urls(system.ports) | {"kafka": system.stack.endpoints.kafka_bootstrap} | places
    else:
        fixed = "make up: console http://127.0.0.1:8090, ingress :8080, simulator :8070, metrics from :9101"
        places = {"try it yourself": fixed, "keep the demo running": "make demo KEEP=1"} | places
    screen.places("Where to look next", places)


async def _until_ended(report: Path, *, keep: bool) -> int:
    """Lets SIGTERM end the demo as Ctrl-C does: everything it started is stopped."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await demo(report, keep=keep)


def main() -> int:
    """Reads the command line, runs the demo; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.demo", description=__doc__)
    parser.add_argument("--report", type=Path, default=REPORT, help="where to write demo.json")
    parser.add_argument(
        "--keep", action="store_true", help="keep all running until Ctrl-C (KEEP=1 does, too)"
    )
    arguments = parser.parse_args()
    keep = arguments.keep or os.environ.get("KEEP", "") not in ("", "0")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(_until_ended(arguments.report, keep=keep))
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
