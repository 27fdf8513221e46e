"""`wam preferences`: who opted out of marketing messages, or in."""

import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich import progress

from services.console import preference_list, tables
from services.console.conversation_events import publish
from services.console.operator_word import operator_word
from services.console.preference_list import COLUMNS, NoSuchList, Rejected
from services.console.preference_words import latest
from services.console.terminal import require_number, settings, user_at
from shared.account_reader import read_once
from shared.clock import clock_from
from shared.events import PreferenceChanged, encode
from shared.terminal import REFUSED, USAGE, AsJson, By, err, login, out, print_json, reason_of, run

app = typer.Typer(no_args_is_help=True, help="Who opted out of marketing messages, or in.")

MAX_NAMED = 20
"""Lines left out that are named on the terminal; all are in the file of rejects."""
Sender = Annotated[str, typer.Option("--from", help="phone_number_id that the preference is about.")]
User = Annotated[str, typer.Option("--to", help="The user, international form.")]


@app.command("import")
def import_list(
    file: Annotated[Path, typer.Argument(help=f"CSV with the columns {', '.join(COLUMNS)}.")], by: By = None
) -> None:
    """Take over a list of opt-outs and opt-ins; lines that can't be read go to FILE.rejects.csv.

    Importing a file again changes nothing: the last word by its own time counts.
    """
    configured = settings()
    now_ms = int(clock_from(configured.clock_file).time() * 1000)
    facts = run(read_once(configured))
    rejects = _Rejects(file.with_name(f"{file.name}.rejects.csv"))
    try:
        with progress.open(
            file, "rt", encoding="utf-8-sig", newline="", description="Importing", console=err
        ) as lines:
            read = preference_list.read(
                lines, file.name, by or login(), now_ms, lambda number: facts.number(number) is not None
            )
            count = run(publish(configured, rejects.left_out(read)))
    except NoSuchList as error:
        err.print(f"{file}: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None
    except (OSError, UnicodeDecodeError) as error:
        err.print(f"{file}: {reason_of(error)}", markup=False, soft_wrap=True)
        raise typer.Exit(USAGE) from None
    finally:
        rejects.close()
    out.print(f"{_lines(count)} taken over.", markup=False)
    if rejects.count:
        err.print(f"{_lines(rejects.count)} left out; see {rejects.path}", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED)


@app.command("set")
def set_one(
    sender: Sender,
    to: User,
    marketing: Annotated[Literal["in", "out"], typer.Option("--marketing", help="What the user wants.")],
    evidence: Annotated[str, typer.Option("--evidence", help="How you know, e.g. a ticket or a recording.")],
    by: By = None,
) -> None:
    """Say for one user what they told you, as of now."""
    configured, user = settings(), user_at(to)
    require_number(sender, run(read_once(configured)))
    now_ms = int(clock_from(configured.clock_file).time() * 1000)
    word = operator_word(sender, user, marketing, evidence, by or login(), now_ms)
    run(publish(configured, [word]))
    wants = "wants" if marketing == "in" else "wants no"
    out.print(f"{user} {wants} marketing from {sender}.", markup=False)


@app.command("show")
def show(sender: Sender, to: User, as_json: AsJson = False) -> None:
    """Show a user's last word, as the router has told it."""
    user = user_at(to)
    found = run(latest(settings(), sender, user))
    where = f"{found.topic}, partition {found.partition}"
    if found.word is None:
        err.print(f"{user} has said nothing to {sender} (read from {where})", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED)
    if as_json:
        print_json(json.loads(encode(found.word)))
        return
    out.print(tables.preference_table(found.word))
    out.print(f"Read from {where}, offset {found.offset}.", markup=False)


class _Rejects:
    """The lines left out: named on the terminal, kept in a file that exists only if there are any."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._open = ExitStack()
        self._writer: Any = None

    def left_out(self, read: Iterator[PreferenceChanged | Rejected]) -> Iterator[PreferenceChanged]:
        """The words of a list; what is none is noted here."""
        for found in read:
            if isinstance(found, PreferenceChanged):
                yield found
            else:
                self._note(found)

    def _note(self, rejected: Rejected) -> None:
        if self._writer is None:
            file = self._open.enter_context(self.path.open("w", encoding="utf-8", newline=""))
            self._writer = csv.writer(file)
            self._writer.writerow(("line", "problem", "fields"))
        self._writer.writerow((rejected.line, rejected.problem, *rejected.fields))
        self.count += 1
        if self.count <= MAX_NAMED:
            err.print(f"line {rejected.line}: {rejected.problem}", markup=False, soft_wrap=True)

    def close(self) -> None:
        """The file is complete."""
        self._open.close()


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"
