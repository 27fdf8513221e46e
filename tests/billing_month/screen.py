"""What the reader sees of a run: a live line, and the closing tables."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.local.demo.screen import progress_line
from tests.billing_month.reconciled import Found
from tests.billing_month.report import Report, per_s


class Screen:
    """Colours and a progress bar on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._progress = progress_line(self._console)
        self._task = self._progress.add_task("", total=1)

    @contextmanager
    def live(self) -> Iterator[None]:
        """The progress line, for as long as it runs."""
        with self._progress:
            yield

    def doing(self, what: str) -> None:
        """Say what begins."""
        self._progress.update(self._task, description=what, completed=0)
        self._console.print(Text(what, "dim"))

    def moved(self, done: int, total: int) -> None:
        """Show how far it is."""
        self._progress.update(self._task, completed=done, total=total)

    def verdict(self, report: Report) -> None:
        """Print what was compared, and what differs."""
        for of in report.rounds:
            table = Table(title=of.name, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
            for nth, head in enumerate(("Compared with the oracle", "Rows", "Differences")):
                table.add_column(head, justify="right" if nth else "left", no_wrap=True)
            for one in of.comparisons:
                table.add_row(one.name, f"{one.rows:,}", str(one.differences))
            self._console.print(table)
            self._console.print(
                f"  {of.entries:,} entries in {of.published:,} records; {of.forgotten:,} messages forgotten"
            )
            if of.killed:
                self._console.print(f"  killed {of.killed}, ended by themselves {of.ended}")
            else:
                self._console.print(
                    f"  {per_s(report.events, of.ledger_s):,} send events/s into the ledger, {per_s(of.published, of.tallies_s):,} entries/s"
                    f" into the tallies, which were up to date {of.restart_s} s after a restart"
                )
            self._console.print(
                f"  digests: ledger {of.ledger_digest[:16]}, tallies {of.tallies_digest[:16]}"
            )
        for one in (*report.oracle, *(one for of in report.rounds for one in of.comparisons)):
            for row, known, found in one.examples:
                self._console.print(Text(f"  {one.name}: {row}: {known} is {found}", "red"))
        self._console.print(Text(report.line(), "bold green" if report.clean else "bold red"))

    def found(self, found: Found) -> None:
        """Print which planted differences the reconciliation named."""
        table = Table(title="Planted and found", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
        for nth, head in enumerate(("Kind", "Planted", "Missed")):
            table.add_column(head, justify="right" if nth else "left", no_wrap=True)
        for kind, count in found.planted.items():
            table.add_row(kind, str(count), str(sum(one.kind == kind for one in found.missed)))
        self._console.print(table)
        for one in found.missed:
            self._console.print(Text(f"  missed: {one}", "red"))
        for beside in found.beside:
            self._console.print(Text(f"  nobody planted {beside}", "red"))
        self._console.print(
            Text(
                f"{found.messages:,} messages, {found.events:,} events; ledger {found.ledger_s} s, wam reconcile {found.reconcile_s} s and {found.peak_mb} MB; "
                f"{sum(found.planted.values()) - len(found.missed)} of {sum(found.planted.values())} differences named, exit code {found.exit_code}",
                "bold green" if found.clean else "bold red",
            )
        )
