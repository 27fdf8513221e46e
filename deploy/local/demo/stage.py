"""What the story's actions need: the business, the fake Meta, the accounts, the people, the clock."""

import time
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from deploy.local.demo.accounts import Accounts, default_number, for_meta
from deploy.local.demo.business import WITHIN_S, Business, Missing
from deploy.local.demo.caught_up import caught_up
from deploy.local.demo.played import Counted
from deploy.local.demo.simulator import Simulator
from services.console.steps import text_message
from services.console.tallies import HttpTallies
from shared.clock import FileClock
from shared.events import Decision
from shared.settings import ServiceSettings

DRY_RUN: Final = "demo-ask-"
"""How the ids of requests begin that are only asked about."""
PEOPLE: Final[Mapping[str, str]] = {
    "Anna": "4915112345671",
    "Ben": "4915112345672",
    "Clara": "4915112345673",
    "Dina": "4915112345674",
    "Emil": "4915112345675",
    "Fritz": "4915112345676",
    "Gerda": "4915112345677",
}
"""Invented customers, all of one market."""


class Stage:
    """A running system, seen from outside."""

    def __init__(self, settings: ServiceSettings, urls: Mapping[str, str], clock: FileClock) -> None:
        """Keeps the settings; `urls` as of `deploy.local.services.urls`."""
        self.settings = settings
        self.clock = clock
        self.business = Business(settings)
        self.simulator = Simulator(urls["simulator"])
        self.tallies = HttpTallies(urls["tallies"])
        self.accounts = Accounts(settings, clock)
        self.wamids: dict[str, str] = {}
        """The ids of customers' messages, by the name the story gives them."""
        self.counted: list[Counted] = []
        """The closing table, once the story has come so far."""
        self._asked = 0

    async def set_up(self) -> None:
        """Tells the fake Meta of the accounts and lets every delivered message be read."""
        both = [self.accounts.shop, self.accounts.cafe]
        await self.simulator.call("PUT", "/sim/accounts", for_meta(both))
        await self.simulator.call("POST", "/sim/options", {"delay_s": 0.2, "read": True})

    def number(self, who: str) -> str:
        """The default number of `shop` or `cafe`."""
        return default_number(self.accounts.named(who))

    def now(self) -> datetime:
        """The story's time."""
        return self.clock.now()

    async def know(self) -> int:
        """Returns when a decision shows that intake and router know all account facts there are; their revision.

        Asks with dry runs, as a business could: they are decided and never sent.
        """
        revision = await self.accounts.revision()
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            # Without `from`: intake must know the default number too.
            decision = await self.dry_run(None, PEOPLE["Gerda"])
            if decision.facts_version and int(decision.facts_version) >= revision:
                return revision
        raise Missing(f"decision on facts of revision {revision}", ("router", "ingress.intake"))

    async def dry_run(self, number: str | None, user: str) -> Decision:
        """The decision on a free-form message that is not to be sent; everything before it in that conversation is done then."""
        self._asked += 1
        request_id = f"{DRY_RUN}{self._asked}"
        body: dict[str, Any] = {
            "request_id": request_id,
            "message": text_message(f"+{user}", "?"),
            "dry_run": True,
        }
        if number is not None:
            body["from"] = number
        await self.business.request(body)

        def decided() -> Decision | None:
            found = self.business.of_request(request_id, "decided")
            return getattr(found[0].event, "decision", None) if found else None

        return await self.business.until(decided, "decision on a dry run", ("ingress.intake", "router"))

    async def settled(self) -> None:
        """Returns when nothing is under way, neither at Meta nor inside. Raises Missing."""
        await self.simulator.quiet()
        await caught_up(self.settings)

    async def __aenter__(self) -> Self:
        await self.business.start()
        await self.simulator.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.simulator.stop()
        await self.business.stop()
