"""The accounts of the story: the example file, applied as `wam apply` does, and told to the fake Meta."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.local.paths import REPOSITORY
from services.console.account_events import KafkaAccountEvents
from services.console.applying import Applied, Applier
from services.console.document import AccountEntry, AccountsDocument, parse
from shared.clock import Clock
from shared.pricing import PriceBook
from shared.settings import ServiceSettings

EXAMPLE: Final = REPOSITORY / "config" / "accounts.example.yaml"
CONFIG: Final = REPOSITORY / "config"


class Accounts:
    """Two businesses: `shop` pays, `cafe` has no payment method yet."""

    def __init__(self, settings: ServiceSettings, clock: Clock, file: Path = EXAMPLE) -> None:
        """Reads the file; nothing is applied yet.

        Raises:
            InvalidDocument, OSError: the file can't be used.
        """
        self._written: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
        self._events = KafkaAccountEvents(settings)
        self._applier = Applier(self._events, clock)
        self._book = PriceBook.load(CONFIG)
        shop, cafe = self.document().accounts
        self.shop, self.cafe = shop, cafe

    def document(self, changes: Mapping[str, Mapping[str, object]] | None = None) -> AccountsDocument:
        """The file with some accounts' fields changed (WABA id → fields)."""
        entries = [{**entry, **(changes or {}).get(entry["id"], {})} for entry in self._written["accounts"]]
        text = yaml.safe_dump({"accounts": entries})
        return parse(text, self._book.regimes.is_pin, self._book.cards.markets.is_market)

    async def apply(self, changes: Mapping[str, Mapping[str, object]] | None = None) -> Applied:
        """Does what `wam apply --yes` does. Raises KafkaError."""
        return await self._applier.apply(self.document(changes), force=False, dry_run=False)

    async def revision(self) -> int:
        """The revision of the facts as of now. Raises KafkaError."""
        return (await self._events.read()).revision

    def named(self, who: str) -> AccountEntry:
        """`shop` or `cafe`."""
        return {"shop": self.shop, "cafe": self.cafe}[who]


def example_for_meta() -> dict[str, Any]:
    """The example file's accounts as `for_meta` has them.

    Raises:
        InvalidDocument, OSError: the file can't be used.
    """
    book = PriceBook.load(CONFIG)
    return for_meta(
        parse(EXAMPLE.read_text("utf-8"), book.regimes.is_pin, book.cards.markets.is_market).accounts
    )


def default_number(account: AccountEntry) -> str:
    """The id of the number provided with the account."""
    return next(number.id for number in account.numbers if number.default)


def _tier(users: int | None) -> str:
    """A messaging limit as Meta writes it (Meta, messaging limits)."""
    if users is None:
        return "TIER_250"
    return "TIER_UNLIMITED" if users < 0 else f"TIER_{users // 1000}K" if users >= 1000 else f"TIER_{users}"


def for_meta(accounts: Iterable[AccountEntry]) -> dict[str, Any]:
    """The same accounts as the body of the simulator's `PUT /sim/accounts`."""
    return {
        "wabas": [
            {
                "id": account.id,
                "name": account.name,
                "currency": account.currency,
                "timezone": account.timezone,
                "payment_method": account.payment_method,
                "regime": account.regime,
                "business_verification": "verified" if account.business_verified else "not_verified",
                "numbers": [
                    {
                        "id": number.id,
                        "display_phone_number": number.display_phone_number,
                        "verified_name": number.verified_name or account.name,
                        "registered": number.registered,
                        "default": number.default,
                        "messaging_limit": _tier(account.messaging_limit),
                    }
                    for number in account.numbers
                ],
                "templates": [
                    {
                        "name": template.name,
                        "language": template.language,
                        "category": template.category,
                        "status": template.status,
                        "components": template.definition() or [],
                        "parameter_format": template.parameter_format,
                    }
                    for template in account.templates
                ],
            }
            for account in accounts
        ]
    }
