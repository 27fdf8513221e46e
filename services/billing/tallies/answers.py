"""What the tallies answer over HTTP: the closed set of errors, the queries' answers, and how complete they are. Pure."""

from typing import Literal

import msgspec

from services.billing.free_tier import FreeTierOfMonth
from services.billing.tally_sums import SpendLine, TallyRow, Totals

ErrorCode = Literal[
    "invalid_month",
    "invalid_day",
    "unknown_account",
    "hours_dropped",
    "unknown_path",
    "method_not_allowed",
    "unavailable",
]


class Problem(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    code: ErrorCode
    message: str


class Failed(msgspec.Struct, frozen=True):
    """Every answer that is not 200."""

    error: Problem


class AsOf(msgspec.Struct, frozen=True):
    """How far the ledger is counted in an answer.

    `waiting` entries were in the ledger at `at` (RFC 3339 UTC) and may not be in the answer yet; 0: all are. Null: Kafka could not be asked.
    """

    at: str
    waiting: int | None


class AccountMonths(msgspec.Struct, frozen=True):
    """The months of an account of which something was counted, in order."""

    waba_id: str
    months: list[str]


class KnownAccounts(msgspec.Struct, frozen=True):
    """All accounts of which something was counted."""

    as_of: AsOf
    accounts: list[AccountMonths]


class OfMonth(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer about an account's month begins with."""

    waba_id: str
    month: str
    as_of: AsOf


class MonthAnswer(OfMonth, frozen=True, kw_only=True):
    """An account's month: each line, the totals by category, and the free tier (null where the month's regime has none)."""

    rows: list[TallyRow]
    totals: dict[str, Totals]
    free_tier: FreeTierOfMonth | None


class DaysAnswer(OfMonth, frozen=True, kw_only=True):
    """The days of an account's month, by category; `hour` is null."""

    days: list[SpendLine]


class HoursAnswer(OfMonth, frozen=True, kw_only=True):
    """The UTC hours of one day of an account, by category."""

    day: str
    hours: list[SpendLine]


class FreeTierAnswer(OfMonth, frozen=True, kw_only=True):
    """The free tier of an account's month; null where the month's regime has none."""

    free_tier: FreeTierOfMonth | None
