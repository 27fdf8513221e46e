"""Polls Meta for every known account, again and again, and publishes what differs from the facts.

Two consoles that poll do no harm: what one has published is no difference to the other.
"""

import asyncio
import random
from collections.abc import Callable

import structlog
from aiokafka.errors import KafkaError

from services.console.applying import AccountEvents
from services.console.asking import Answers, Meta, ask
from services.console.polled import difference
from shared.account_tokens import NoToken
from shared.accounts import AccountFacts
from shared.clock import Clock
from shared.error_table import ErrorTable
from shared.graph_calls import GraphRefused
from shared.lifecycle import Service
from shared.metrics import POLLS
from shared.tokens import Tokens

log = structlog.get_logger(__name__)

TICK_S = 0.5
"""How often the clock is looked at: it may be moved."""
JITTER = 0.1
"""A period is so much shorter or longer, by chance: consoles that started together do not stay together."""
BELIEVED_PERIODS = 2.0
"""A payment that Meta can't charge is believed for so many periods: the next poll renews it, one poll that fails does not lift it."""
SPARING_PERCENT = 50.0
"""From this use of an account's hourly allowance on, which others draw on too, every other poll is left out."""
_APP_WIDE = frozenset({"app", "platform"})


class Poller:
    """A part that asks about one account at a time."""

    def __init__(
        self,
        service: Service,
        *,
        meta: Meta,
        tokens: Tokens,
        table: ErrorTable,
        events: AccountEvents,
        facts: Callable[[], AccountFacts],
        clock: Clock,
        period_s: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._service = service
        self._meta = meta
        self._tokens = tokens
        self._table = table
        self._events = events
        self._facts = facts
        self._clock = clock
        self._period_s = period_s
        self._chance = chance
        self._due: dict[str, float] = {}
        self._all_wait_until = 0.0
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._polling = self._service.spawn(self._run(), "polling")

    async def stop(self) -> None:
        if self._polling is not None:
            self._polling.cancel()

    async def _run(self) -> None:
        while True:
            await self.round()
            await asyncio.sleep(TICK_S)

    async def round(self) -> None:
        """Poll what is due."""
        for waba_id in self._facts().accounts():
            now = self._clock.time()
            if now < self._all_wait_until:
                return
            account = self._facts().account(waba_id)
            if account is None or account.status == "deleted" or now < self._due.get(waba_id, 0):
                continue
            wait_s = await self._poll(waba_id)
            self._due[waba_id] = now + next_poll_s(self._period_s, self._chance(), wait_s)

    async def _poll(self, waba_id: str) -> float:
        """Poll one account; how many seconds more than a period Meta wants to be left alone."""
        try:
            answers = await ask(self._meta, self._tokens, self._facts(), waba_id, self._clock)
        except NoToken as error:
            POLLS.labels("no_token").inc()
            log.warning("not_polled", waba_id=waba_id, error=str(error))
            return 0.0
        plan = difference(
            answers.snapshot, self._facts(), int(BELIEVED_PERIODS * (1 + JITTER) * self._period_s * 1000)
        )
        try:
            if plan.events:
                await self._events.publish(plan.events)
        except KafkaError as error:
            POLLS.labels("unavailable").inc()
            log.error("polled_facts_not_published", waba_id=waba_id, error=repr(error))
            return 0.0
        if answers.failure is not None:
            return self._failed(waba_id, answers)
        POLLS.labels("ok").inc()
        log.info("polled", waba_id=waba_id, events=len(plan.events), used_percent=answers.used_percent)
        if answers.regain_s is not None:
            return answers.regain_s
        return self._period_s if answers.used_percent >= SPARING_PERCENT else 0.0

    def _failed(self, waba_id: str, answers: Answers) -> float:
        """Count and log; what the code means, and for how long, is the error table's to say."""
        failure = answers.failure
        if not isinstance(failure, GraphRefused):
            POLLS.labels("unavailable").inc()
            log.warning("poll_unanswered", waba_id=waba_id, error=str(failure))
            return 0.0
        POLLS.labels("refused").inc()
        refusal = failure.answer
        verdict = self._table.verdict_on(refusal)
        wait_s = max(refusal.regain_s or 0.0, verdict.delay_s or 0.0)
        if verdict.scope in _APP_WIDE:
            self._all_wait_until = self._clock.time() + wait_s
        log.warning(
            "poll_refused",
            waba_id=waba_id,
            code=refusal.code,
            reason=verdict.reason,
            error=refusal.text,
            hint=verdict.hint,
            wait_s=wait_s,
        )
        return wait_s


def next_poll_s(period_s: float, chance: float, wait_s: float) -> float:
    """Seconds from one poll to the next: a period with its jitter (`chance` in 0..1), after what Meta wants to be left alone for."""
    return period_s * (1 + JITTER * (2 * chance - 1)) + wait_s
