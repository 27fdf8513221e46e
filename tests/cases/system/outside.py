"""A running system as its neighbours see it: the business, Meta, operators, the clock; and whether everything has come to rest."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiokafka import TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.demo.business import Business, Missing, Told
from deploy.local.demo.caught_up import Groups
from deploy.local.demo.simulator import Simulator
from deploy.local.services import urls
from deploy.local.system import LocalSystem
from services.console.account_events import KafkaAccountEvents
from services.console.applying import Applier
from services.console.conversation_events import publish
from services.console.open_messages import Settling, Verdict
from services.console.pausing import Pause
from services.console.receivers import verified
from services.console.settling import OpenMessages, RedisIndex
from services.console.tallies import HttpTallies
from shared import kafka
from shared.clock import FileClock
from shared.events import AccountChanged, PreferenceChanged, SendEvent
from shared.settings import ServiceSettings
from shared.stream.claims import Claims
from shared.stream.fold import Claim
from shared.stream.store import Keys, connect
from shared.times import from_ms
from shared.topics import (
    ACCOUNT_EVENTS,
    CONVERSATION_EVENTS,
    SEND_COMMANDS,
    SEND_EVENTS,
    SEND_REQUESTS,
)

WITHIN_S: Final = 60.0
"""Bound of every wait: far above what a busy machine takes."""
STANDS_FOR_S: Final = 20.0
"""After so long without rest something may wait for the clock itself (a repetition after a failure): then it runs until there is rest. Far above what a busy machine takes, for a clock that ran on decides otherwise."""
_LOOK_EVERY_S: Final = 0.02
_DECIDING: Final = (SEND_REQUESTS, CONVERSATION_EVENTS, ACCOUNT_EVENTS, SEND_COMMANDS)
"""The topics on which a later decision can depend."""
_DECIDES: Final = "router"
"""The group of the stream processor whose timers decide."""
_READ_FACTS: Final = ("ingress.intake", "router", "sender")
_CLAIMS_AT_ONCE: Final = 500
_INTO_THE_MILLISECOND: Final = timedelta(microseconds=200)
"""The clock stands this far inside a millisecond, so that no rounding of a float gives the one before."""


class Outside:
    """Everything that the system's neighbours can do and see."""

    def __init__(self, system: LocalSystem, clock: FileClock) -> None:
        self._system = system
        self._clock = clock
        self.settings = ServiceSettings.model_validate(
            {name.removeprefix("WA_").lower(): value for name, value in system.settings.items()}
        )
        found = urls(system.ports)
        self.business = Business(self.settings)
        self.simulator = Simulator(found["simulator"])
        self.tallies = HttpTallies(found["tallies"])
        self._metrics = {name: found[f"metrics {name}"] for name in _READ_FACTS}
        self._known = 0
        self._facts = KafkaAccountEvents(self.settings)
        self._groups = Groups(self.settings)
        self._reader = kafka.reader(self.settings)
        self._redis = connect(self.settings)
        self._claims = Claims(self._redis, self.settings.redis_namespace)
        self._http: aiohttp.ClientSession | None = None
        self._default = asyncio.Lock()
        self.asked_only: set[str] = set()
        """Ids of dry runs: they are decided and never called out."""
        self.parked: dict[str, int] = {}
        """Ids of requests whose account the sender parks, for Meta refuses each call, and until when (epoch ms) they are worth another try."""

    async def __aenter__(self) -> Self:
        await self.business.start()
        await self.simulator.start()
        await self._groups.start()
        await self._reader.start()
        self._http = aiohttp.ClientSession(raise_for_status=True, timeout=aiohttp.ClientTimeout(total=10))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()
        await self._redis.aclose()
        await self._reader.stop()
        await self._groups.stop()
        await self.simulator.stop()
        await self.business.stop()

    # --- time

    def now_ms(self) -> int:
        """The system's time."""
        return int(self._clock.time() * 1000)

    async def move_to(self, at_ms: int) -> None:
        """Let the clock stand at a later time, and what was due by then come to rest."""
        at, now = from_ms(at_ms) + _INTO_THE_MILLISECOND, self._clock.now()
        # It may have run on meanwhile (see STANDS_FOR_S): then it stands where it has come to.
        self._clock.stand(at if at > now else now + timedelta(milliseconds=1))
        await self.at_rest()

    async def next_due_ms(self) -> int | None:
        """When Meta tells something next."""
        due = (await self._quiet())["next_due_at"]
        return None if due is None else -int(-due * 1000 // 1)

    # --- doing

    async def meta(self, method: str, path: str, body: object = None) -> Any:
        """One call of the simulator's control API; its answer."""
        return await self.simulator.call(method, path, body)

    async def set_facts(self, events: Iterable[AccountChanged]) -> None:
        """Publish account events as an operator does."""
        await self._facts.publish(list(events))

    async def take_places(self, claims: list[Claim]) -> None:
        """Put claims of others into the book."""
        for first in range(0, len(claims), _CLAIMS_AT_ONCE):
            await self._claims.ask(claims[first : first + _CLAIMS_AT_ONCE], self.now_ms(), force=True)

    async def verify(self, phone_number_id: str, user: str) -> None:
        """Do what `wam receivers verify` does."""
        await publish(self.settings, [verified(phone_number_id, user, self.now_ms())])

    async def settle(self, request_id: str, verdict: Verdict, by: str) -> None:
        """Do what `wam uncertain settle` does."""
        read = RedisIndex(self._redis, self.settings.redis_namespace, self.settings.partitions).read
        messages = OpenMessages(
            read,
            lambda words: publish(self.settings, words),
            str,
            self.settings.resent_categories,
            self._clock,
        )
        await messages.settle(Settling(request_id, verdict), by)

    async def pause(self, order: Pause) -> None:
        """Do what `wam pause` and `wam resume` do."""
        await Applier(self._facts, self._clock).pause(order)

    async def tell_preferences(self, words: Iterable[PreferenceChanged]) -> None:
        """Do what `wam preferences` does."""
        await publish(self.settings, words)

    def decisions(self, request_id: str) -> list[tuple[SendEvent, bytes]]:
        """All decisions told of a request so far, in order."""
        return [
            (told.event, told.value)
            for told in self.business.of_request(request_id, "decided")
            if isinstance(told.event, SendEvent)
        ]

    @asynccontextmanager
    async def default_being(self, yes: AccountChanged, no: AccountChanged) -> AsyncIterator[None]:
        """One account is the default one for a while; there can be only one at a time."""
        async with self._default:
            await self.set_facts([yes])
            await self.taken()
            yield
            await self.set_facts([no])
            await self.taken()

    async def ask(self, body: dict[str, Any]) -> Told:
        """Publish a send request or a cancellation and return the answer to it. Raises Missing."""
        request_id: str = body.get("request_id") or body["cancel_request_id"]
        if body.get("dry_run"):
            self.asked_only.add(request_id)
        before = len(self.business.of_request(request_id, "decided"))
        await self.business.request(body)

        def answered() -> Told | None:
            found = self.business.of_request(request_id, "decided")
            return found[before] if len(found) > before else None

        return await self.business.until(
            answered, f"decision on {request_id}", ("ingress.intake", "router"), within_s=WITHIN_S
        )

    # --- coming to rest

    async def taken(self) -> None:
        """Return when the system has taken all that Meta and operators have told so far. Raises Missing."""
        await self._until(self._is_quiet, "webhook taken by ingress", ("simulator", "ingress"))
        await self._until(self._facts_known, "account facts read by all", _READ_FACTS)

    async def at_rest(self) -> None:
        """Return when nothing that was caused up to now is under way. Raises Missing, StackError."""
        self._system.require_running()
        due = True
        while due:
            due = await self._timers_due()
            await self._until(self._no_timers_due, "timers folded that were due", ("router",))
            await self._folded()
            await self._until(self._called_out, "answer of Meta told to the business", ("sender", "router"))
            await self.taken()
            await self._folded()
            due = due or await self._timers_due()

    async def _folded(self) -> None:
        await self._groups.caught_up(_DECIDING, within_s=WITHIN_S, look_every_s=_LOOK_EVERY_S)
        await self.business.read_to_end()

    async def counted(self) -> None:
        """Return when ledger and tallies have counted everything. Raises Missing."""
        await self.at_rest()
        await self._groups.caught_up((SEND_EVENTS,), within_s=WITHIN_S)
        await self._groups.caught_up(within_s=WITHIN_S)
        await self.business.read_to_end()

    async def _until(
        self, holds: Callable[[], Awaitable[bool]], what: str, concerned: tuple[str, ...]
    ) -> None:
        began_s = time.monotonic()
        while not await holds():
            waited_s = time.monotonic() - began_s
            if waited_s > WITHIN_S:
                raise Missing(what, concerned, WITHIN_S)
            if waited_s > STANDS_FOR_S:
                self._clock.run()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _quiet(self) -> Any:
        return await self.meta("GET", "/sim/quiet?within_s=0")

    async def _is_quiet(self) -> bool:
        quiet: bool = (await self._quiet())["quiet"]
        return quiet

    async def _timers_due(self) -> bool:
        """Whether some conversation has not been told yet that its time has come."""
        pipeline = self._redis.pipeline(transaction=False)
        for partition in range(self.settings.partitions):
            keys = Keys(self.settings.redis_namespace, _DECIDES, partition)
            pipeline.zcount(keys.timers, "-inf", self.now_ms())
        return any(await pipeline.execute())

    async def _no_timers_due(self) -> bool:
        return not await self._timers_due()

    async def _called_out(self) -> bool:
        """Whether the business has heard of Meta's answer to each message that may go out, or Meta has refused it where that parks it."""
        commanded = set[str]()
        answered = set[str]()
        for event in self.business.send_events():
            if event.request_id is None or event.request_id in self.asked_only:
                continue
            if event.event in ("accepted", "failed", "uncertain", "cancelled"):
                answered.add(event.event_id.rpartition(":")[0])
            elif event.event == "resent":
                commanded.add(event.event_id.rpartition(":")[0])
            elif event.decision is not None and event.decision.outcome == "allow":
                commanded.add(event.event_id.removesuffix(":decided"))
            elif event.decision is not None and event.decision.reason == "refused_for_now":
                answered |= {id_ for id_ in commanded if id_.rpartition("#")[0] == event.request_id}
        open_ = {command.rpartition("#")[0] for command in commanded - answered}
        if not open_:
            return True
        waiting = {id_ for id_ in open_ if self.parked.get(id_, 0) > self.now_ms()}
        return waiting == open_ and await self._refused_for_good(open_)

    async def _refused_for_good(self, request_ids: set[str]) -> bool:
        """Whether each was refused, and again after the sender had told of the first refusal, which ends its park once."""
        refused: Counter[str] = Counter()
        for call in (await self.meta("GET", "/sim/ledger?commands=0"))["calls"]:
            if call["answer"]["code"] is not None:
                refused[str(call["command_id"]).rpartition("#")[0]] += 1
        return all(refused[id_] > 1 for id_ in request_ids)

    async def _facts_known(self) -> bool:
        place = TopicPartition(kafka.name_of(ACCOUNT_EVENTS, self.settings), 0)
        end = (await self._reader.end_offsets([place]))[place]
        if end > self._known and all([await self._revision(url) >= end for url in self._metrics.values()]):
            self._known = end
        return int(end) <= self._known

    async def _revision(self, url: str) -> float:
        if self._http is None:
            raise RuntimeError("not started")
        async with self._http.get(url) as answer:
            text = await answer.text()
        for family in text_string_to_metric_families(text):
            if family.name == "wa_account_facts_revision":
                return float(family.samples[0].value)
        raise Missing(f"account facts' revision at {url}", _READ_FACTS)
