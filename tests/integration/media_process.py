"""The media behind an application of their own, as a process: who is calling needs no proof here, everyone may use every number."""

import sys

from aiohttp import web

from services.ingress.media.app import add_media
from services.ingress.media.routes import routes
from services.ingress.media.settings import MediaSettings
from shared.account_reader import AccountReader
from shared.clock import clock_from
from shared.lifecycle import Service, run
from tests.unit.ingress.media.fakes import Refusal, refusals


class Settings(MediaSettings):
    """Those of the media, and where to listen."""

    http_port: int


class Anyone:
    """Every caller."""

    def caller(self, request: web.BaseRequest) -> "Anyone":
        return self

    def may_use(self, phone_number_id: str) -> bool:
        return True

    def require(self, scope: str) -> None:
        """All are granted."""


class Listener:
    """The application as a part."""

    def __init__(self, table: list[web.RouteDef], port: int) -> None:
        app = web.Application(middlewares=[refusals])
        app.add_routes(table)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        self._port = port

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def stop(self) -> None:
        await self._runner.cleanup()


def main() -> int:
    """Run until stopped."""
    settings = Settings()

    def build(service: Service) -> None:
        accounts = service.add(AccountReader(service, settings))
        clock = clock_from(settings.clock_file)
        calls = add_media(service, settings, lambda: accounts.facts, clock, Anyone(), Refusal)
        service.add(Listener(routes(calls), settings.http_port))

    return run("media", settings, build)


if __name__ == "__main__":
    sys.exit(main())
