"""Adapter to billing's tallies: an account and a month in, what was counted and charged out."""

import asyncio
from collections.abc import Mapping
from urllib.parse import quote

import aiohttp
import msgspec

from services.console.tally import Tally
from shared.terminal import Unavailable

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
        url = f"{self._url}/v1/tallies/{quote(waba_id, safe='')}/{quote(month, safe='')}"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as http,
                http.get(url) as answer,
            ):
                if answer.status != 200:
                    raise TalliesUnavailable(_unanswered(f"{url} answered {answer.status}"))
                return msgspec.json.decode(await answer.read(), type=Tally)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            raise TalliesUnavailable(_unanswered(f"{url}: {error or type(error).__name__}")) from error

    async def of_months(self, months: Mapping[str, str]) -> dict[str, Tally | None]:
        """The tallies of several accounts (id → month) at once; None where billing does not answer."""
        answers = await asyncio.gather(*(self._or_none(waba, month) for waba, month in months.items()))
        return dict(zip(months, answers, strict=True))

    async def _or_none(self, waba_id: str, month: str) -> Tally | None:
        try:
            return await self.of_month(waba_id, month)
        except TalliesUnavailable:
            return None


def _unanswered(why: str) -> str:
    return f"billing does not answer (WA_TALLIES_URL): {why}"
