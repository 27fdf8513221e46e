"""`wam uncertain`: messages of which nobody knows whether they went out."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar, cast

import msgspec
import typer

from services.console import tables
from services.console.conversation_events import publish
from services.console.open_messages import NotOpen, Settling, Verdict
from services.console.settings import ConsoleSettings
from services.console.settling import OpenMessages, RedisIndex
from services.console.terminal import settings
from shared import logs
from shared.clock import clock_from
from shared.stream.store import connect
from shared.terminal import REFUSED, AsJson, By, err, login, out, print_json, run

app = typer.Typer(no_args_is_help=True, help="Messages of which nobody knows whether they went out.")

T = TypeVar("T")
As = Annotated[
    str, typer.Option("--as", help="sent, not-sent, or resend: send it once more, whatever its category.")
]


@app.command("list")
def list_open(as_json: AsJson = False) -> None:
    """Show them, and what becomes of each by itself and when."""
    found = run(_with_messages(settings(), lambda messages: messages.list()))
    if as_json:
        print_json(msgspec.to_builtins(found))
    elif found:
        out.print(tables.open_table(found))
    else:
        out.print("Of every message it is known whether it went out.")


@app.command()
def settle(
    request_id: Annotated[str, typer.Argument(help="The message's `request_id`.")],
    verdict: As,
    note: Annotated[str | None, typer.Option("--note", help="How you know.")] = None,
    sender: Annotated[
        str | None, typer.Option("--from", help="phone_number_id, where the id alone is not enough.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", help="The user's hash as listed, where the id alone is not enough."),
    ] = None,
    by: By = None,
) -> None:
    """Say what became of one, or have it sent once more; the request's events tell what comes of it."""
    word = verdict.replace("-", "_")
    if word not in ("sent", "not_sent", "resend"):
        raise typer.BadParameter(f"--as {verdict}: it is sent, not-sent or resend")
    settling = Settling(request_id, cast(Verdict, word), note, sender, user)
    try:
        command = run(_with_messages(settings(), lambda messages: messages.settle(settling, by or login())))
    except NotOpen as error:
        err.print(f"{error}; `wam uncertain list` shows all", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None
    out.print(f"{command} is settled as {verdict}.", markup=False)


async def _with_messages(configured: ConsoleSettings, act: Callable[[OpenMessages], Awaitable[T]]) -> T:
    redis = connect(configured)
    try:
        return await act(
            OpenMessages(
                RedisIndex(redis, configured.redis_namespace, configured.partitions).read,
                lambda events: publish(configured, events),
                logs.hasher(configured.log_key.get_secret_value()),
                configured.resent_categories,
                clock_from(configured.clock_file),
            )
        )
    finally:
        await redis.aclose()
