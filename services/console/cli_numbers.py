"""The commands of `wam` that bring a number into use at Meta: have a code sent, prove it, register.

Source: Meta, Cloud API, phone numbers. Meta lets a number be registered 10 times in 72 hours (133016).
"""

from typing import Annotated, Any, Literal

import typer

from services.console.at_meta import Session, at_meta
from services.console.polled import told_by_meta
from services.console.terminal import settings
from shared.account_tokens import credentials_of
from shared.terminal import out

app = typer.Typer(no_args_is_help=True, help="Numbers at Meta.")

NumberId = Annotated[str, typer.Argument(help="The phone_number_id.")]
Waba = Annotated[
    str | None,
    typer.Option("--waba", help="Its account; may be left out if the number or one account only is known."),
]


@app.command("request-code")
def request_code(
    number: NumberId,
    method: Annotated[Literal["SMS", "VOICE"], typer.Option("--method", help="How the code comes.")] = "SMS",
    language: Annotated[str, typer.Option("--language", help="Language of the text or call.")] = "en_US",
    waba: Waba = None,
) -> None:
    """Let Meta send the number a code that proves whose it is."""
    _call(number, waba, "request_code", {"code_method": method, "language": language}, {})


@app.command("verify-code")
def verify_code(
    number: NumberId,
    code: Annotated[str, typer.Option("--code", prompt=True, help="The code that came.")],
    waba: Waba = None,
) -> None:
    """Give Meta the code."""
    _call(number, waba, "verify_code", {"code": code}, {})


@app.command("register")
def register(
    number: NumberId,
    pin: Annotated[
        str,
        typer.Option(
            "--pin",
            prompt=True,
            hide_input=True,
            envvar="WA_NUMBER_PIN",
            help="Its two-step PIN, six digits.",
        ),
    ],
    waba: Waba = None,
) -> None:
    """Register the number with the Cloud API: from then on it sends and receives."""
    _call(number, waba, "register", {"messaging_product": "whatsapp", "pin": pin}, {"registered": True})


_DONE = {
    "request_code": "Meta sends the code; then `wam numbers verify-code`",
    "verify_code": "the code is right; then `wam numbers register`",
    "register": "registered",
}


def _call(number: str, waba: str | None, what: str, body: dict[str, Any], fields: dict[str, Any]) -> None:
    async def work(session: Session) -> int:
        waba_id = session.account(waba or session.facts.waba_of(number))
        asked_ms = session.now_ms()
        reference, credentials = credentials_of(session.facts, waba_id, session.tokens)
        await session.graph.number_call(number, what, body, credentials)
        out.print(f"{number}: {_DONE[what]}.", markup=False)
        if fields:
            new = {} if session.facts.number(number) else {"token": reference}
            event = told_by_meta(("number", waba_id, number), fields | new, session.facts, asked_ms, what)
            out.print(f"Facts revision {await session.events.publish([event])}.")
        return 0

    raise typer.Exit(at_meta(settings(), work))
