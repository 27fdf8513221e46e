"""Adapter to Meta's analytics: an account's month asked for in pieces, each retried; the answers as they came.

Source: Meta, Graph API, WhatsApp Business Account, pricing_analytics and conversation_analytics.
"""

import json
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

import tenacity

from services.billing.reconciliation.analytics import fields_of, ranges
from shared.error_table import ErrorTable
from shared.graph_calls import GraphCalls, GraphFailure, GraphRefused
from shared.pricing import Unit
from shared.tokens import Credentials

CHUNK_DAYS = 7
"""One answer of a busy account stays below a few megabytes: a point for each number, country, category and tier of a day."""
MOST_TRIES = 6
LONGEST_WAIT_S = 30.0


class AnalyticsAtMeta:
    """Asks for analytics; what it asks changes nothing, so everything may be asked again.

    Args:
        first_wait_s: the longest wait before the first repetition; the longest doubles each time.
    """

    def __init__(self, calls: GraphCalls, table: ErrorTable, *, first_wait_s: float = 1.0) -> None:
        self._calls = calls
        self._table = table
        self._first_wait_s = first_wait_s

    async def of_account(
        self,
        waba_id: str,
        units: Iterable[Unit],
        days: tuple[date, date],
        timezone: str,
        credentials: Credentials,
    ) -> list[dict[str, Any]]:
        """The nodes that Meta answers for the days (first and last included). Raises GraphFailure."""
        return [
            await self._ask(waba_id, fields_of(unit, start, end), credentials)
            for unit in units
            for start, end in ranges(days, CHUNK_DAYS, timezone)
        ]

    async def _ask(self, waba_id: str, fields: str, credentials: Credentials) -> dict[str, Any]:
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(self._may_pass_later),
            wait=tenacity.wait_random_exponential(self._first_wait_s, LONGEST_WAIT_S),
            stop=tenacity.stop_after_attempt(MOST_TRIES),
            reraise=True,
        ):
            with attempt:
                raw, _, _ = await self._calls.call("GET", waba_id, credentials, query={"fields": fields})
        node: dict[str, Any] = json.loads(raw, parse_float=Decimal)
        return {"id": waba_id} | node

    def _may_pass_later(self, failure: BaseException) -> bool:
        if isinstance(failure, GraphRefused):
            verdict = self._table.verdict_on(failure.answer)
            return verdict.retryable or verdict.action == "uncertain"
        return isinstance(failure, GraphFailure)
