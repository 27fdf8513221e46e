"""Adapter to billing's tallies: an account and a month in, what was counted and charged out."""

import asyncio
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from services.console.tally import DayLine, Month, Tally
from shared.terminal import Unavailable

TIMEOUT_S = 2.0
"""The page is not worth waiting longer for."""


class TalliesUnavailable(Unavailable):
    """Billing does not answer, or not with a tally."""


class UnknownAccount(Exception):
    """Billing knows no account of this id."""


class _Days(msgspec.Struct):
    days: list[DayLine]


T = TypeVar("T")


class HttpTallies:
    """Asks the tallies process over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    async def of_month(self, waba_id: str, month: str) -> Tally:
        """One account's tally of a month.

        Raises:
            TalliesUnavailable: no answer within `TIMEOUT_S`, or not a tally.
            UnknownAccount: nobody set the account up, and nothing was counted of it.
        """
        return await self._asked(_path(waba_id, month), Tally)

    async def days_of(self, waba_id: str, month: str) -> list[DayLine]:
        """The days of one account's month; raises as `of_month`."""
        return (await self._asked(f"{_path(waba_id, month)}/days", _Days)).days

    async def of_months(self, months: Mapping[str, str]) -> dict[str, Month | None]:
        """The months of several accounts (id → month) at once; None where billing does not answer."""
        answers = await asyncio.gather(*(self._or_none(waba, month) for waba, month in months.items()))
        return dict(zip(months, answers, strict=True))

    async def _asked(self, path: str, kind: type[T]) -> T:
        url = f"{self._url}{path}"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as http,
                http.get(url) as answer,
            ):
                if answer.status == 404 and b'"unknown_account"' in (body := await answer.read()):
                    raise UnknownAccount(msgspec.json.decode(body)["error"]["message"])
                if answer.status != 200:
                    raise TalliesUnavailable(_unanswered(f"{url} answered {answer.status}"))
                return msgspec.json.decode(await answer.read(), type=kind)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            raise TalliesUnavailable(_unanswered(f"{url}: {error or type(error).__name__}")) from error

    async def _or_none(self, waba_id: str, month: str) -> Month | None:
        try:
            return Month(*await asyncio.gather(self.of_month(waba_id, month), self.days_of(waba_id, month)))
        except (TalliesUnavailable, UnknownAccount):
            return None


def _path(waba_id: str, month: str) -> str:
    return f"/v1/tallies/{quote(waba_id, safe='')}/{quote(month, safe='')}"


def _unanswered(why: str) -> str:
    return f"billing does not answer (WA_TALLIES_URL): {why}"
