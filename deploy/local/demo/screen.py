"""What the reader sees: a live line while a step runs, a block for each finished step, the closing tables."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from deploy.local.demo.played import Counted, Played

_WIDTH_WITHOUT_TERMINAL = 120


def progress_line(console: Console) -> Progress:
    """A bar with what runs now, gone when it is over; nothing where there is no terminal."""
    return Progress(
        SpinnerColumn(),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class Screen:
    """The demo's output: colours and a progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, steps: int, console: Console | None = None) -> None:
        """Prepares it for so many steps."""
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)
        self._progress = progress_line(self.console)
        self._task = self._progress.add_task("", total=steps)
        self._number = 0

    @contextmanager
    def live(self) -> Iterator[None]:
        """The progress line, for as long as steps run."""
        with self._progress:
            yield

    def doing(self, what: str) -> None:
        """Says what runs now; without a terminal nothing, for the finished step says it."""
        self._progress.update(self._task, description=what)

    def say(self, text: str, style: str = "") -> None:
        """Prints one line."""
        self.console.print(Text(text, style))

    def step(
        self,
        name: str,
        guide: str,
        played: Played,
        wrong: Mapping[str, str],
        seconds: float,
    ) -> None:
        """Prints a finished step; `wrong` is fact → what is wrong with it."""
        self._number += 1
        ok = not wrong
        mark = Text("✓", "bold green") if ok else Text("✗", "bold red")
        self.console.print(
            Text.assemble(mark, f" {self._number:>2}  ", (name, "bold"), (f"   {seconds:.2f} s", "dim")),
            soft_wrap=True,
        )
        if guide:
            self.console.print(Text(f"      “{guide}”", "italic dim"), soft_wrap=True)
        for line in played.went_in:
            self.console.print(Text.assemble(("      → ", "cyan"), line), soft_wrap=True)
        for line in played.came_back:
            self.console.print(Text.assemble(("      ← ", "green"), line), soft_wrap=True)
        for fact, what in wrong.items():
            self.console.print(Text(f"      ✗ {fact}: {what}", "red"), soft_wrap=True)
        self._progress.advance(self._task)

    def log(self, service: str, tail: str) -> None:
        """Prints the end of a service's log."""
        self.console.print(Text(f"      the log of {service} ends:", "yellow"))
        for line in tail.splitlines():
            self.console.print(Text(f"        {line[:400]}", "dim"), soft_wrap=True)

    def tallies(self, counted: Sequence[Counted]) -> None:
        """Prints the month's tally beside what the fake Meta counted."""
        months = ", ".join(sorted({line.month for line in counted}))
        title = f"The tally of {months}; last, free and paid as Meta itself counted"
        table = Table(
            title=title, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD
        )
        for head in ("Account", "Category"):
            table.add_column(head, no_wrap=True)
        for head in ("Free", "Paid", "Amount", "At Meta"):
            table.add_column(head, justify="right", no_wrap=True)
        for line in counted:
            table.add_row(
                line.account, line.category, str(line.free), str(line.paid), line.amount, line.at_meta
            )
        self.console.print(table)

    def places(self, title: str, rows: Mapping[str, str]) -> None:
        """Prints where to look."""
        self.console.print(Text(title, "bold"))
        width = max(map(len, rows), default=0)
        for name, where in rows.items():
            self.console.print(Text(f"  {name:<{width}}  {where}"), soft_wrap=True)
