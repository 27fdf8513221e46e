"""What the reader sees of a run: a live line of how many senders have died, and the closing tables."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.local.demo.screen import progress_line
from tests.chaos.sends.plan import MIX
from tests.chaos.sends.report import Report
from tests.integration.sender_process import MOMENTS

_EVERY = 50
"""Without a terminal a line is printed each time so many more have died."""


class Screen:
    """Colours and a progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, crashes: int) -> None:
        self._console = Console(highlight=False)
        self._progress = progress_line(self._console)
        self._task = self._progress.add_task("", total=crashes)
        self._printed = 0

    @contextmanager
    def live(self) -> Iterator[None]:
        """The progress line, for as long as senders die."""
        with self._progress:
            yield

    def doing(self, what: str) -> None:
        """Say what begins."""
        self._progress.update(self._task, description=what)
        self._console.print(Text(what, "dim"))

    def crashed(self, crashes: Mapping[str, int], zombies: Mapping[str, int]) -> None:
        """Show how many have died, and where."""
        dead = sum(crashes.values())
        where = ", ".join(f"{moment} {crashes.get(moment, 0)}" for moment in MOMENTS)
        self._progress.update(self._task, completed=dead, description=where)
        if dead >= self._printed + _EVERY and not self._console.is_terminal:
            self._printed = dead
            self._console.print(f"  {dead} crashes: {where}; {sum(zombies.values())} zombies")

    def verdict(self, report: Report) -> None:
        """Print what the ledger says."""
        found = report.verdict
        deaths = self._table("Senders", "Moment", "Killed there", "Stopped there")
        for moment in MOMENTS:
            deaths.add_row(moment, str(report.crashes[moment]), str(report.zombies[moment]))
        sent = self._table("Sent twice, by the ledger of the fake Meta", "Category", "Twice", "Allowed")
        for category in sorted(set(MIX)):
            allowed = sum(duplicate["category"] == category for duplicate in found.allowed)
            sent.add_row(category, str(found.sent_twice[category]), str(allowed))
        proof = self._table("Of all requests", "", "")
        for name, value in (
            ("asked for", found.requests),
            ("accepted by Meta", found.accepted),
            ("answers lost", report.answers_lost.total()),
            *((f"uncertain, ended {how}", count) for how, count in sorted(found.resolved.items())),
            ("sent twice against the policy", len(found.forbidden)),
            ("called again without knowing", len(found.repeated)),
            ("lost", len(found.lost)),
            ("still uncertain", len(found.unresolved)),
            ("told otherwise than it is", len(found.untrue)),
        ):
            proof.add_row(name, f"{value:,}")
        self._console.print(deaths, sent, proof)
        for duplicate in found.allowed:
            self._console.print(
                f"  allowed: {duplicate['request']} ({duplicate['category']}): {', '.join(duplicate['causes'])}"
            )
        times = report.as_json()
        self._console.print(f"takeover from a zombie: {times['takeover_s']}")
        self._console.print(f"at default settings: {times['at_default_settings']}")
        self._console.print(Text(report.line(), "bold green" if report.clean else "bold red"))

    def _table(self, title: str, *heads: str) -> Table:
        table = Table(
            title=title, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD
        )
        for nth, head in enumerate(heads):
            table.add_column(head, justify="right" if nth else "left", no_wrap=True)
        return table
