"""Composition root of the tallies: queries, then the Faust app, then the watchdog over it."""

from services.billing.settings import TalliesSettings
from services.billing.tallies.faust_app import app_id
from services.billing.tallies.offsets import GroupOffsets
from services.billing.tallies.routes import Routes
from services.billing.tallies.tallying import Tallying
from services.billing.tallies.watchdog import Watchdog
from shared import kafka
from shared.lifecycle import Service
from shared.stream.store import connect
from shared.topics import BILLING_CHARGES


def build(service: Service, settings: TalliesSettings) -> None:
    """Wire the tallies' process. The watchdog starts before Faust does: a start may hang too."""
    redis = connect(settings)
    offsets = GroupOffsets(settings, group=app_id(settings), topic=kafka.name_of(BILLING_CHARGES, settings))
    tallying = Tallying(service, settings, redis, offsets)
    service.add(Routes(settings, redis))
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
    service.ready_when("tallies", lambda: tallying.partitions is not None)
