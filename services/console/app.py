"""Composition root of the console: follows the account facts, serves the page and the admin API, polls Meta."""

from aiohttp import web

from services.console.access import Tokens
from services.console.account_events import KafkaAccountEvents
from services.console.applying import Applier
from services.console.conversation_events import publish
from services.console.graph import Graph
from services.console.polling import Poller
from services.console.routes import Console
from services.console.settings import ConsoleSettings
from services.console.settling import OpenMessages, RedisIndex
from services.console.tallies import HttpTallies
from shared import logs
from shared.account_reader import AccountReader
from shared.clock import clock_from
from shared.error_table import ErrorTable
from shared.lifecycle import Service
from shared.pricing import PriceBook
from shared.stream.store import connect
from shared.tokens import tokens_of


class Web:
    """The part that listens."""

    def __init__(self, application: web.Application, host: str, port: int) -> None:
        self._runner = web.AppRunner(application, access_log=None)
        self._host = host
        self._port = port

    async def start(self) -> None:
        """Listen; OSError when the port is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """Answer what is open, then close."""
        await self._runner.cleanup()

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._runner.addresses[0][1])


def build(service: Service, settings: ConsoleSettings) -> None:
    """Wire the parts; the facts are read before the first page is shown."""
    clock = clock_from(settings.clock_file)
    book = PriceBook.load(settings.config_dir)
    reader = service.add(AccountReader(service, settings))
    events = KafkaAccountEvents(settings)
    console = Console(
        reader=reader,
        applier=Applier(events, clock),
        messages=OpenMessages(
            RedisIndex(connect(settings), settings.redis_namespace, settings.partitions).read,
            lambda words: publish(settings, words),
            logs.hasher(settings.log_key.get_secret_value()),
            settings.resent_categories,
            clock,
        ),
        tallies=HttpTallies(settings.tallies_url),
        tokens=Tokens(settings.admin_token, settings.admin_tokens_file),
        is_regime=book.regimes.is_pin,
        is_market=book.cards.markets.is_market,
        links={name: str(url) for name, url in settings.links.items()},
        clock=clock,
    )
    service.add(Web(console.application(), settings.http_host, settings.http_port))
    if not settings.polls:
        return
    graph = service.add(
        Graph(
            settings.graph_url,
            settings.graph_version,
            timeout_s=settings.call_timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
        )
    )
    service.add(
        Poller(
            service,
            meta=graph,
            tokens=tokens_of(settings),
            table=ErrorTable.load(settings.config_dir / "errors.yaml"),
            events=events,
            facts=lambda: reader.facts,
            clock=clock,
            period_s=settings.poll_period_s,
        )
    )
