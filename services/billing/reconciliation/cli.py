"""`wam reconcile`: a month's predicted, billed and counted brought together, with a report."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from services.billing.books.refusal import Refusal
from services.billing.reconciliation import analytics, invoice
from services.billing.reconciliation.analytics import Answers, UnreadableAnalytics
from services.billing.reconciliation.at_meta import AnalyticsAtMeta
from services.billing.reconciliation.books import LedgerMonths, send_events
from services.billing.reconciliation.invoice import Line, UnreadableInvoice
from services.billing.reconciliation.invoice_file import rows
from services.billing.reconciliation.money import shown
from services.billing.reconciliation.reconciling import Asked, Reconciling
from services.billing.reconciliation.report import Report, as_objects
from services.billing.settings import ReconciliationSettings
from shared.account_reader import read_once
from shared.account_tokens import NoToken
from shared.clock import clock_from
from shared.error_table import ErrorTable
from shared.graph_calls import GraphCalls, GraphFailure, GraphRefused
from shared.pricing import PriceBook
from shared.terminal import (
    REFUSED,
    UNAVAILABLE,
    USAGE,
    AsJson,
    err,
    out,
    print_json,
    reason_of,
    run,
    settings_of,
    text_of,
)
from shared.tokens import tokens_of

UNEXPLAINED = 1
_MONTH = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])")

app = typer.Typer(context_settings={"allow_interspersed_args": True}, subcommand_metavar="")


@app.callback(invoke_without_command=True)
def reconcile(
    wabas: Annotated[
        list[str] | None, typer.Argument(metavar="[WABA]...", help="Accounts; all that are known without it.")
    ] = None,
    month: Annotated[str, typer.Option("--month", help="YYYY-MM, in the accounts' time zones.")] = "",
    analytics_file: Annotated[
        Path | None,
        typer.Option("--analytics", help="Meta's answers, saved as JSON; Meta is asked without it."),
    ] = None,
    ask_meta: Annotated[
        bool, typer.Option("--ask/--no-ask", help="Whether Meta is asked, where no answers are given.")
    ] = True,
    invoice_file: Annotated[
        Path | None, typer.Option("--invoice", help="Meta's invoice, CSV or XLSX, to compare as well.")
    ] = None,
    invoice_map: Annotated[
        list[str] | None,
        typer.Option(
            "--invoice-map", help="COLUMN=HEADER, where a header is not understood; may be repeated."
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the report; reports/reconciliation-MONTH without it."),
    ] = None,
    tag: Annotated[
        str, typer.Option("--tag", help="The tag of requests that names a cost centre.")
    ] = "cost_center",
    as_json: AsJson = False,
) -> None:
    """Compare a month with Meta's analytics and its invoice; explain every difference, down to the messages.

    Writes report.html, report.json, cells.csv, differences.csv, messages.csv and Meta's answers, analytics.json.

    Exit codes: 0 all is explained, 1 something is not (or refused), 2 wrong usage, 3 no answer.
    """
    if not _MONTH.fullmatch(month):
        raise typer.BadParameter(f"--month {month!r} is no month, e.g. 2026-11")
    try:
        answers = None if analytics_file is None else _saved(analytics_file)
        lines = None if invoice_file is None else _lines(invoice_file, invoice_map or ())
    except (UnreadableAnalytics, UnreadableInvoice) as error:
        err.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(USAGE) from None
    where = folder or Path("reports") / f"reconciliation-{month}"
    made = _made(tuple(wabas or ()), month, answers, lines, where, tag, ask_meta)
    if as_json:
        print_json(as_objects(made))
    else:
        _show(made, where)
    raise typer.Exit(UNEXPLAINED if made.unexplained else 0)


def _saved(path: Path) -> Answers:
    return analytics.loads(text_of(path), str(path))


def _lines(path: Path, mapping: Sequence[str]) -> tuple[Line, ...]:
    try:
        return tuple(invoice.lines(rows(path), dict(invoice.words(mapping)), str(path)))
    except OSError as error:
        raise UnreadableInvoice(f"{path}: {reason_of(error)}") from None


def _made(
    wabas: tuple[str, ...],
    month: str,
    answers: Answers | None,
    lines: tuple[Line, ...] | None,
    folder: Path,
    tag: str,
    ask_meta: bool,
) -> Report:
    configured = settings_of(ReconciliationSettings)
    table = ErrorTable.load(configured.config_dir / "errors.yaml")
    try:
        return run(_reconcile(configured, table, wabas, month, answers, lines, folder, tag, ask_meta))
    except (NoToken, Refusal) as refusal:
        err.print(str(refusal), markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None
    except GraphRefused as error:
        hint = table.verdict(error.answer.code, error.answer.http_status, 1).hint
        err.print(f"Meta refuses ({error.answer.code}): {error} {hint}", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None
    except GraphFailure as error:
        err.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(UNAVAILABLE) from None
    except (UnreadableAnalytics, OSError) as error:
        said = f"{error.filename or folder}: {reason_of(error)}" if isinstance(error, OSError) else str(error)
        err.print(said, markup=False, soft_wrap=True)
        raise typer.Exit(USAGE) from None


async def _reconcile(
    configured: ReconciliationSettings,
    table: ErrorTable,
    wabas: tuple[str, ...],
    month: str,
    answers: Answers | None,
    lines: tuple[Line, ...] | None,
    folder: Path,
    tag: str,
    ask_meta: bool,
) -> Report:
    facts = await read_once(configured)
    unknown = [waba_id for waba_id in wabas if facts.account(waba_id) is None]
    accounts = wabas or tuple(facts.accounts())
    if unknown or not accounts:
        raise typer.BadParameter(
            f"not known: {', '.join(unknown) or 'any account'}; `wam apply` makes accounts known"
        )
    asked = Asked(accounts, month, answers, lines, folder, tag, ask_meta)
    calls = GraphCalls.of(configured)
    await calls.start()
    try:
        reconciling = Reconciling(
            facts,
            PriceBook.load(configured.config_dir),
            LedgerMonths(configured, configured.ledger_archive_dir, asked.months, frozenset(accounts)),
            lambda: send_events(configured),
            AnalyticsAtMeta(calls, table),
            tokens_of(configured),
        )
        return await reconciling.run(asked, clock_from(configured.clock_file).now())
    finally:
        await calls.stop()


def _show(made: Report, folder: Path) -> None:
    table = Table(title=f"Reconciliation {made.month}", box=None, title_justify="left")
    for name in ("", "Predicted", "Billed", "Meta's analytics", "Explained", "Unexplained", "Invoice"):
        table.add_column(name, justify="right" if name else "left")
    for total in made.totals:
        table.add_row(
            total.currency,
            shown(total.predicted_micros),
            shown(total.billed_micros),
            "" if total.meta_micros is None else shown(total.meta_micros),
            shown(total.explained_micros, sign=True),
            shown(total.unexplained_micros, sign=True),
            "" if total.invoice_micros is None else shown(total.invoice_micros),
        )
    out.print(table)
    kinds = Table(box=None)
    for name in ("Difference", "Units", "Money"):
        kinds.add_column(name, justify="left" if name == "Difference" else "right")
    for of in made.kinds:
        money = ", ".join(f"{shown(micros, sign=True)} {currency}" for currency, micros in of.micros.items())
        kinds.add_row(of.kind.replace("_", " "), f"{of.units:,}", money)
    out.print(kinds if made.kinds else "No differences.")
    out.print(str(folder / "report.html"), markup=False, soft_wrap=True)
