"""The command `wam edge-token`: tokens of business systems for the HTTP edge."""

import secrets
from typing import Annotated

import typer
import yaml

from services.ingress.edge.token_file import InvalidTokens, digest_of, read
from shared.terminal import USAGE, AsJson, err, out, print_json

app = typer.Typer(no_args_is_help=True, help="Tokens with which business systems call the HTTP edge.")

_PREFIX = "wa_"
"""By which scanners of source code recognise a token that was left lying about."""


@app.callback()
def _edge_token() -> None:
    """Make a group of the one command."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The business system, e.g. shop.")],
    number: Annotated[list[str] | None, typer.Option(help="A phone number id it may use.")] = None,
    account: Annotated[
        list[str] | None,
        typer.Option(help="An account (WABA id) all of whose numbers it may use; * for all."),
    ] = None,
    scope: Annotated[list[str] | None, typer.Option(help="send, read, manage.")] = None,
    rate: Annotated[float, typer.Option(help="Calls per second.")] = 50.0,
    burst: Annotated[int, typer.Option(help="Calls at once, in advance.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Print a new token, once, and the entry to paste under `tokens:` in WA_EDGE_TOKENS_FILE."""
    token = _PREFIX + secrets.token_urlsafe(32)
    entry = {
        "name": name,
        "sha256": digest_of(token),
        "numbers": number or [],
        "accounts": account or [],
        "rate": rate,
        "burst": burst,
        "scopes": scope or ["send", "read"],
    }
    try:
        read(yaml.safe_dump({"tokens": [entry]}))
    except InvalidTokens as error:
        err.print(str(error).replace("tokens.0.", ""), markup=False)
        raise typer.Exit(USAGE) from None
    if as_json:
        print_json({"token": token, "entry": entry})
        return
    out.print(f"token: {token}", markup=False, soft_wrap=True)
    out.print("It is shown this once. The entry:", markup=False)
    out.print(yaml.safe_dump([entry], sort_keys=False).rstrip(), markup=False, soft_wrap=True)
