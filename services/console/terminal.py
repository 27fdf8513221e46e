"""What all commands of `wam` share: the terminal, exit codes, settings from the environment, and running what is asynchronous."""

import asyncio
import getpass
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError
from pydantic import ValidationError
from rich.console import Console

from services.console.document import InvalidDocument
from services.console.settings import ConsoleSettings
from services.console.settling import IndexUnavailable
from services.console.tallies import TalliesUnavailable
from shared.accounts import AccountFacts
from shared.phone import canonical_user

REFUSED = 1
USAGE = 2
UNAVAILABLE = 3

T = TypeVar("T")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
By = Annotated[str | None, typer.Option("--by", help="Who says so; the login name without it.")]


def settings() -> ConsoleSettings:
    """The settings; says what is wrong with them and ends the command where they are not valid."""
    try:
        return ConsoleSettings()
    except ValidationError as error:
        for found in error.errors(include_input=False, include_url=False):
            name = "WA_" + "_".join(map(str, found["loc"])).upper()
            err.print(f"{name}: {found['msg']}", markup=False)
        raise typer.Exit(USAGE) from None


def run(work: Coroutine[Any, Any, T]) -> T:
    """What the work comes to; ends the command when Kafka, Redis or billing does not answer."""
    try:
        return asyncio.run(work)
    except (KafkaError, TalliesUnavailable, IndexUnavailable) as error:
        err.print(_without_answer(error), markup=False, soft_wrap=True)
        raise typer.Exit(UNAVAILABLE) from None


def user_at(to: str) -> str:
    """The canonical user of `--to`; ends the command where it is no phone number."""
    user = canonical_user(to)
    if user is None:
        raise typer.BadParameter("--to is no phone number with its country code")
    return user


def text_of(file: Path) -> str:
    """What a file holds, standard input for `-`; ends the command where it can't be read."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        err.print(f"{file}: {reason_of(error)}", markup=False, soft_wrap=True)
        raise typer.Exit(USAGE) from None


def parsed(file: Path, text: str, parse: Callable[[str], T]) -> T:
    """What the text of a file means; says all that is wrong with it and ends the command where it is not valid."""
    try:
        return parse(text)
    except InvalidDocument as error:
        for problem in error.problems:
            err.print(f"{file}: {problem}", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None


def reason_of(error: OSError | UnicodeDecodeError) -> str:
    """Why a file could not be read."""
    return error.strerror or str(error) if isinstance(error, OSError) else "not UTF-8"


def require_number(number: str, facts: AccountFacts) -> None:
    """End the command where nobody set the number up: what is said of it would reach nobody."""
    if facts.number(number) is None:
        err.print(
            f"no number {number} of an account that is set up; `wam accounts show` lists them",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(REFUSED)


def _without_answer(error: KafkaError | TalliesUnavailable | IndexUnavailable) -> str:
    if isinstance(error, IndexUnavailable):
        return f"{error} (WA_REDIS_URL)"
    if isinstance(error, TalliesUnavailable):
        return f"billing does not answer (WA_TALLIES_URL): {error}"
    if isinstance(error, KafkaConnectionError):
        return f"Kafka does not answer (WA_KAFKA_BOOTSTRAP): {error}"
    if isinstance(error, UnknownTopicOrPartitionError):
        return f"{error}; `wam topics create` creates what is missing"
    return str(error) or type(error).__name__


def print_json(value: Any) -> None:
    """A value as indented JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def login() -> str:
    """Who is at the terminal."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no login name where nobody is logged in, as in a container
        return "unknown"
