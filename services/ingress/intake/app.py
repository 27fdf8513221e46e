"""Composition root of intake: which parts there are, wired in their order of starting."""

from services.ingress.intake.normal import Intake
from shared.account_reader import AccountReader
from shared.clock import clock_from
from shared.lifecycle import Service


def build(service: Service) -> None:
    """Wire the parts. No network until they start."""
    settings = service.settings
    clock = clock_from(settings.clock_file)
    accounts = service.add(AccountReader(service, settings))
    service.add(Intake(service, settings, lambda: accounts.facts.default_number(), clock))
