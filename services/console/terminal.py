"""What the console's own commands of `wam` share beside `shared.terminal`: its settings, what people write, and what must be set up."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import typer

from services.console.document import InvalidDocument
from services.console.settings import ConsoleSettings
from shared.accounts import AccountFacts
from shared.phone import canonical_user
from shared.terminal import REFUSED, err, settings_of

T = TypeVar("T")


def settings() -> ConsoleSettings:
    """The console's settings; ends the command where they are not valid."""
    return settings_of(ConsoleSettings)


def user_at(to: str) -> str:
    """The canonical user of `--to`; ends the command where it is no phone number."""
    user = canonical_user(to)
    if user is None:
        raise typer.BadParameter("--to is no phone number with its country code")
    return user


def parsed(file: Path, text: str, parse: Callable[[str], T]) -> T:
    """What the text of a file means; says all that is wrong with it and ends the command where it is not valid."""
    try:
        return parse(text)
    except InvalidDocument as error:
        for problem in error.problems:
            err.print(f"{file}: {problem}", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None


def require_number(number: str, facts: AccountFacts) -> None:
    """End the command where nobody set the number up: what is said of it would reach nobody."""
    if facts.number(number) is None:
        err.print(
            f"no number {number} of an account that is set up; `wam accounts show` lists them",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(REFUSED)
