"""Composition root of push: which parts there are, wired in their order of starting."""

from services.push.channels import Channels
from services.push.control import Control
from services.push.secrets import Secrets
from services.push.settings import PushSettings
from shared.account_reader import AccountReader
from shared.lifecycle import Service


def build(service: Service) -> None:
    """Wire the parts. Push needs Kafka alone: no Redis, no other service."""
    settings = service.settings
    if not isinstance(settings, PushSettings):
        raise TypeError("push needs PushSettings")
    accounts = service.add(AccountReader(service, settings))
    control = service.add(Control(service, settings))

    def display_number(phone_number_id: str) -> str:
        number = accounts.facts.number(phone_number_id)
        return "" if number is None else number.display_phone_number

    channels = service.add(Channels(service, settings, control, Secrets(), display_number))
    service.ready_when("endpoints", lambda: channels.ready)
