"""The tallies over HTTP: `GET /v1/tallies/{waba_id}/{month}`."""

from collections.abc import Iterable

import msgspec
from aiohttp import web
from redis.asyncio import Redis

from services.billing.settings import TalliesSettings
from services.billing.tally import month_tally


class Routes:
    """A part that answers queries on its own port; it needs Redis only, and so serves while Faust recovers. `more` are other parts' answers."""

    def __init__(self, settings: TalliesSettings, redis: Redis, more: Iterable[web.RouteDef] = ()) -> None:
        self._settings = settings
        self._redis = redis
        self._more = more
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_get(r"/v1/tallies/{waba_id}/{month:\d{4}-(?:0[1-9]|1[0-2])}", self._month)
        app.add_routes(self._more)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.tallies_host, self._settings.tallies_port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _month(self, request: web.Request) -> web.Response:
        tally = await month_tally(
            self._redis,
            self._settings.redis_namespace,
            request.match_info["waba_id"],
            request.match_info["month"],
            generation=self._settings.tallies_generation,
        )
        return web.Response(body=msgspec.json.encode(tally), content_type="application/json")
