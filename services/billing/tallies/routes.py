"""The tallies over HTTP, as `openapi` describes them: account and month in, what was counted of them out."""

import re
from collections.abc import Awaitable, Callable
from datetime import date
from http import HTTPStatus

import msgspec
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.billing.free_tier import FreeTierOfMonth, free_tier_of
from services.billing.settings import TalliesSettings
from services.billing.tallies.answers import (
    AccountMonths,
    DaysAnswer,
    ErrorCode,
    Failed,
    FreeTierAnswer,
    HoursAnswer,
    KnownAccounts,
    MonthAnswer,
    Problem,
)
from services.billing.tallies.lag import Lag
from services.billing.tallies.openapi import openapi
from services.billing.tally import Spend, Tally, month_tally, months_known, spend_of_month
from shared.accounts import Account, AccountFacts
from shared.pricing import Regimes

_MONTH = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])")


class _Refusal(Exception):
    def __init__(self, status: HTTPStatus, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Routes:
    """A part that answers queries on its own port, from Redis and the account facts; it serves while Faust recovers."""

    def __init__(
        self,
        settings: TalliesSettings,
        redis: Redis,
        *,
        facts: Callable[[], AccountFacts],
        regimes: Regimes,
        lag: Lag,
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._facts = facts
        self._regimes = regimes
        self._lag = lag
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen."""
        self._runner = web.AppRunner(self.application(), access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.tallies_host, self._settings.tallies_port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def application(self) -> web.Application:
        """The aiohttp application with all routes."""
        app = web.Application(middlewares=[_in_the_errors_shape])
        month = "/v1/tallies/{waba_id}/{month}"
        app.router.add_get("/v1/openapi.json", self._openapi)
        app.router.add_get("/v1/tallies", self._known)
        app.router.add_get(month, self._month)
        app.router.add_get(f"{month}/days", self._days)
        app.router.add_get(f"{month}/hours", self._hours)
        app.router.add_get(f"{month}/free-tier", self._free_tier)
        return app

    async def _openapi(self, _: web.Request) -> web.Response:
        return _json(openapi())

    async def _known(self, _: web.Request) -> web.Response:
        as_of = await self._lag.as_of()
        known = [AccountMonths(waba_id, months) for waba_id, months in (await self._months()).items()]
        return _json(KnownAccounts(as_of, known))

    async def _month(self, request: web.Request) -> web.Response:
        waba_id, month = await self._asked(request)
        as_of = await self._lag.as_of()
        tally = await self._tally(waba_id, month)
        return _json(
            MonthAnswer(
                waba_id=waba_id,
                month=month,
                as_of=as_of,
                rows=tally.rows,
                totals=tally.totals,
                free_tier=self._free_tier_of(tally),
            )
        )

    async def _free_tier(self, request: web.Request) -> web.Response:
        waba_id, month = await self._asked(request)
        as_of = await self._lag.as_of()
        free_tier = self._free_tier_of(await self._tally(waba_id, month))
        return _json(FreeTierAnswer(waba_id=waba_id, month=month, as_of=as_of, free_tier=free_tier))

    async def _days(self, request: web.Request) -> web.Response:
        waba_id, month = await self._asked(request)
        as_of = await self._lag.as_of()
        spend = await self._spend(waba_id, month)
        return _json(DaysAnswer(waba_id=waba_id, month=month, as_of=as_of, days=spend.days))

    async def _hours(self, request: web.Request) -> web.Response:
        waba_id, month = await self._asked(request)
        day = _day(request, month)
        as_of = await self._lag.as_of()
        spend = await self._spend(waba_id, month)
        if day in spend.hours_dropped:
            message = f"the hours of {day} are no longer kept; its sum is under /days"
            raise _Refusal(HTTPStatus.NOT_FOUND, "hours_dropped", message)
        hours = [line for line in spend.hours if line.day == day]
        return _json(HoursAnswer(waba_id=waba_id, month=month, day=day, as_of=as_of, hours=hours))

    async def _asked(self, request: web.Request) -> tuple[str, str]:
        """Account and month of the path, checked."""
        waba_id, month = request.match_info["waba_id"], request.match_info["month"]
        if not _MONTH.fullmatch(month):
            raise _Refusal(HTTPStatus.BAD_REQUEST, "invalid_month", f"{month!r} is no month, e.g. 2026-11")
        if self._facts().account(waba_id) is None and waba_id not in await self._months():
            raise _Refusal(HTTPStatus.NOT_FOUND, "unknown_account", f"nobody knows account {waba_id!r}")
        return waba_id, month

    async def _months(self) -> dict[str, list[str]]:
        settings = self._settings
        return await months_known(
            self._redis, settings.redis_namespace, generation=settings.tallies_generation
        )

    async def _tally(self, waba_id: str, month: str) -> Tally:
        settings = self._settings
        return await month_tally(
            self._redis, settings.redis_namespace, waba_id, month, generation=settings.tallies_generation
        )

    async def _spend(self, waba_id: str, month: str) -> Spend:
        settings = self._settings
        return await spend_of_month(
            self._redis, settings.redis_namespace, waba_id, month, generation=settings.tallies_generation
        )

    def _free_tier_of(self, tally: Tally) -> FreeTierOfMonth | None:
        facts = self._facts()
        account = facts.account(tally.waba_id) or Account()
        return free_tier_of(tally, account, facts.numbers_of(tally.waba_id), self._regimes)


def _day(request: web.Request, month: str) -> str:
    day = request.query.get("day", "")
    try:
        valid = date.fromisoformat(day).isoformat() == day and day.startswith(f"{month}-")
    except ValueError:
        valid = False
    if not valid:
        raise _Refusal(
            HTTPStatus.BAD_REQUEST, "invalid_day", f"day={day!r} is no day of {month}, e.g. day={month}-20"
        )
    return day


def _json(answer: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), status=status, content_type="application/json")


@web.middleware
async def _in_the_errors_shape(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except _Refusal as refusal:
        return _json(Failed(Problem(refusal.code, str(refusal))), refusal.status)
    except RedisError as error:
        return _json(Failed(Problem("unavailable", f"Redis does not answer: {error}")), 503)
    except web.HTTPNotFound:
        return _json(Failed(Problem("unknown_path", f"nothing is at {request.path}")), 404)
    except web.HTTPMethodNotAllowed as error:
        answer = _json(
            Failed(Problem("method_not_allowed", f"{request.method} is not for {request.path}")), 405
        )
        answer.headers["Allow"] = error.headers["Allow"]
        return answer
