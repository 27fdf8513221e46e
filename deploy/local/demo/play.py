"""Plays the story on a running system: steps in, judged steps and `demo.json` out."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import aiohttp
from aiokafka.errors import KafkaError

from deploy.local.demo.business import Missing
from deploy.local.demo.played import Facts, Played
from deploy.local.demo.screen import Screen
from deploy.local.demo.stage import Stage
from deploy.local.demo.story import Step
from deploy.local.errors import StackError
from services.console.tallies import TalliesUnavailable

_LOG_LINES = 8
_OF_FACT: Final = {
    "calls at Meta": "sender",
    "life": "sender",
    "received": "ingress",
    "window": "ingress",
    "published": "console",
    "shop": "billing",
    "cafe": "billing",
    "shop at Meta": "billing.tallies",
    "cafe at Meta": "billing.tallies",
    "amount": "billing",
    "calls": "sender",
}
"""Whose log to show first when a fact is wrong; the router's for all others."""
_LogTail = Callable[[str, int], str]


@dataclass(frozen=True)
class Judged:
    """A step as `demo.json` has it."""

    name: str
    ok: bool
    expected: Facts
    actual: Facts


async def play(
    steps: Sequence[Step],
    stage: Stage,
    screen: Screen,
    *,
    require_running: Callable[[], None],
    log_tail: _LogTail,
) -> list[Judged]:
    """Plays the steps in order and judges each. What never came ends the story: the steps that follow build on it.

    Args:
        steps: the story.
        stage: the running system.
        screen: where each step is shown.
        require_running: raises StackError when a service has ended.
        log_tail: the last lines of a service's log.
    """
    judged: list[Judged] = []
    for number, step in enumerate(steps):
        screen.doing(step.name)
        began_s = time.monotonic()
        played, ended = await _played(step, stage, require_running)
        wrong = {
            fact: f"expected {expected!r}, got {played.facts.get(fact)!r}"
            for fact, expected in step.expect.items()
            if played.facts.get(fact) != expected
        }
        if ended is not None:
            wrong = {"the story ends here": ended.why}
        screen.step(step.name, step.guide, played, wrong, time.monotonic() - began_s)
        judged.append(Judged(step.name, not wrong, dict(step.expect), _actual(step, played, ended)))
        concerned = (
            sorted({_OF_FACT.get(fact, "router") for fact in wrong}) if ended is None else ended.concerned
        )
        for service in concerned:
            screen.log(service, log_tail(service, _LOG_LINES))
        if ended is not None:
            left = steps[number + 1 :]
            judged += [Judged(s.name, False, dict(s.expect), {"not played": True}) for s in left]
            screen.say(f"{len(left)} steps are not played.", "red")
            break
    return judged


@dataclass(frozen=True)
class _Ended:
    """Why the story can't go on, and whose log to show."""

    why: str
    concerned: tuple[str, ...] = ()


async def _played(
    step: Step, stage: Stage, require_running: Callable[[], None]
) -> tuple[Played, _Ended | None]:
    """What a step brought, as far as it came. A service that has ended explains more than what is missing because of it."""
    played = Played()
    try:
        require_running()
        for action in step.does:
            played.add(await action.play(stage))
    except (Missing, KafkaError, aiohttp.ClientError, TimeoutError, TalliesUnavailable) as error:
        try:
            require_running()
        except StackError as ended:
            return played, _Ended(str(ended))
        concerned = error.concerned if isinstance(error, Missing) else ()
        return played, _Ended(f"{type(error).__name__}: {error}", concerned)
    except StackError as ended:
        return played, _Ended(str(ended))
    return played, None


def write_report(path: Path, judged: Sequence[Judged], seconds: float) -> None:
    """Writes `demo.json`."""
    passed = sum(step.ok for step in judged)
    report = {
        "steps": [asdict(step) for step in judged],
        "passed": passed,
        "failed": len(judged) - passed,
        "seconds": round(seconds, 1),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False, default=str) + "\n", "utf-8")


def _actual(step: Step, played: Played, ended: _Ended | None) -> Facts:
    """What was compared, and why the story ended if it did."""
    actual = {fact: played.facts[fact] for fact in step.expect if fact in played.facts}
    return actual if ended is None else actual | {"story": ended.why}
