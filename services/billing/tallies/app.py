"""Composition root of the tallies: account facts, queries, metrics, the Faust app, the watchdog over it before it starts, then the watch over budgets."""

from services.billing.budgets.outbox import RedisOutbox
from services.billing.budgets.routes import BudgetRoutes
from services.billing.budgets.shown import RedisShown
from services.billing.budgets.watch import BudgetWatch
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

FIRST_PARTITION = 0
"""Whoever tallies this one of the ledger's partitions watches the budgets of all accounts: there is always one, and but for a takeover only one."""


def build(service: Service, settings: TalliesSettings) -> None:
    """Wire the tallies' process. The watchdog starts before Faust does: a start may hang too."""
    redis = connect(settings)
    clock = clock_from(settings.clock_file)
    rows = RedisRows(redis, settings.redis_namespace, settings.tallies_generation)
    offsets = service.add(
        GroupOffsets(settings, group=app_id(settings), topic=kafka.name_of(BILLING_CHARGES, settings))
    )
    reader = service.add(AccountReader(service, settings))
    facts, regimes = lambda: reader.facts, PriceBook.load(settings.config_dir).regimes
    tallying = Tallying(service, settings, rows, offsets, clock)
    lag = Lag(offsets.ends, rows, clock, lambda: tallying.partition_count)
    shown = RedisShown(redis, settings)
    budgets = BudgetRoutes(shown, facts=facts, lag=lag, clock=clock)
    service.add(Routes(settings, redis, facts=facts, regimes=regimes, lag=lag, more=budgets.routes()))
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
            facts=facts,
            regimes=regimes,
            partitions=lambda: tallying.partition_count,
        )
    )
    service.add(tallying)
    service.add(
        BudgetWatch(
            service,
            settings,
            shown,
            RedisOutbox(redis, settings.redis_namespace),
            clock,
            facts=facts,
            regimes=regimes,
            in_charge=lambda: FIRST_PARTITION in (tallying.partitions or ()),
        )
    )
    service.ready_when("tallies", lambda: tallying.partitions is not None)
