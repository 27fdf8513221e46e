"""Tells how one endpoint fares: its metrics each second, its state on the control topic when it turned, and each minute."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from services.push.control import Control
from services.push.desk import Desk
from services.push.meters import Meters
from services.push.standing import EndpointState
from services.push.wall import now_ms

log = structlog.get_logger(__name__)

_TICK_S = 1.0
_ERROR_S, _STATE_S = 5.0, 60.0
"""A new error is told after so long at the soonest, all else of the state so often."""
_IDLE_MS = 60_000
"""With nothing undelivered, all is done up to so long ago: what Kafka got just now may not have been read."""


class Reporting:
    """One endpoint at one process. `lag` gives the records of its topics that are not done, None while that is not known."""

    def __init__(
        self,
        endpoint: str,
        instance: str,
        desk: Desk[Any],
        meters: Meters,
        control: Control,
        lag: Callable[[], int | None],
    ) -> None:
        self._desk = desk
        self._meters = meters
        self._control = control
        self._lag = lag
        self._told = EndpointState(endpoint=endpoint, instance=instance, at_ms=0)
        self._error: tuple[str, int] | None = None
        self._turned = False

    def turned(self) -> None:
        """Something changed that is to be known at once."""
        self._turned = True

    def failed(self, detail: str) -> None:
        """The last error; the text holds nothing of the receiver's words."""
        self._error = detail, now_ms()

    async def run(self) -> None:
        """Tell until cancelled."""
        standing = self._control.standing.states.get(self._told.endpoint, {})
        self._told = standing.get(self._told.instance, self._told)
        while True:
            self._measure()
            if self._is_due():
                try:
                    await self._tell()
                except KafkaError as error:
                    log.warning("push_state_not_told", endpoint=self._told.endpoint, error=repr(error))
            await asyncio.sleep(_TICK_S)

    async def last_word(self, within_s: float) -> None:
        """Tell the state once more, if Kafka takes it in time."""
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(within_s):
                await self._tell()

    def _measure(self) -> None:
        desk, meters = self._desk, self._meters
        oldest_ms = desk.lanes.oldest_ms()
        meters.oldest.set(0 if oldest_ms is None else max(0, now_ms() - oldest_ms) / 1000)
        meters.breaker_open.set(desk.breaker.open)
        meters.disabled.set(not desk.enabled)
        meters.lag.set(self._lag() or 0)

    def _is_due(self) -> bool:
        since_s = (now_ms() - self._told.at_ms) / 1000
        news = self._error is not None and self._error[1] != self._told.last_error_ms
        return self._turned or since_s >= _STATE_S or (news and since_s >= _ERROR_S)

    async def _tell(self) -> None:
        desk, now = self._desk, now_ms()
        oldest_ms, done_ms = desk.lanes.oldest_ms(), self._told.told_ms
        if oldest_ms is not None:
            done_ms = oldest_ms - 1
        elif self._lag() == 0:
            done_ms = now - _IDLE_MS
        error, error_ms = self._error or (self._told.last_error, self._told.last_error_ms)
        state = EndpointState(
            endpoint=self._told.endpoint,
            instance=self._told.instance,
            at_ms=now,
            breaker="open" if desk.breaker.open else "closed",
            outages=tuple(desk.outages.past),
            outage_since_ms=desk.outages.since_ms,
            told_ms=done_ms,
            last_error=error,
            last_error_ms=error_ms,
        )
        self._turned = False
        try:
            await self._control.tell(state)
        except BaseException:
            self._turned = True
            raise
        self._told = state
