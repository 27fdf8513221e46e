"""Composition root of intake: which parts there are, wired in their order of starting."""

from services.ingress.intake.bulk import BulkIntake
from services.ingress.intake.consuming import Consuming
from services.ingress.intake.normal import NormalIntake
from services.ingress.intake.settings import IntakeSettings
from shared.account_reader import AccountReader
from shared.clock import clock_from
from shared.lifecycle import Service
from shared.stream.store import connect


def build(service: Service) -> None:
    """Wire the parts. No network until they start."""
    settings = service.settings
    if not isinstance(settings, IntakeSettings):
        raise TypeError("intake needs IntakeSettings")
    clock = clock_from(settings.clock_file)
    accounts = service.add(AccountReader(service, settings))
    bulk = BulkIntake(settings, lambda: accounts.facts, connect(settings), clock)
    service.add(Consuming(service, "intake-bulk", bulk.consume))
    normal = NormalIntake(settings, lambda: accounts.facts.default_number(), clock)
    service.add(Consuming(service, "intake", normal.consume))
