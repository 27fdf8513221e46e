"""What all commands of `wam` share that ask Meta: the facts as they are now, the Graph API with a token, and what a refusal means in words."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from services.console.account_events import KafkaAccountEvents
from services.console.graph import Graph
from services.console.settings import ConsoleSettings
from shared.account_tokens import NoToken, credentials_of
from shared.accounts import AccountFacts
from shared.clock import clock_from
from shared.error_table import ErrorTable
from shared.graph_calls import GraphFailure, GraphRefused
from shared.terminal import REFUSED, UNAVAILABLE, err, run
from shared.tokens import Credentials, tokens_of

Waba = Annotated[
    str | None, typer.Option("--waba", help="The account; may be left out if there is only one.")
]


class Session:
    """One command's work at Meta."""

    def __init__(self, configured: ConsoleSettings, facts: AccountFacts, graph: Graph) -> None:
        self.facts = facts
        self.graph = graph
        self.events = KafkaAccountEvents(configured)
        self.tokens = tokens_of(configured)
        self.clock = clock_from(configured.clock_file)

    def now_ms(self) -> int:
        """The time, epoch ms."""
        return int(self.clock.time() * 1000)

    def account(self, waba: str | None) -> str:
        """The account meant. Ends the command if it is none, or not clear which."""
        known = self.facts.accounts()
        if waba is None and len(known) == 1:
            return known[0]
        if waba is None:
            raise typer.BadParameter(f"give --waba: {', '.join(known) or 'no account is known'}")
        if waba not in known:
            raise typer.BadParameter(f"no account {waba} is known; `wam apply` makes it known")
        return waba

    def credentials(self, waba_id: str) -> Credentials:
        """What to call with. Raises NoToken."""
        return credentials_of(self.facts, waba_id, self.tokens)[1]


def at_meta(configured: ConsoleSettings, work: Callable[[Session], Awaitable[int]]) -> int:
    """Run `work` with the facts read and the Graph API at hand; its exit code, or that of what went wrong."""
    table = ErrorTable.load(configured.config_dir / "errors.yaml")

    async def session() -> int:
        graph = Graph(
            configured.graph_url,
            configured.graph_version,
            timeout_s=configured.call_timeout_s,
            connect_timeout_s=configured.connect_timeout_s,
        )
        facts = await KafkaAccountEvents(configured).read()
        await graph.start()
        try:
            return await work(Session(configured, facts, graph))
        finally:
            await graph.stop()

    try:
        return run(session())
    except NoToken as error:
        err.print(str(error), markup=False)
        return REFUSED
    except GraphRefused as error:
        hint = table.verdict_on(error.answer).hint
        err.print(f"Meta refuses ({error.answer.code}): {error} {hint}", markup=False, soft_wrap=True)
        return REFUSED
    except GraphFailure as error:
        err.print(str(error), markup=False, soft_wrap=True)
        return UNAVAILABLE
