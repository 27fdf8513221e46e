"""What the reader sees: a progress line while the system runs, a table for each case, the counts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.local.demo.screen import progress_line
from shared.times import from_ms
from tests.cases.expectations import Checked
from tests.cases.player import Played

_WIDTH_WITHOUT_TERMINAL = 150


class Screen:
    """Colours and a progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL, file=self.console.file)
        self._progress = progress_line(self.console)
        self._task = self._progress.add_task("", total=None)

    @contextmanager
    def live(self) -> Iterator[None]:
        """The progress line, for as long as cases are played."""
        with self._progress:
            yield

    def say(self, text: str, style: str = "") -> None:
        """Prints one line."""
        self.console.print(Text(text, style), soft_wrap=True)

    def doing(self, what: str) -> None:
        """Says what runs now."""
        self._progress.update(self._task, description=what)

    def moved(self, nth: int, of: int, at_ms: int) -> None:
        """Says which instant is played."""
        text = f"{from_ms(at_ms):%d %B %Y, %H:%M:%S} UTC"
        self._progress.update(self._task, total=of, completed=nth, description=text)

    def case(self, played: Played) -> None:
        """Prints a case: each step, what was expected, what came."""
        case = played.case
        mark = Text("✓ ", "bold green") if played.ok else Text("✗ ", "bold red")
        self.console.print(Text.assemble(mark, (case.name, "bold")), soft_wrap=True)
        if case.guide:
            self.console.print(Text(f"  “{case.guide}”", "italic dim"), soft_wrap=True)
        table = Table(box=SIMPLE_HEAD, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("", no_wrap=True)
        table.add_column("at", justify="right", no_wrap=True)
        table.add_column("what happens")
        table.add_column("expected")
        table.add_column("came")
        for place, step in enumerate(case.steps):
            _row(table, step.at, str(step.action), played.steps.get(place, []))
        if played.end:
            _row(table, "end", "", played.end)
        self.console.print(table)
        if played.error:
            self.console.print(Text(f"  ✗ {played.error}", "red"), soft_wrap=True)

    def counts(self, played: Sequence[Played], seconds: float) -> None:
        """Prints how many agree, and names those that do not."""
        wrong = [each for each in played if not each.ok]
        checks = [checked for each in played for checked in each.checked]
        agree = sum(checked.ok for checked in checks)
        self.say(
            f"{len(played) - len(wrong)} of {len(played)} cases came as expected"
            f" ({agree} of {len(checks)} expectations), in {seconds:.1f} s.",
            "bold red" if wrong else "bold green",
        )
        for each in wrong:
            self.say(f"  ✗ {each.case.name}", "red")


def _row(table: Table, at: str, what: str, checked: Sequence[Checked]) -> None:
    if not checked:
        table.add_row("", at, what, "", "", style="dim")
        return
    mark = Text("✓", "green") if all(each.ok for each in checked) else Text("✗", "bold red")
    expected = "\n".join(f"{each.what} {' or '.join(map(_word, each.expected))}" for each in checked)
    came = Text("\n").join(Text(_word(each.came), "" if each.ok else "bold red") for each in checked)
    table.add_row(mark, at, what, expected, came)


def _word(value: object) -> str:
    return "—" if value is None else "yes" if value is True else "no" if value is False else str(value)
