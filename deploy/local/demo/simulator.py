"""Adapter to the simulator's control API, `/sim/…`: fake users, templates' reviews, the clock, Meta's own counts."""

import asyncio
from typing import Any, Final

import aiohttp

from deploy.local.demo.business import WITHIN_S, Missing

_LOOK_EVERY_S: Final = 0.02


class Simulator:
    """The fake Meta, as its control API shows it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Opens the connection pool."""
        self._http = aiohttp.ClientSession(
            base_url=self._url, raise_for_status=True, timeout=aiohttp.ClientTimeout(total=10)
        )

    async def stop(self) -> None:
        """Closes it."""
        if self._http is not None:
            await self._http.close()

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """One call of the control API; its JSON answer.

        Raises:
            aiohttp.ClientError: it refuses, or does not answer.
        """
        if self._http is None:
            raise RuntimeError("not started")
        async with self._http.request(method, path, json=body) as answer:
            return await answer.json()

    async def calls_of(self, request_id: str) -> int:
        """How many calls Meta received for a request, over all attempts."""
        ledger = await self.call("GET", "/sim/ledger?calls=0")
        return sum(
            counts["calls"]
            for command, counts in ledger["commands"].items()
            if command.rpartition("#")[0] == request_id
        )

    async def counts(self) -> dict[str, Any]:
        """What Meta itself counted: calls, accepted, delivered, and units by account, month and category."""
        counts: dict[str, Any] = (await self.call("GET", "/sim/ledger?calls=0&commands=0"))["counts"]
        return counts

    async def quiet(self, within_s: float = WITHIN_S) -> None:
        """Returns when every status has happened and every webhook was answered with 200.

        Raises:
            Missing: it goes on for longer.
        """
        try:
            async with asyncio.timeout(within_s):
                while not (await self.call("GET", "/sim/quiet"))["quiet"]:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            raise Missing("quiet simulator: a webhook is not taken", ("ingress", "simulator")) from None
