"""Composition root of the ledger: account facts, then the processor, then the forgetting."""

from services.billing.forgetting import Forgetting
from services.billing.ledger import LedgerFold
from shared.account_reader import AccountReader
from shared.clock import clock_from
from shared.lifecycle import Service
from shared.logs import hasher
from shared.pricing import PriceBook
from shared.stream.processor import Processor
from shared.stream.store import connect
from shared.topics import BILLING_CHARGES, SEND_EVENTS

GROUP = "ledger"


def build(service: Service) -> None:
    """Wire the ledger's process. States are read from Redis for each batch (no cache): the forgetting deletes them there."""
    settings = service.settings
    clock = clock_from(settings.clock_file)
    redis = connect(settings)
    reader = service.add(AccountReader(service, settings))
    fold = LedgerFold(PriceBook.load(settings.config_dir), hasher(settings.log_key.get_secret_value()))
    processor = service.add(
        Processor(
            service,
            settings,
            group=GROUP,
            fold=fold,
            source=SEND_EVENTS,
            memory=BILLING_CHARGES,
            facts=lambda: reader.facts,
            redis=redis,
            clock=clock,
            cache=0,
        )
    )
    service.add(Forgetting(service, redis, clock, settings.redis_namespace, GROUP, processor.owned))
