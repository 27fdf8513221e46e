"""Composition root of ingress: which parts there are, wired in their order of starting."""

from services.ingress.apps import Apps, read_apps
from services.ingress.connections import ConnectionLimits
from services.ingress.http import Listener
from services.ingress.publisher import KafkaPublisher
from services.ingress.routes import PUBLISHED, Limits, Webhooks
from services.ingress.settings import IngressSettings
from shared.clock import clock_from
from shared.inbound import InboundNotes
from shared.lifecycle import Service
from shared.stream.store import connect


def build(service: Service) -> None:
    """Wire the parts. No network until they start."""
    settings = service.settings
    if not isinstance(settings, IngressSettings):
        raise TypeError("ingress needs IngressSettings")
    clock = clock_from(settings.clock_file)
    publisher = service.add(
        KafkaPublisher(settings, PUBLISHED, settings.webhook_kafka_timeout_s, service.fail)
    )
    limits = Limits(
        settings.webhook_body_timeout_s, settings.webhook_max_in_flight, settings.webhook_max_held_bytes
    )
    inbound = service.add(InboundNotes(service, connect(settings), settings.redis_namespace, clock))
    apps = service.add(Apps(service, lambda: read_apps(settings)))
    webhooks = Webhooks(publisher, clock, limits, inbound.note)
    service.add(
        Listener(
            webhooks,
            apps.at,
            settings.http_host,
            settings.http_port,
            reuse_port=settings.http_reuse_port,
            drain_s=settings.drain_s / 2,
            limits=ConnectionLimits(
                settings.http_header_timeout_s, settings.http_idle_timeout_s, settings.http_max_connections
            ),
        )
    )
    service.ready_when("kafka", lambda: publisher.ready)
    service.ready_when("room", lambda: webhooks.has_room)
