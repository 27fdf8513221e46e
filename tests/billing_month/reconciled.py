"""A month with planted differences through the ledger and `wam reconcile`: each must be found and named as what it is, and nothing else."""

import asyncio
import csv
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic

from deploy.local.paths import REPOSITORY, RUNS
from deploy.local.stack import LocalStack
from shared import kafka
from tests.billing_month import config, rawlog
from tests.billing_month.analytics import analytics
from tests.billing_month.crew import Crew, Watching
from tests.billing_month.differences import Planted, plant
from tests.billing_month.generate import CLEAN, Month
from tests.billing_month.rules import Rules
from tests.billing_month.run import introduce
from tests.billing_month.world import MONTH, YEAR

NAMED_AS = {"volume_tier": ("volume_tier", "rate_differs")}
"""One of these names is right; every other kind has its own name only."""


@dataclass
class Found:
    """What the report says, beside what was planted."""

    messages: int
    events: int
    planted: dict[str, int]
    missed: list[Planted] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    """Differences that nobody planted."""
    exit_code: int = -1
    ledger_s: float = 0.0
    reconcile_s: float = 0.0
    peak_mb: int = 0

    @property
    def clean(self) -> bool:
        """Whether all were found, nothing else, and nothing is unexplained."""
        return not self.missed and not self.beside and self.exit_code == 0


async def run(size: int, seed: int, count: int, folder: Path, watching: Watching) -> Found:
    """Generate a month, plant so many differences, let the ledger book it and reconcile; the report goes to `folder`."""
    RUNS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="reconciled-", dir=RUNS) as made:
        place = Path(made)
        rules = Rules(config.write(place / "config"))
        watching.doing("generating the month")
        messages = list(Month(rules, size, seed, CLEAN).messages())
        planted = plant(messages, rules, Random(seed), count)
        raw = rawlog.write(messages, size, seed, place / "log.jsonl", lambda n: watching.moved(n, size))
        told = place / "analytics.json"
        told.write_text(json.dumps([node for node in analytics(messages) if len(node) > 1]))
        found = Found(raw.messages, raw.events, dict(Counter(one.kind for one in planted)))
        del messages
        async with LocalStack(name="month") as stack, Crew(stack, place / "config", raw, watching) as crew:
            await kafka.create_topics(crew.settings)
            await introduce(crew)
            watching.doing(f"publishing {raw.events:,} send events")
            await rawlog.publish(raw, crew.settings, lambda n: watching.moved(n, raw.events))
            watching.doing("the ledger")
            began = monotonic()
            await crew.start("ledger")
            found.ledger_s = round(await crew.up_to_date("ledger") - began, 1)
            await crew.stop("ledger")
            watching.doing("wam reconcile")
            began = monotonic()
            found.exit_code, found.peak_mb = await _reconcile(crew.env, told, folder)
            found.reconcile_s = round(monotonic() - began, 1)
        _judge(found, planted, folder)
        return found


_MEASURED = (
    "import resource, sys\n"
    "from services.console.cli import main\n"
    "try:\n    main()\n"
    "finally:\n    print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)"
)


async def _reconcile(env: dict[str, str], told: Path, folder: Path) -> tuple[int, int]:
    """Exit code of the command, and its peak memory in MB."""
    month = f"{YEAR}-{MONTH:02}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _MEASURED, "reconcile", "--month", month, "--analytics", str(told), "--out", str(folder),
        cwd=REPOSITORY, env=env, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    *before, last = said.decode().strip().splitlines() or [""]
    if not last.startswith("peak "):
        raise RuntimeError("\n".join([*before, last]))
    return process.returncode or 0, int(last.split()[1])


def _judge(found: Found, planted: Iterable[Planted], folder: Path) -> None:
    """Look up each planted difference by kind and message, and what is left over."""
    report = json.loads((folder / "report.json").read_text())
    differences = [(of["kind"], difference) for of in report["kinds"] for difference in of["differences"]]
    left = {
        number: f"{kind}: {', '.join(json.dumps(effect['cell']) for effect in difference['effects'])}"
        for number, (kind, difference) in enumerate(differences, 1)
    }
    named = {
        (kind, message["wamid"]): number
        for number, (kind, difference) in enumerate(differences, 1)
        for message in difference["messages"]
    }
    with (folder / "messages.csv").open(newline="") as file:
        for row in csv.DictReader(file):  # all of a cell; the report names the first ones only
            named.setdefault((row["kind"], row["wamid"]), int(row["difference"] or 0))
    for one in planted:
        numbers = {
            named[kind, one.wamid]
            for kind in NAMED_AS.get(one.kind, (one.kind,))
            if (kind, one.wamid) in named
        }
        if not numbers:
            found.missed.append(one)
        for number in numbers:
            left.pop(number, None)
    found.beside = list(left.values())
