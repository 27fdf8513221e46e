"""Composition root of the router: account facts, then the conversations' fold, what the routers tell each other, and the accounts' fold. No network until the parts start."""

from services.router.account_changes import AccountsFold
from services.router.fold import RouterFold
from services.router.heard import Heard
from services.router.meta_errors import MetaErrors
from services.router.metering import Meter
from services.router.settings import RouterSettings
from services.router.sharing import Sharing
from services.router.stop_words import StopWords
from services.router.uncertain import Resending
from shared.account_reader import AccountReader
from shared.backlog import Note
from shared.backlog_notes import BacklogNotes
from shared.clock import clock_from
from shared.lifecycle import Service
from shared.pricing import PriceBook
from shared.stream.processor import Processor
from shared.stream.store import connect
from shared.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS, SEND_EVENTS


def build(service: Service, settings: RouterSettings) -> None:
    """Wire the parts, in start order: nothing is decided before the accounts are known.

    Raises:
        RegimesFileError, RateCardError, MarketMapError, InvalidStopWords, OSError: the configuration folder is not what it must be.
    """
    redis, clock = connect(settings), clock_from(settings.clock_file)
    words = StopWords.parse((settings.config_dir / "stop_words.yaml").read_text("utf-8"))
    heard = Heard()
    fold = RouterFold(
        PriceBook.load(settings.config_dir),
        MetaErrors.load(settings.config_dir),
        words,
        Resending(settings.resent_categories, heard),
    )
    reader = service.add(AccountReader(service, settings))
    conversations = service.add(
        Processor(
            service,
            settings,
            group="router",
            fold=fold,
            source=CONVERSATION_EVENTS,
            memory=SEND_EVENTS,
            facts=lambda: reader.facts,
            redis=redis,
            clock=clock,
            cache=settings.state_cache,
            told=Meter(clock, heard).count,
        )
    )
    service.add(
        BacklogNotes(
            service,
            redis,
            settings.redis_namespace,
            "router",
            lambda: {one: Note(conversations.published(one)) for one in conversations.owned},
        )
    )
    service.add(Sharing(service, redis, settings.redis_namespace, clock, heard, conversations.owned.keys()))
    service.add(
        Processor(
            service,
            settings,
            group="accounts",
            fold=AccountsFold(),
            source=ACCOUNT_EVENTS,
            memory=None,
            facts=lambda: None,
            redis=redis,
            clock=clock,
        )
    )
