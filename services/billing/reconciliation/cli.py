"""`wam reconcile`: a month's predicted, billed and counted brought together, with a report."""

import re
from pathlib import Path
from typing import Annotated

import typer

from shared.terminal import AsJson

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
    # Here, so that every other command of `wam` starts without it.
    from services.billing.reconciliation.command import reconcile_month

    where = folder or Path("reports") / f"reconciliation-{month}"
    raise typer.Exit(
        reconcile_month(
            tuple(wabas or ()),
            month,
            analytics_file,
            ask_meta,
            invoice_file,
            invoice_map or (),
            where,
            tag,
            as_json,
        )
    )
