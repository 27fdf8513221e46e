"""`wam push`: how endpoints stand, switch them, deliver once more, and check what was configured."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from services.push.control import tell_once
from services.push.endpoints import Endpoint, EndpointsInvalid, parse
from services.push.handshake import HandshakeFailed, shake_hands
from services.push.redelivery import Wanted, audit, redeliver, redeliver_parked
from services.push.secrets import SecretMissing, Secrets
from services.push.settings import PushSettings
from services.push.standing import EndpointSwitched, EventsRedelivered
from services.push.status import EndpointStatus, status
from services.push.wall import now_ms
from shared.terminal import (
    REFUSED,
    USAGE,
    AsJson,
    By,
    err,
    login,
    out,
    print_json,
    run,
    settings_of,
    text_of,
)
from shared.times import DAY_MS, parse_rfc3339

app = typer.Typer(
    no_args_is_help=True,
    help="Webhooks to business systems: how endpoints stand, deliver once more, switch.",
)
Name = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint's name in the file.")]
At = Annotated[str | None, typer.Option(metavar="TIME")]
_ALL_KEPT_MS = 36 * DAY_MS


@app.command("status")
def show(as_json: AsJson = False) -> None:
    """Show of each endpoint whether it is told, how far it is, and what went wrong last."""
    settings = settings_of(PushSettings)
    found = run(status(settings, _endpoints(settings)))
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    out.print(_table(found))


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="WA_PUSH_ENDPOINTS_FILE without it.")] = None,
) -> None:
    """Say what is wrong with an endpoints file, its secrets included."""
    settings = settings_of(PushSettings)
    endpoints = _endpoints(settings, file)
    secrets, wrong = Secrets(), 0
    for endpoint in endpoints:
        try:
            secrets.keys(endpoint)
        except SecretMissing as error:
            wrong += 1
            err.print(str(error), markup=False, soft_wrap=True)
    if wrong:
        raise typer.Exit(REFUSED)
    out.print(f"{len(endpoints)} endpoints, all can be told.", markup=False)


@app.command()
def enable(endpoint: Name, by: By = None) -> None:
    """Have an endpoint told again; what it missed comes first."""
    _switch(endpoint, enabled=True, by=by, reason=None)


@app.command()
def disable(
    endpoint: Name,
    reason: Annotated[str | None, typer.Option("--reason", help="Why.")] = None,
    by: By = None,
) -> None:
    """Have an endpoint told nothing; nothing is lost while Kafka keeps it (35 days), and no event's time passes."""
    _switch(endpoint, enabled=False, by=by, reason=reason)


@app.command("redeliver")
def deliver_again(
    endpoint: Name,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="RFC 3339, by Kafka's clock.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="RFC 3339; now without it.")
    ] = None,
    event_id: Annotated[str | None, typer.Option("--event-id", help="One event.")] = None,
    parked: Annotated[
        bool,
        typer.Option("--parked", help="What was parked since --parked was last asked for, or since --from."),
    ] = False,
    by: By = None,
) -> None:
    """Deliver events once more, with the ids they had: of a time, one of them, or those that were parked."""
    settings = settings_of(PushSettings)
    chosen = _chosen(settings, endpoint)
    now = now_ms()
    from_ms, to_ms = _time(since, "--from"), _time(until, "--to")
    if parked:
        if event_id is not None or until is not None:
            raise typer.BadParameter("--parked goes with --from alone")
        what = "parked" + (f" since {since}" if since else "")
        count = run(redeliver_parked(settings, chosen, from_ms))
    elif event_id is None and from_ms is None:
        raise typer.BadParameter("say which: --from, --event-id or --parked")
    else:
        # An id may hold a phone number, and this is logged.
        which = (
            "one event by its id" if event_id else "",
            since and f"from {since}",
            until and f"to {until}",
        )
        what = " ".join(filter(None, which))
        wanted = Wanted(
            now - _ALL_KEPT_MS if from_ms is None else from_ms,
            now if to_ms is None else to_ms,
            event_id,
        )
        count = run(redeliver(settings, chosen, wanted))
    if count:
        word = EventsRedelivered(endpoint=endpoint, at_ms=now, by=by or login(), what=what, events=count)
        run(audit(settings, word))
    out.print(f"{count} events go to {endpoint} once more.", markup=False)
    if not count:
        raise typer.Exit(REFUSED)


@app.command()
def verify(endpoint: Name) -> None:
    """Do what Meta does when a callback URL is set: ask it to give a challenge back (format: meta)."""
    settings = settings_of(PushSettings)
    chosen = _chosen(settings, endpoint)
    if chosen.verify_token is None:
        err.print(f"{endpoint} has no verify_token", markup=False)
        raise typer.Exit(USAGE)
    try:
        token = Secrets().text(chosen.verify_token)
        run(shake_hands(chosen, token, allow_private=settings.push_allow_private))
    except (SecretMissing, HandshakeFailed) as error:
        err.print(f"{endpoint}: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None
    out.print(f"{endpoint} gave the challenge back.", markup=False)


def _switch(endpoint: str, *, enabled: bool, by: str | None, reason: str | None) -> None:
    settings = settings_of(PushSettings)
    _chosen(settings, endpoint)
    word = EndpointSwitched(
        endpoint=endpoint,
        at_ms=now_ms(),
        enabled=enabled,
        by=by or login(),
        reason=reason,
    )
    run(tell_once(settings, word))
    out.print(f"{endpoint} is {'enabled' if enabled else 'disabled'}.", markup=False)


def _endpoints(settings: PushSettings, file: Path | None = None) -> tuple[Endpoint, ...]:
    file = file or settings.push_endpoints_file
    if file is None:
        err.print("WA_PUSH_ENDPOINTS_FILE is not set", markup=False)
        raise typer.Exit(USAGE)
    try:
        return parse(text_of(file), allow_private=settings.push_allow_private)
    except EndpointsInvalid as error:
        for problem in error.problems:
            err.print(f"{file}: {problem}", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None


def _chosen(settings: PushSettings, name: str) -> Endpoint:
    endpoints = _endpoints(settings)
    for endpoint in endpoints:
        if endpoint.name == name:
            return endpoint
    err.print(f"no endpoint {name}; there are {', '.join(e.name for e in endpoints) or 'none'}", markup=False)
    raise typer.Exit(USAGE)


def _time(text: str | None, option: str) -> int | None:
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None


def _table(found: list[EndpointStatus]) -> Table:
    table = Table("endpoint", "told", "breaker", "lag", "oldest undelivered", "last error")
    for row in found:
        cells: tuple[Any, ...] = (
            row.name,
            "yes" if row.enabled else f"no: {row.disabled_because}",
            row.breaker,
            "never served" if row.lag is None else row.lag,
            row.oldest_undelivered or "-",
            f"{row.last_error_at} {row.last_error}" if row.last_error else "-",
        )
        table.add_row(*map(str, cells))
    return table
