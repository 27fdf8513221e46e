"""Composition root of the tallies: account facts, queries, the Faust app and the watchdog over it, then the watch over budgets."""

from services.billing.budgets.outbox import RedisOutbox
from services.billing.budgets.routes import BudgetRoutes
from services.billing.budgets.spending import RedisSpending
from services.billing.budgets.watch import BudgetWatch
from services.billing.settings import TalliesSettings
from services.billing.tallies.faust_app import app_id
from services.billing.tallies.offsets import GroupOffsets
from services.billing.tallies.routes import Routes
from services.billing.tallies.tallying import Tallying
from services.billing.tallies.watchdog import Watchdog
from shared import kafka
from shared.account_reader import AccountReader
from shared.clock import clock_from
from shared.lifecycle import Service
from shared.stream.store import connect
from shared.topics import BILLING_CHARGES

FIRST_PARTITION = 0
"""Whoever tallies this one of the ledger's partitions watches the budgets of all accounts: there is always one, and but for a takeover only one."""


def build(service: Service, settings: TalliesSettings) -> None:
    """Wire the tallies' process. The watchdog starts before Faust does: a start may hang too."""
    redis, clock = connect(settings), clock_from(settings.clock_file)
    reader = service.add(AccountReader(service, settings))
    spending = RedisSpending(redis, settings)
    offsets = GroupOffsets(settings, group=app_id(settings), topic=kafka.name_of(BILLING_CHARGES, settings))
    tallying = Tallying(service, settings, redis, offsets)
    service.add(Routes(settings, redis, BudgetRoutes(spending, lambda: reader.facts, clock).routes()))
    service.add(offsets)
    service.add(
        Watchdog(
            service,
            settings,
            offsets,
            partitions=lambda: tallying.partition_count,
            watched=lambda: tallying.partitions,
        )
    )
    service.add(tallying)
    service.add(
        BudgetWatch(
            service,
            settings,
            spending,
            RedisOutbox(redis, settings.redis_namespace),
            clock,
            facts=lambda: reader.facts,
            in_charge=lambda: FIRST_PARTITION in (tallying.partitions or ()),
        )
    )
    service.ready_when("tallies", lambda: tallying.partitions is not None)
