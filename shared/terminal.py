"""What all commands of `wam` share, whichever service they come from: the terminal, exit codes, settings, and running what is asynchronous.

A service gives `wam` a group of commands by the entry point `wam.commands` (pyproject.toml): a name and a `typer.Typer`.
"""

import asyncio
import getpass
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError
from pydantic import ValidationError
from rich.console import Console

from shared.settings import ServiceSettings

REFUSED = 1
USAGE = 2
UNAVAILABLE = 3

COMMANDS = "wam.commands"
"""The group of entry points by which services add their commands."""

T = TypeVar("T")
S = TypeVar("S", bound=ServiceSettings)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
By = Annotated[str | None, typer.Option("--by", help="Who says so; the login name without it.")]


class Unavailable(ConnectionError):
    """Something that a command needs does not answer; the text says what, and by which setting it is found."""


def settings_of(kind: type[S]) -> S:
    """The settings; says what is wrong with them and ends the command where they are not valid."""
    try:
        return kind()
    except ValidationError as error:
        for found in error.errors(include_input=False, include_url=False):
            name = "WA_" + "_".join(map(str, found["loc"])).upper()
            err.print(f"{name}: {found['msg']}", markup=False)
        raise typer.Exit(USAGE) from None


def run(work: Coroutine[Any, Any, T]) -> T:
    """What the work comes to; ends the command when Kafka or something else it needs does not answer."""
    try:
        return asyncio.run(work)
    except (KafkaError, Unavailable) as error:
        err.print(_without_answer(error), markup=False, soft_wrap=True)
        raise typer.Exit(UNAVAILABLE) from None


def text_of(file: Path) -> str:
    """What a file holds, standard input for `-`; ends the command where it can't be read."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        err.print(f"{file}: {reason_of(error)}", markup=False, soft_wrap=True)
        raise typer.Exit(USAGE) from None


def reason_of(error: OSError | UnicodeDecodeError) -> str:
    """Why a file could not be read."""
    return error.strerror or str(error) if isinstance(error, OSError) else "not UTF-8"


def print_json(value: Any) -> None:
    """A value as indented JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def login() -> str:
    """Who is at the terminal."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no login name where nobody is logged in, as in a container
        return "unknown"


def _without_answer(error: KafkaError | Unavailable) -> str:
    if isinstance(error, KafkaConnectionError):
        return f"Kafka does not answer (WA_KAFKA_BOOTSTRAP): {error}"
    if isinstance(error, UnknownTopicOrPartitionError):
        return f"{error}; `wam topics create` creates what is missing"
    return str(error) or type(error).__name__
