"""The operator's command line `wam`; settings come from the environment (`WA_…`, docs/settings.md).

Exit codes: 0 done; 1 refused (file not valid, conflict, message refused or failed); 2 wrong usage; 3 no answer.
"""

import json
import logging
import re
import sys
import uuid
from contextlib import aclosing
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from services.console import (
    cli_meta,
    cli_numbers,
    cli_preferences,
    cli_uncertain,
    sending,
    steps,
    tables,
    topics,
    view,
)
from services.console.account_events import KafkaAccountEvents
from services.console.applying import Applier
from services.console.conversation_events import publish
from services.console.document import AccountsDocument, parse
from services.console.pausing import Kind, Pause, UnknownSubject
from services.console.plan import Plan
from services.console.receivers import verified
from services.console.settings import ConsoleSettings
from services.console.steps import Step
from services.console.tallies import HttpTallies, UnknownAccount
from services.console.tally import free_tier_words, waiting_words
from services.console.terminal import parsed, require_number, settings, user_at
from shared import kafka
from shared.account_reader import read_once
from shared.clock import clock_from
from shared.events import encode
from shared.pricing import MarketMapError, PriceBook, RateCardError, RegimesFileError
from shared.terminal import COMMANDS, REFUSED, UNAVAILABLE, USAGE, AsJson, err, out, print_json, run, text_of
from shared.times import rfc3339

DISTRIBUTION = "wa-middleware"
_MONTH = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Operate the WhatsApp middleware. Settings come from the environment (WA_…, docs/settings.md). "
    "Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no answer.",
)
topics_app = typer.Typer(no_args_is_help=True, help="The Kafka topics.")
receivers_app = typer.Typer(no_args_is_help=True, help="Receivers of the free tier.")
accounts_app = typer.Typer(no_args_is_help=True, help="What is known of accounts.")
app.add_typer(topics_app, name="topics")
app.add_typer(accounts_app, name="accounts")
app.add_typer(receivers_app, name="receivers")
app.add_typer(cli_preferences.app, name="preferences")
app.add_typer(cli_uncertain.app, name="uncertain")
app.add_typer(cli_meta.templates_app, name="templates")
app.add_typer(cli_numbers.app, name="numbers")


def main() -> None:
    """The entry point `wam`."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    for point in metadata.entry_points(group=COMMANDS):
        app.add_typer(point.load(), name=point.name)
    app()


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="The accounts file, - for standard input.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also override what Meta said since, and move numbers between accounts."
        ),
    ] = False,
) -> None:
    """Bring the accounts to what a file says: show the difference, ask, publish it."""
    configured = settings()
    document = _document(file, configured)
    applier = Applier(KafkaAccountEvents(configured), clock_from(configured.clock_file))
    plan = run(applier.plan(document, force=force))
    _show(plan)
    if plan.conflicts:
        raise typer.Exit(REFUSED)
    if dry_run or not plan.events:
        return
    if not yes and not _agreed(file):
        raise typer.Exit(REFUSED)
    applied = run(applier.carry_out(plan))
    out.print(f"Published {applied.published} events; facts revision {applied.revision}.")


Reason = Annotated[str | None, typer.Option("--reason", help="Why; shown with the pause.")]
PausedKind = Annotated[Kind, typer.Argument(help="What: account, number, template or category.")]
Names = Annotated[
    list[str],
    typer.Argument(help="account W1 | number N1 | template W1 NAME/LANGUAGE | category W1 marketing"),
]


@app.command()
def pause(kind: PausedKind, names: Names, reason: Reason = None) -> None:
    """Hold back what an account, a number or a template sends, or an account's messages of a category."""
    _set_pause(kind, names, paused=True, reason=reason)


@app.command()
def resume(kind: PausedKind, names: Names) -> None:
    """Let go what was paused."""
    _set_pause(kind, names, paused=False, reason=None)


@topics_app.command("create")
def create_topics() -> None:
    """Create the topics that are missing; what exists stays as it is."""
    created = run(kafka.create_topics(settings()))
    out.print(f"Created {len(created)} topics." if created else "Nothing to do: all topics exist.")


@topics_app.command("list")
def list_topics() -> None:
    """Show the topics of the catalogue and which exist."""
    found = run(topics.listed(settings()))
    out.print(tables.topics_table(found))
    if any(topic.partitions is None for topic in found):
        out.print("Run `wam topics create` to create what is missing.")


@accounts_app.command("show")
def show_accounts(as_json: AsJson = False) -> None:
    """Show what is known of all accounts, numbers and templates."""
    facts = run(read_once(settings()))
    if as_json:
        print_json(view.accounts(facts))
        return
    for table in tables.accounts_tables(facts):
        out.print(table)
    out.print(f"Facts revision {facts.revision}.")


@receivers_app.command("verify")
def verify_receiver(
    sender: Annotated[str, typer.Option("--from", help="phone_number_id that may write to the receiver.")],
    to: Annotated[str, typer.Option("--to", help="The receiver, international form.")],
) -> None:
    """Tell that a receiver has proved by a one-time password that the number is theirs."""
    configured, user = settings(), user_at(to)
    require_number(sender, run(read_once(configured)))
    at_ms = int(clock_from(configured.clock_file).time() * 1000)
    run(publish(configured, [verified(sender, user, at_ms)]))
    out.print(f"{user} may be written to from {sender}.", markup=False)


@app.command()
def tally(
    waba: Annotated[str, typer.Argument(help="The account's id.")],
    month: Annotated[str, typer.Argument(help="YYYY-MM, in the account's time zone.")],
    rows: Annotated[
        bool, typer.Option("--rows", help="Also by number, unit, market and price type.")
    ] = False,
    days: Annotated[bool, typer.Option("--days", help="Also by day.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what an account's month came to, as billing has tallied it."""
    if not _MONTH.fullmatch(month):
        raise typer.BadParameter(f"{month!r} is no month, e.g. 2026-11")
    tallies = HttpTallies(settings().tallies_url)
    try:
        found = run(tallies.of_month(waba, month))
        lines = run(tallies.days_of(waba, month)) if days else None
    except UnknownAccount as error:
        err.print(str(error), markup=False)
        raise typer.Exit(REFUSED) from None
    if as_json:
        print_json(json.loads(encode(found)) | ({} if lines is None else {"days": json.loads(encode(lines))}))
    elif not found.totals:
        out.print(f"Nothing is counted of account {waba} in {month}.", markup=False)
    else:
        out.print(tables.tally_table(found))
        if rows:
            out.print(tables.tally_rows_table(found))
        if lines:
            out.print(tables.tally_days_table(lines))
    if not as_json:
        for words in (*free_tier_words(found), waiting_words(found)):
            if words is not None:
                out.print(words, markup=False)


@app.command()
def send(
    to: Annotated[str, typer.Option("--to", help="The recipient, international form.")],
    sender: Annotated[
        str | None, typer.Option("--from", help="phone_number_id; the default number without it.")
    ] = None,
    template: Annotated[str | None, typer.Option("--template", help="NAME/LANGUAGE.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--param", help="A body parameter; repeatable.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="A free-form text.")] = None,
    fallback: Annotated[
        str | None, typer.Option("--fallback", help="NAME/LANGUAGE if the window is closed.")
    ] = None,
    request_id: Annotated[str | None, typer.Option(help="Idempotency key; a new one without it.")] = None,
    expires_in: Annotated[
        float | None,
        typer.Option(
            "--expires-in",
            metavar="SECONDS",
            min=1,
            help="It matters for so long: what can't go out yet waits. Without it that is refused.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, but do not send.")] = False,
    until: Annotated[Step, typer.Option(help="Wait for this step.")] = "delivered",
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.", min=0.1)] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Publish one send request as a business system would, and print its events."""
    if (template is None) == (text is None):
        raise typer.BadParameter("give either --template or --text")
    if text is not None:
        message = steps.text_message(to, text)
    else:
        message = steps.template_message(to, *_template(template or ""), parameter or [])
    request: dict[str, Any] = {"request_id": request_id or f"wam-{uuid.uuid4()}", "message": message}
    if sender:
        request["from"] = sender
    if fallback:
        name, language = _template(fallback)
        request["fallback_template"] = {"name": name, "language": {"code": language}}
    configured = settings()
    if expires_in is not None:
        request["expires_at"] = rfc3339(int((clock_from(configured.clock_file).time() + expires_in) * 1000))
    if dry_run:
        request["dry_run"] = True
    raise typer.Exit(
        run(_follow(configured, request, "decided" if dry_run else until, timeout, as_json=as_json))
    )


@app.command()
def cancel(
    request_id: Annotated[str, typer.Argument(help="The `request_id` to take back.")],
    to: Annotated[str, typer.Option("--to", help="The request's recipient, international form.")],
    sender: Annotated[
        str | None, typer.Option("--from", help="phone_number_id; the default number without it.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.", min=0.1)] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Take back a request that has not gone out, and print what became of it."""
    request = {"cancel_request_id": request_id, "to": to} | ({"from": sender} if sender else {})
    raise typer.Exit(run(_follow(settings(), request, "decided", timeout, as_json=as_json)))


@app.command()
def version() -> None:
    """Print the version."""
    out.print(metadata.version(DISTRIBUTION))


def _set_pause(kind: Kind, names: list[str], *, paused: bool, reason: str | None) -> None:
    if len(names) != (1 if kind in ("account", "number") else 2):
        raise typer.BadParameter(
            f"{kind} takes " + ("one id" if kind in ("account", "number") else "an account and a name")
        )
    waba = names[0] if len(names) == 2 else None
    configured = settings()
    applier = Applier(KafkaAccountEvents(configured), clock_from(configured.clock_file))
    try:
        changed, revision = run(applier.pause(Pause(kind, names[-1], waba, paused, reason)))
    except UnknownSubject as error:
        err.print(str(error), markup=False)
        raise typer.Exit(REFUSED) from None
    state = (
        "is " + ("paused" if paused else "let go")
        if changed
        else "was " + ("" if paused else "not ") + "paused"
    )
    out.print(f"{kind} {names[-1]} {state}; facts revision {revision}.", markup=False)


async def _follow(
    settings: ConsoleSettings, request: dict[str, Any], until: Step, timeout_s: float, *, as_json: bool
) -> int:
    if not as_json:
        out.print(f"request {request.get('request_id') or request['cancel_request_id']}", markup=False)
    waits = False
    async with aclosing(sending.send(settings, request, until, timeout_s)) as events:
        async for event in events:
            waits = steps.is_waiting(event)
            if as_json:
                sys.stdout.write(encode(event).decode() + "\n")
                sys.stdout.flush()
            else:
                out.print(tables.event_line(event), soft_wrap=True)
            if steps.is_last(event, until):
                return 0 if steps.is_wanted(event, cancels="cancel_request_id" in request) else REFUSED
    then = "it waits; `wam cancel` takes it back" if waits else "the request may still go out"
    err.print(f"not {until if not waits else 'final'} within {timeout_s:g} s; {then}")
    return UNAVAILABLE


def _document(file: Path, settings: ConsoleSettings) -> AccountsDocument:
    text = text_of(file)
    try:
        book = PriceBook.load(settings.config_dir)
    except (RegimesFileError, RateCardError, MarketMapError, OSError) as error:
        err.print(f"the configuration (WA_CONFIG_DIR): {error}", markup=False, soft_wrap=True)
        raise typer.Exit(USAGE) from None
    return parsed(file, text, lambda text: parse(text, book.regimes.is_pin, book.cards.markets.is_market))


def _show(plan: Plan) -> None:
    if plan.changes or plan.kept:
        out.print(tables.plan_table(plan))
    for conflict in plan.conflicts:
        err.print(f"conflict: {conflict}", markup=False)
    if plan.unmanaged:
        out.print(f"{len(plan.unmanaged)} known subjects are not in the file and stay as they are.")
    if not plan.events and not plan.conflicts:
        out.print(f"Nothing to do; facts revision {plan.revision}.")


def _agreed(file: Path) -> bool:
    if str(file) == "-" or not sys.stdin.isatty():
        err.print("not applied: nobody to ask; give --yes")
        return False
    return typer.confirm("Apply?")


def _template(written: str) -> tuple[str, str]:
    name, slash, language = written.rpartition("/")
    if not slash or not name or not language:
        raise typer.BadParameter(f"{written!r} is not NAME/LANGUAGE, e.g. promo/de")
    return name, language


app.command()(cli_meta.poll)

if __name__ == "__main__":
    main()
