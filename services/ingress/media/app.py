"""Composition of the media, as a set of parts in the edge's process: which there are, wired in their order of starting."""

from collections.abc import Callable

from services.ingress.media.collecting import Collecting
from services.ingress.media.fetching import Fetching
from services.ingress.media.following import Following
from services.ingress.media.library import Library
from services.ingress.media.meta import MetaFiles
from services.ingress.media.routes import Callers, MediaCalls, Refuse
from services.ingress.media.settings import MediaSettings
from services.ingress.media.store import Obstore
from services.ingress.media.waiting import RedisWaiting
from services.ingress.publisher import KafkaPublisher
from shared.accounts import AccountFacts
from shared.clock import Clock
from shared.lifecycle import Service
from shared.logs import hasher
from shared.stream.store import connect
from shared.tokens import Credentials, tokens_of
from shared.topics import MEDIA


def add_media(
    service: Service,
    settings: MediaSettings,
    facts: Callable[[], AccountFacts],
    clock: Clock,
    callers: Callers,
    refuse: Refuse,
) -> MediaCalls:
    """Add the parts to a service, after its account facts and before what listens; the handlers for `routes`."""
    tokens = tokens_of(settings)

    def credentials(number: str) -> Credentials | None:
        known = facts().number(number)
        return tokens.get("default" if known is None else known.token)

    def numbers() -> list[str]:
        return [key[2] for key in facts().known() if key[0] == "number"]

    store = service.add(Obstore(settings))
    meta = service.add(MetaFiles(settings))
    library = Library(store)
    fetching = service.add(
        Fetching(library, meta, credentials, settings.most_bytes, clock, settings.media_timeout_s)
    )
    waiting = service.add(RedisWaiting(connect(settings), settings.redis_namespace))
    if settings.media_auto:
        publisher = service.add(KafkaPublisher(settings, (MEDIA,), settings.call_timeout_s, service.fail))
        service.add(
            Collecting(
                service,
                waiting,
                fetching,
                publisher,
                clock,
                at_once=settings.media_at_once,
                lease_s=settings.media_lease_s,
            )
        )
    service.add(
        Following(
            service,
            settings,
            library,
            waiting,
            hasher(settings.log_key.get_secret_value()),
            clock,
            fetch=settings.media_auto,
        )
    )
    return MediaCalls(
        callers,
        refuse,
        library,
        fetching,
        meta,
        numbers,
        credentials,
        at_once=settings.media_at_once,
        silence_s=settings.media_silence_s,
        public_url=settings.media_public_url,
    )
