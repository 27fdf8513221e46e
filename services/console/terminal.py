"""What all commands of `wam` share: the terminal, exit codes, settings from the environment, and running what is asynchronous."""

import asyncio
import json
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer
from aiokafka.errors import KafkaError
from pydantic import ValidationError
from rich.console import Console

from services.console.settings import ConsoleSettings
from services.console.tallies import TalliesUnavailable

REFUSED = 1
USAGE = 2
UNAVAILABLE = 3

T = TypeVar("T")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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
    """What the work comes to; ends the command when Kafka or billing does not answer."""
    try:
        return asyncio.run(work)
    except (KafkaError, TalliesUnavailable) as error:
        err.print(str(error) or type(error).__name__, markup=False, soft_wrap=True)
        raise typer.Exit(UNAVAILABLE) from None


def print_json(value: Any) -> None:
    """A value as indented JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
