"""What `wam reconcile` does with what it was given: files read, the month reconciled, refusals told."""

from collections.abc import Sequence
from pathlib import Path

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


def reconcile_month(
    wabas: tuple[str, ...],
    month: str,
    analytics_file: Path | None,
    ask_meta: bool,
    invoice_file: Path | None,
    invoice_map: Sequence[str],
    folder: Path,
    tag: str,
    as_json: bool,
) -> int:
    """Reconcile, write the report and show what it comes to; the command's exit code. Ends the command where something is refused."""
    try:
        answers = None if analytics_file is None else _saved(analytics_file)
        lines = None if invoice_file is None else _lines(invoice_file, invoice_map)
    except (UnreadableAnalytics, UnreadableInvoice) as error:
        err.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(USAGE) from None
    made = _made(wabas, month, answers, lines, folder, tag, ask_meta)
    if as_json:
        print_json(as_objects(made))
    else:
        _show(made, folder)
    return UNEXPLAINED if made.unexplained else 0


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
        hint = table.verdict_on(error.answer).hint
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
