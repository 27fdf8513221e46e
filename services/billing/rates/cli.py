"""The commands `wam rates`: import Meta's rate cards, and look at those that are there.

They work on the configuration folder (`WA_CONFIG_DIR`); services read it when they start.
"""

import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from services.billing.rates import tables
from services.billing.rates.card_file import CardFile, Given, read_cards
from services.billing.rates.difference import difference
from services.billing.rates.findings import Finding
from services.billing.rates.folder import Configuration, FolderConflict, carry_out
from services.billing.rates.layout import Known
from services.billing.rates.planning import Origin, Plan, plan
from services.billing.rates.sheets import UnreadableFile, read
from services.billing.rates.survey import survey
from services.billing.settings import BillingSettings
from shared.account_reader import read_once
from shared.accounts import AccountFacts
from shared.clock import clock_from
from shared.pricing import (
    CardEntry,
    Imported,
    MarketMapError,
    RateCardError,
    RegimesFileError,
    Unit,
)
from shared.terminal import REFUSED, USAGE, AsJson, By, err, login, out, print_json, run, settings_of

app = typer.Typer(no_args_is_help=True, help="Rate cards: import Meta's, look at them, find what is missing.")

_BROKEN = (RegimesFileError, RateCardError, MarketMapError, OSError)

Card = Annotated[str, typer.Argument(help="The card's id, as in `wam rates list`.")]


@app.command("import")
def import_rates(
    file: Annotated[Path, typer.Argument(help="Meta's rate card as downloaded: CSV or XLSX.")],
    effective_from: Annotated[
        datetime | None,
        typer.Option(
            "--effective-from",
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="First day, where the file does not tell or is wrong.",
        ),
    ] = None,
    currency: Annotated[
        str | None,
        typer.Option("--currency", help="Only cards of this currency; names it where the file does not."),
    ] = None,
    unit: Annotated[
        Unit | None,
        typer.Option("--unit", help="What is priced; without it what the file says, else the regime's."),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Where the file comes from; Meta's card without it.")
    ] = None,
    by: By = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask, not even about what looks wrong.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
) -> None:
    """Check a file of rates against the cards that are there, show the difference, ask, and write it into the configuration."""
    settings = settings_of(BillingSettings)
    configuration = _configuration(settings)
    given = Given(_currency(currency, configuration), unit, effective_from.date() if effective_from else None)
    now = datetime.fromtimestamp(clock_from(settings.clock_file).time(), UTC)
    data = _bytes(file)
    digest = hashlib.sha256(data).hexdigest()
    origin = Origin(Imported(file.name, digest, now, by or login()), source)
    found = _read(data, file, configuration, given)
    made = plan(found, configuration.book, configuration.manifest, origin, now.date(), given.currency)
    _show(made, file)
    if made.of("error"):
        raise typer.Exit(REFUSED)
    if made.empty:
        out.print("Nothing to do.")
        return
    if dry_run:
        return
    if not yes and not _agreed(made):
        raise typer.Exit(REFUSED)
    try:
        written = carry_out(made, configuration)
    except (FolderConflict, *_BROKEN) as error:
        err.print(f"nothing is written: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None
    for path in written:
        out.print(f"Wrote {path}", markup=False, soft_wrap=True)
    out.print("Services use it from their next start on (docs/pricing.md).")


@app.command("list")
def list_cards(as_json: AsJson = False) -> None:
    """Show the rate cards, from when each holds, where it comes from and which regimes use it."""
    configuration = _configuration(settings_of(BillingSettings))
    if as_json:
        print_json(tables.listed(configuration.book, configuration.manifest))
    else:
        out.print(tables.list_table(configuration.book, configuration.manifest))


@app.command("show")
def show_card(card: Card, as_json: AsJson = False) -> None:
    """Show a card's rates."""
    configuration = _configuration(settings_of(BillingSettings))
    entry = _entry(card, configuration)
    if as_json:
        print_json(tables.shown(entry, configuration.book))
    else:
        out.print(tables.show_table(entry, configuration.book))


@app.command("diff")
def diff_cards(
    old: Card, new: Annotated[str, typer.Argument(help="The other one.")], as_json: AsJson = False
) -> None:
    """Show what one card changes against another."""
    configuration = _configuration(settings_of(BillingSettings))
    entries = [_entry(id, configuration) for id in (old, new)]
    if len({entry.currency for entry in entries}) > 1 or len({entry.unit for entry in entries}) > 1:
        err.print(f"{old} and {new} differ in currency or unit: there is nothing to compare", markup=False)
        raise typer.Exit(REFUSED)
    before, after = (configuration.book.cards.by_id[entry.id] for entry in entries)
    found = difference(before.micros, after.micros)
    if as_json:
        print_json(tables.changes(found))
    elif not found.changes:
        out.print("The same rates.")
    else:
        out.print(tables.difference_table(found, old, new, before.currency))


@app.command("check")
def check_configuration(
    accounts: Annotated[
        bool,
        typer.Option(
            "--accounts/--no-accounts", help="Also look at the accounts that are set up (asks Kafka)."
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Find what nobody could be charged for: missing markets, days and currencies without a card. Exit code 1 if it concerns an account."""
    settings = settings_of(BillingSettings)
    configuration = _configuration(settings)
    facts = run(read_once(settings)) if accounts else AccountFacts()
    known = {id: account for id in facts.accounts() if (account := facts.account(id)) is not None}
    now = datetime.fromtimestamp(clock_from(settings.clock_file).time(), UTC)
    found = list(survey(configuration.book, configuration.manifest, known, now))
    if as_json:
        print_json(tables.findings(found))
    else:
        _print(found)
        out.print(f"{len(configuration.manifest.cards)} cards, {len(known)} accounts looked at.")
    if any(one.gravity == "error" for one in found):
        raise typer.Exit(REFUSED)


def _configuration(settings: BillingSettings) -> Configuration:
    try:
        return Configuration.load(settings.config_dir)
    except _BROKEN as error:
        err.print(f"the configuration (WA_CONFIG_DIR): {error}", markup=False, soft_wrap=True)
        raise typer.Exit(USAGE) from None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        err.print(f"{file}: {error.strerror or error}", markup=False, soft_wrap=True)
        raise typer.Exit(USAGE) from None


def _read(data: bytes, file: Path, configuration: Configuration, given: Given) -> CardFile:
    manifest = configuration.manifest
    known = Known.of(configuration.book.cards.markets.markets(), manifest.also_called, manifest.currencies)
    try:
        return read_cards(read(data, known.is_head), file.name, known, given)
    except UnreadableFile as error:
        err.print(f"{file}: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None


def _show(made: Plan, file: Path) -> None:
    for new in made.cards:
        before = new.before
        changed = difference({} if before is None else before.micros, new.card.micros)
        out.print(
            f"{new.entry.id}: {new.entry.currency} per {new.entry.unit} from {new.entry.effective_from}"
        )
        if before is not None and changed.changes:
            out.print(tables.difference_table(changed, before.id, new.entry.id, new.entry.currency))
        elif before is not None:
            out.print(f"The same rates as {before.id}.")
    for table in made.tables:
        out.print(f"{table.entry.id}: volume tiers beside {table.entry.card}")
    for use in made.uses:
        instead = f" in place of {', '.join(use.instead_of)}" if use.instead_of else ""
        out.print(f"The regime {use.regime} will use {use.card}{instead}.")
    for id in made.unchanged:
        out.print(f"{id} is there already, with the same rates.")
    for found in made.of("error"):
        err.print(f"{file}: {found}", markup=False, soft_wrap=True)
    _print([*made.of("remark", "warning"), *made.of("question")])


def _print(found: list[Finding]) -> None:
    for one in found:
        out.print(tables.finding(one), soft_wrap=True)


def _agreed(made: Plan) -> bool:
    if not sys.stdin.isatty():
        err.print("not imported: nobody to ask; give --yes")
        return False
    questions = len(made.of("question"))
    doubts = f" Despite {questions} question{'s' * (questions > 1)} above?" if questions else ""
    return typer.confirm(f"Import?{doubts}")


def _entry(id: str, configuration: Configuration) -> CardEntry:
    for entry in configuration.manifest.cards:
        if entry.id == id:
            return entry
    err.print(f"no card {id}; `wam rates list` lists them", markup=False)
    raise typer.Exit(REFUSED)


def _currency(written: str | None, configuration: Configuration) -> str | None:
    if written is None or written.upper() in configuration.manifest.currencies:
        return written and written.upper()
    raise typer.BadParameter(f"{written!r} is none of the manifest's currencies")
