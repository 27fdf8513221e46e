"""Composition root of the HTTP edge: which parts there are, wired in their order of starting."""

from aiohttp import web

from services.ingress.edge.application import application
from services.ingress.edge.callers import Callers
from services.ingress.edge.door import Door
from services.ingress.edge.following import Following
from services.ingress.edge.index import Index
from services.ingress.edge.listener import Listener
from services.ingress.edge.messages import Messages
from services.ingress.edge.passing import Passing
from services.ingress.edge.requests_api import Requests
from services.ingress.edge.sending import Sending
from services.ingress.edge.settings import EdgeSettings
from services.ingress.edge.waiting import Waiting
from services.ingress.publisher import KafkaPublisher
from shared.account_reader import AccountReader
from shared.clock import clock_from
from shared.error_table import ErrorTable
from shared.graph_calls import GraphCalls
from shared.lifecycle import Service
from shared.tokens import tokens_of
from shared.topics import CONVERSATION_EVENTS


def build(service: Service) -> None:
    """Wire the parts; raises OSError, InvalidTokens or ErrorTableError for files that are not what they must be."""
    settings = service.settings
    if not isinstance(settings, EdgeSettings):
        raise TypeError("the edge needs EdgeSettings")
    clock = clock_from(settings.clock_file)
    table = ErrorTable.load(settings.config_dir / "errors.yaml")

    def now_ms() -> int:
        return int(clock.time() * 1000)

    accounts = service.add(AccountReader(service, settings))
    callers = Callers(settings.edge_tokens_file, lambda: accounts.facts)
    index = service.add(Index(settings, settings.edge_keep_days))
    publisher = service.add(
        KafkaPublisher(settings, (CONVERSATION_EVENTS,), settings.edge_kafka_timeout_s, service.fail)
    )
    following = service.add(Following(service, settings, index))
    calls = service.add(GraphCalls.of(settings))
    waiting = Waiting(service, index)
    sending = Sending(publisher, index, waiting)
    door = Door(callers, index, table.name_of, settings.edge_max_in_flight)
    media: list[web.RouteDef] = []
    listener = Listener(
        application(
            door,
            Messages(settings, callers, sending, index, now_ms),
            Requests(settings, callers, sending, index, door, now_ms, table.name_of),
            Passing(settings, callers, index, calls, tokens_of(settings), lambda: accounts.facts),
            media,
        ),
        settings.http_host,
        settings.http_port,
        reuse_port=settings.http_reuse_port,
        drain_s=settings.drain_s / 2,
    )
    service.add(listener)
    service.add(waiting)  # the first to stop: whoever waits is answered with what is known
    service.ready_when("kafka", lambda: publisher.ready)
    service.ready_when("index", lambda: following.joined)
    service.ready_when("news", lambda: waiting.subscribed)
