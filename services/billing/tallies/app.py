"""Composition root of the tallies: account facts, queries, metrics, then the Faust app, the watchdog over it before it starts."""

from services.billing.settings import TalliesSettings
from services.billing.tallies.faust_app import app_id
from services.billing.tallies.figures import Figures
from services.billing.tallies.lag import Lag
from services.billing.tallies.offsets import GroupOffsets
from services.billing.tallies.routes import Routes
from services.billing.tallies.rows import RedisRows
from services.billing.tallies.tallying import Tallying
from services.billing.tallies.watchdog import Watchdog
from shared import kafka
from shared.account_reader import AccountReader
from shared.clock import clock_from
from shared.lifecycle import Service
from shared.pricing import PriceBook
from shared.stream.store import connect
from shared.topics import BILLING_CHARGES


def build(service: Service, settings: TalliesSettings) -> None:
    """Wire the tallies' process. The watchdog starts before Faust does: a start may hang too."""
    redis = connect(settings)
    clock = clock_from(settings.clock_file)
    rows = RedisRows(redis, settings.redis_namespace, settings.tallies_generation)
    offsets = service.add(
        GroupOffsets(settings, group=app_id(settings), topic=kafka.name_of(BILLING_CHARGES, settings))
    )
    reader = service.add(AccountReader(service, settings))
    regimes = PriceBook.load(settings.config_dir).regimes
    tallying = Tallying(service, settings, rows, offsets, clock)
    service.add(
        Routes(
            settings,
            redis,
            facts=lambda: reader.facts,
            regimes=regimes,
            lag=Lag(offsets.ends, rows, clock, lambda: tallying.partition_count),
        )
    )
    service.add(
        Watchdog(
            service,
            settings,
            offsets,
            partitions=lambda: tallying.partition_count,
            watched=lambda: tallying.partitions,
        )
    )
    service.add(
        Figures(
            service,
            settings,
            redis,
            clock,
            facts=lambda: reader.facts,
            regimes=regimes,
            partitions=lambda: tallying.partition_count,
        )
    )
    service.add(tallying)
    service.ready_when("tallies", lambda: tallying.partitions is not None)
