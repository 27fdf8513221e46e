"""Adapter to billing's tallies: an account and a month in; what was counted and charged, and what it will come to, out."""

import asyncio
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from services.console.outlook import Outlook, Outlooks
from services.console.tally import Tally
from shared.terminal import Unavailable

T = TypeVar("T")
TIMEOUT_S = 2.0
"""The page is not worth waiting longer for."""


class TalliesUnavailable(Unavailable):
    """Billing does not answer, or not with a tally."""


class HttpTallies:
    """Asks the tallies process over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    async def of_month(self, waba_id: str, month: str) -> Tally:
        """One account's tally of a month.

        Raises:
            TalliesUnavailable: no answer within `TIMEOUT_S`, or not a tally.
        """
        found = await self._get(f"/v1/tallies/{quote(waba_id, safe='')}/{quote(month, safe='')}", Tally)
        if found is None:
            raise TalliesUnavailable(_unanswered(f"{self._url} knows no tallies"))
        return found

    async def of_months(self, months: Mapping[str, str]) -> dict[str, Tally | None]:
        """The tallies of several accounts (id → month) at once; None where billing does not answer."""
        answers = await asyncio.gather(*(self._or_none(waba, month) for waba, month in months.items()))
        return dict(zip(months, answers, strict=True))

    async def outlook(self, waba_id: str) -> Outlook | None:
        """What an account's month will come to; None where no such account is set up.

        Raises:
            TalliesUnavailable: no answer within `TIMEOUT_S`, or not an outlook.
        """
        return await self._get(f"/v1/forecasts/{quote(waba_id, safe='')}", Outlook)

    async def outlooks(self) -> Outlooks:
        """Those of all accounts; raises as `outlook`."""
        found = await self._get("/v1/forecasts", Outlooks)
        if found is None:
            raise TalliesUnavailable(_unanswered(f"{self._url} knows no forecasts"))
        return found

    async def of_this_month(self) -> dict[str, Outlook]:
        """The same by account; nothing where billing does not answer."""
        try:
            return {outlook.waba_id: outlook for outlook in (await self.outlooks()).accounts}
        except TalliesUnavailable:
            return {}

    async def _get(self, path: str, kind: type[T]) -> T | None:
        """The answer to a question; None for 404."""
        url = f"{self._url}{path}"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as http,
                http.get(url) as answer,
            ):
                if answer.status == 404:
                    return None
                if answer.status != 200:
                    raise TalliesUnavailable(_unanswered(f"{url} answered {answer.status}"))
                return msgspec.json.decode(await answer.read(), type=kind)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            raise TalliesUnavailable(_unanswered(f"{url}: {error or type(error).__name__}")) from error

    async def _or_none(self, waba_id: str, month: str) -> Tally | None:
        try:
            return await self.of_month(waba_id, month)
        except TalliesUnavailable:
            return None


def _unanswered(why: str) -> str:
    return f"billing does not answer (WA_TALLIES_URL): {why}"
