"""Who sends and who is written to: five accounts in five time zones with four numbers each, users in thirty countries."""

from functools import cache
from typing import Any, NamedTuple

import phonenumbers

YEAR, MONTH = 2026, 11
"""The month; messages of the neighbouring days are there, too, for months end when they end in the account's own zone."""

COUNTRIES = tuple(
    "DE IN BR US CA MX ID ES IT GB NG ZA EG SA AE PK BD NP LK VN MA KZ RU DO JM PE CL TR PL UA".split()  # noqa: SIM905
)
WEIGHTS = (12, 14, 12, 6, 2, 8, 6, 4, 4, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
USERS = 100_000
"""Of a country at one number, at most."""

_DAY_MS = 86_400_000
_FIRST_MS = 1_793_491_200_000
"""2026-11-01T00:00Z."""


class Account(NamedTuple):
    """An account with its facts. `tiers`: (column, market) → the volume tiers of the month, each with the time it was reached."""

    waba_id: str
    zone: str
    pin: str
    home: str
    auth_international_ms: int | None = None
    exceptions: tuple[tuple[str, int], ...] = ()
    tiers: tuple[tuple[str, str, tuple[tuple[str, int], ...]], ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """Its four phone number ids."""
        return tuple(f"{self.waba_id[-1]}0640000000{n}" for n in range(1, 5))

    def owes_international(self, country: str, at_ms: int) -> bool:
        """Whether a one-time password delivered there and then costs the international rate, where the card has one."""
        start = dict(self.exceptions).get(country, self.auth_international_ms)
        return country != self.home and start is not None and at_ms >= start

    def tier_at(self, column: str, market: str, month: str, at_ms: int) -> str | None:
        """The tier in force: the last one reached. International passwords go on in the tier of authentication."""
        if month != f"{YEAR}-{MONTH:02}":
            return None
        reached = [
            (since, tier)
            for of, where, tiers in self.tiers
            if where == market and of == column.removesuffix("_international")
            for tier, since in tiers
            if since <= at_ms
        ]
        return max(reached)[1] if reached else None

    def facts(self) -> dict[str, Any]:
        """The account as account events tell it."""
        told: dict[str, Any] = {
            "name": f"Account {self.waba_id[-1]}",
            "currency": "USD",
            "timezone": self.zone,
            "regime": self.pin,
            "payment_method": "valid",
            "primary_location": self.home,
        }
        if self.auth_international_ms is not None:
            exceptions = dict(self.exceptions)
            told["auth_international"] = {"start_ms": self.auth_international_ms, "exceptions": exceptions}
        if self.tiers:
            told["tier_notices"] = {
                f"{column}/{YEAR}-{MONTH:02}/{market.lower()}": dict(tiers)
                for column, market, tiers in self.tiers
            }
        return told


def _on(day: int, ms: int = 0) -> int:
    return _FIRST_MS + (day - 1) * _DAY_MS + ms


ACCOUNTS = (
    Account("100000000000001", "Europe/Berlin", "guide", "DE"),
    Account("100000000000002", "America/Sao_Paulo", "guide", "BR"),
    Account(
        "100000000000003",
        "Asia/Kolkata",
        "2026-10-01",
        "IN",
        _on(5),
        (("SA", _on(25)), ("ID", _on(-20))),
        (
            ("authentication", "Germany", (("1:90000", _on(2)),)),
            ("utility", "Brazil", (("1:250000", _on(3)), ("250001:MAX", _on(17, 3_600_001)))),
        ),
    ),
    Account(
        "100000000000004",
        "America/New_York",
        "2026-10-01",
        "US",
        _on(-30),
        (),
        (
            ("utility", "Germany", (("1:50000", _on(1)), ("50001:MAX", _on(21, 7_777_777)))),
            ("utility", "India", (("50001:MAX", _on(20, 1)),)),
            ("authentication", "India", (("100001:MAX", _on(12, 1)),)),
        ),
    ),
    Account("100000000000005", "Pacific/Auckland", "calendar", "NZ", _on(-60)),
)
BY_ID = {account.waba_id: account for account in ACCOUNTS}


@cache
def digits_before(country: str) -> str:
    """The digits of a mobile number there but for the last five."""
    example: Any = phonenumbers.example_number_for_type(country, phonenumbers.PhoneNumberType.MOBILE)
    return phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)[1:-5]
