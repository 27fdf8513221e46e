"""The commands of `wam` that ask Meta itself: poll its accounts; list, submit and delete templates there."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.console import tables
from services.console.asking import ask
from services.console.at_meta import Session, Waba, at_meta
from services.console.meta_facts import TEMPLATE, TEMPLATE_FIELDS, read, template_id
from services.console.plan import Plan
from services.console.polled import difference, told_by_meta
from services.console.polling import BELIEVED_PERIODS
from services.console.template_file import parse
from services.console.terminal import parsed, settings
from shared.account_tokens import NoToken
from shared.accounts import FactKey
from shared.graph_calls import GraphRefused
from shared.terminal import REFUSED, UNAVAILABLE, AsJson, err, out, print_json, text_of

templates_app = typer.Typer(no_args_is_help=True, help="Templates at Meta.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")]


def poll(
    waba: Annotated[str | None, typer.Option("--waba", help="Only this account.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Ask Meta once about the accounts: show what differs from what is known, and publish it."""

    async def work(session: Session) -> int:
        accounts = session.facts.accounts() if waba is None else [session.account(waba)]
        return max(
            [await _poll(session, account, period_s, dry_run=dry_run) for account in accounts], default=0
        )

    configured = settings()
    period_s = configured.poll_period_s
    raise typer.Exit(at_meta(configured, work))


@templates_app.command("list")
def list_templates(waba: Waba = None, as_json: AsJson = False) -> None:
    """Show the templates that Meta has."""

    async def work(session: Session) -> int:
        waba_id = session.account(waba)
        found = (await session.graph.templates(waba_id, TEMPLATE_FIELDS, session.credentials(waba_id))).nodes
        if as_json:
            print_json(list(found))
        else:
            out.print(tables.templates_table(waba_id, found))
        return 0

    raise typer.Exit(at_meta(settings(), work))


@templates_app.command("submit")
def submit_template(
    file: Annotated[Path, typer.Argument(help="The template as YAML, - for standard input.")],
    waba: Waba = None,
) -> None:
    """Submit a template for Meta's review; its approval follows by webhook or poll."""
    template = parsed(file, text_of(file), parse)

    async def work(session: Session) -> int:
        waba_id = session.account(waba)
        asked_ms = session.now_ms()
        answer = await session.graph.submit(waba_id, template, session.credentials(waba_id))
        fields = {"status": "PENDING", **read(TEMPLATE, template | answer)}
        key: FactKey = ("template", waba_id, f"{template['name']}/{template['language']}")
        event = told_by_meta(key, fields, session.facts, asked_ms, "submitted")
        revision = await session.events.publish([event])
        out.print(
            f"{key[2]} is {fields['status']}, {fields.get('category')}, id {fields.get('meta_id')}; "
            f"facts revision {revision}.",
            markup=False,
        )
        return 0

    raise typer.Exit(at_meta(settings(), work))


@templates_app.command("delete")
def delete_template(
    name: Annotated[str, typer.Argument(help="NAME for all its languages, or NAME/LANGUAGE.")],
    waba: Waba = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a template at Meta; its name can't be used again for 30 days."""
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Delete {name}?")):
        err.print("not deleted: give --yes")
        raise typer.Exit(REFUSED)

    async def work(session: Session) -> int:
        waba_id = session.account(waba)
        credentials = session.credentials(waba_id)
        listed = (await session.graph.templates(waba_id, TEMPLATE_FIELDS, credentials)).nodes
        bare, slash, _ = name.partition("/")
        meant = {
            id: node for node in listed if (id := template_id(node)) and (id == name or node["name"] == name)
        }
        if not meant:
            err.print(f"Meta has no template {name}", markup=False)
            return REFUSED
        asked_ms = session.now_ms()
        only = str(meant[name]["id"]) if slash else None
        await session.graph.delete(waba_id, bare, only, credentials)
        gone = {"status": "PENDING_DELETION"}
        await session.events.publish(
            [
                told_by_meta(("template", waba_id, id), gone, session.facts, asked_ms, "deleted")
                for id in meant
            ]
        )
        out.print(f"Deleted {', '.join(meant)}.", markup=False)
        return 0

    raise typer.Exit(at_meta(settings(), work))


async def _poll(session: Session, waba_id: str, period_s: float, *, dry_run: bool) -> int:
    try:
        answers = await ask(session.graph, session.tokens, session.facts, waba_id, session.clock)
    except NoToken as error:
        err.print(str(error), markup=False)
        return REFUSED
    plan = difference(answers.snapshot, session.facts, int(BELIEVED_PERIODS * period_s * 1000))
    _show(waba_id, plan)
    if plan.events and not dry_run:
        revision = await session.events.publish(plan.events)
        out.print(f"Published {len(plan.events)} events; facts revision {revision}.")
    if answers.failure is not None:
        err.print(f"account {waba_id}: {answers.failure}", markup=False, soft_wrap=True)
        return REFUSED if isinstance(answers.failure, GraphRefused) else UNAVAILABLE
    return 0


def _show(waba_id: str, plan: Plan) -> None:
    if plan.changes:
        out.print(tables.plan_table(plan))
    elif not plan.events:
        out.print(f"Account {waba_id} is as Meta says; facts revision {plan.revision}.")
