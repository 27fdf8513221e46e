"""The budgets over HTTP: `GET /v1/forecasts` and `GET /v1/forecasts/{waba_id}`, reckoned at the moment of the question."""

from collections.abc import Callable, Iterable

import msgspec
from aiohttp import web

from services.billing.budgets.forecast import moment_of
from services.billing.budgets.outlook import AccountOutlook, outlook
from services.billing.budgets.spending import RedisSpending
from shared.accounts import Account, AccountFacts
from shared.clock import Clock
from shared.times import to_ms


class Outlooks(msgspec.Struct, frozen=True):
    """The month of every account that is set up, by id."""

    accounts: list[AccountOutlook]


class BudgetRoutes:
    """Handlers; whoever serves them mounts `routes`."""

    def __init__(self, spending: RedisSpending, facts: Callable[[], AccountFacts], clock: Clock) -> None:
        self._spending = spending
        self._facts = facts
        self._clock = clock

    def routes(self) -> Iterable[web.RouteDef]:
        """What is answered, to be added to an application."""
        return (
            web.get("/v1/forecasts", self._all),
            web.get("/v1/forecasts/{waba_id}", self._one),
        )

    async def _all(self, _: web.Request) -> web.Response:
        facts = self._facts()
        known = ((waba_id, facts.account(waba_id)) for waba_id in facts.accounts())
        found = [await self._outlook(waba_id, account) for waba_id, account in known if account is not None]
        return _json(Outlooks(found))

    async def _one(self, request: web.Request) -> web.Response:
        waba_id = request.match_info["waba_id"]
        account = self._facts().account(waba_id)
        if account is None:
            raise web.HTTPNotFound(text=f"no account {waba_id} is set up")
        return _json(await self._outlook(waba_id, account))

    async def _outlook(self, waba_id: str, account: Account) -> AccountOutlook:
        now = self._clock.now()
        moment = moment_of(now, account.timezone)
        return outlook(
            waba_id, account, await self._spending.until(waba_id, moment.today), moment, to_ms(now)
        )


def _json(value: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
