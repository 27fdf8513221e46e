"""The budgets over HTTP: `GET /v1/forecasts` and `GET /v1/forecasts/{waba_id}`, reckoned at the moment of the question."""

from collections.abc import Callable, Iterable

import msgspec
from aiohttp import web

from services.billing.budgets.forecast import moment_of
from services.billing.budgets.outlook import AccountOutlook, Outlooks, outlook
from services.billing.budgets.shown import RedisShown
from services.billing.tallies.answers import AsOf, Failed, Problem
from services.billing.tallies.lag import Lag
from shared.accounts import Account, AccountFacts
from shared.clock import Clock


class BudgetRoutes:
    """Handlers; whoever serves them mounts `routes`, and answers for a Redis that does not."""

    def __init__(
        self, shown: RedisShown, *, facts: Callable[[], AccountFacts], lag: Lag, clock: Clock
    ) -> None:
        self._shown = shown
        self._facts = facts
        self._lag = lag
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """What is answered, to be added to an application."""
        return (web.get("/v1/forecasts", self._all), web.get("/v1/forecasts/{waba_id}", self._one))

    async def _all(self, _: web.Request) -> web.Response:
        facts, as_of = self._facts(), await self._lag.as_of()
        known = ((waba_id, facts.account(waba_id)) for waba_id in facts.accounts())
        return _json(
            Outlooks([await self._outlook(waba_id, account, as_of) for waba_id, account in known if account])
        )

    async def _one(self, request: web.Request) -> web.Response:
        waba_id = request.match_info["waba_id"]
        account = self._facts().account(waba_id)
        if account is None:
            return _json(Failed(Problem("unknown_account", f"account {waba_id!r} is not set up")), 404)
        return _json(await self._outlook(waba_id, account, await self._lag.as_of()))

    async def _outlook(self, waba_id: str, account: Account, as_of: AsOf) -> AccountOutlook:
        moment = moment_of(self._clock.now(), account.timezone)
        return outlook(waba_id, account, await self._shown.spend(waba_id, moment.today), moment, as_of)


def _json(value: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
