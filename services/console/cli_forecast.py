"""The command of `wam` that shows what the month will come to, and what is left of the budgets."""

import json
from typing import Annotated

import typer

from services.console import tables
from services.console.outlook import Outlooks, basis
from services.console.tallies import HttpTallies, UnknownAccount
from services.console.tally import money, waiting_words
from services.console.terminal import settings
from shared.events import encode
from shared.terminal import REFUSED, AsJson, err, out, print_json, run


def forecast(
    waba: Annotated[str | None, typer.Argument(help="The account's id; all accounts without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what this month has cost, will have cost at its end, and when budgets are used up."""
    billing = HttpTallies(settings().tallies_url)
    if waba is None:
        found = run(billing.outlooks()).accounts
    else:
        try:
            found = [run(billing.outlook(waba))]
        except UnknownAccount as error:
            err.print(str(error), markup=False)
            raise typer.Exit(REFUSED) from None
    if as_json:
        print_json(json.loads(encode(found[0] if waba is not None else Outlooks(found))))
        return
    if not found:
        out.print("No account is set up yet: run `wam apply FILE`.")
    for outlook in found:
        out.print(tables.outlook_table(outlook))
        out.print(f"Expected: {basis(outlook)}.", markup=False)
        if (waiting := waiting_words(outlook.as_of)) is not None:
            out.print(f"{waiting}.", markup=False)
        for currency, micros in outlook.other_currencies.items():
            out.print(
                f"Not in it, for the account is no longer of {currency}: {money(micros, currency)}.",
                markup=False,
            )
