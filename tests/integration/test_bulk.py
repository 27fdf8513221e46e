"""The bulk topic between a real Kafka and Redis: router and sender are played by their notes, so that the test says what waits where."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import TopicPartition
from redis.asyncio import Redis

from deploy.local.stack import LocalStack
from services.ingress.intake.flow import FEWEST
from shared import kafka
from shared.backlog import Load, Note
from shared.backlog_notes import BacklogNotes
from shared.events import (
    AccountChanged,
    CancelRequested,
    RequestMalformed,
    SendRequested,
    decode_conversation_event,
    encode,
)
from shared.lifecycle import Service
from shared.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS, SEND_REQUESTS_BULK
from tests.conftest import Prefix
from tests.integration.test_ingress import PARTITIONS, Ingress, request, running, until

FULL, FREE = "106", "107"
"""A number that has more than enough to send, and one that has nothing."""
RATE = 80
PAST, FUTURE = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"


class Played:
    """Router and sender, as far as their notes tell."""

    def __init__(self, intake: Ingress, redis: Redis, namespace: str) -> None:
        self.intake = intake
        self.redis, self.namespace = redis, namespace
        self.loads = {FULL: Load(10_000, RATE)}
        self.decided: int | None = None
        """How far the router is, in every partition; None: at the end."""
        self.following: asyncio.Task[None]
        self._ends: dict[int, int] = dict.fromkeys(range(PARTITIONS), 0)

    def router(self) -> dict[int, Note]:
        return {one: Note(end if self.decided is None else self.decided) for one, end in self._ends.items()}

    def sender(self) -> dict[int, Note]:
        return {one: Note(0, self.loads) for one in range(PARTITIONS)}

    async def follow(self) -> None:
        """The router decides whatever there is."""
        name = kafka.name_of(CONVERSATION_EVENTS, self.intake.settings)
        places = [TopicPartition(name, one) for one in range(PARTITIONS)]
        reader = kafka.reader(self.intake.settings)
        await reader.start()
        try:
            while True:
                ends = await reader.end_offsets(places)
                self._ends = {place.partition: end for place, end in ends.items()}
                await asyncio.sleep(0.05)
        finally:
            await reader.stop()

    async def events(self) -> list[SendRequested | CancelRequested | RequestMalformed]:
        """What was released, in no order between partitions."""
        rows = await self.intake.records(CONVERSATION_EVENTS)
        return [decode_conversation_event(row.value) for row in rows]

    async def of(self, number: str) -> Counter[str]:
        """The released requests of a number."""
        return Counter(
            e.request_id for e in await self.events() if getattr(e, "phone_number_id", "") == number
        )

    async def noted(self) -> int:
        """How many requests intake has noted as done."""
        keys = [key async for key in self.redis.scan_iter(f"{{{self.namespace}:bulk}}:*")]
        return sum([await self.redis.bitcount(key) for key in keys])

    async def shows(self, metric: str, least: float) -> bool:
        """Whether a metric of intake's has come so far."""
        async with self.intake.http.get(f"{self.intake.probes}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        (value,) = [line for line in lines if line.startswith(f"{metric} ")]
        return float(value.split()[1]) >= least

    async def until(self, condition: Callable[[Counter[str]], bool], number: str) -> None:
        async def holds() -> bool:
            if self.following.done():
                self.following.result()  # says of what it ended
            return condition(await self.of(number))

        await until(holds)


@asynccontextmanager
async def played(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> AsyncIterator[Played]:
    redis = Redis.from_url(stack.endpoints.redis_url)
    async with running(stack, prefix, tmp_path, "ingress.intake", WA_SESSION_TIMEOUT_S="6") as intake:
        facts = [
            AccountChanged(
                event_id=id, at_ms=1, waba_id="1", subject="number", id=id, fields={"throughput": RATE}
            )
            for id in (FULL, FREE)
        ]
        await intake.produce(ACCOUNT_EVENTS, *map(encode, facts), key=b"1")
        namespace = prefix.env["WA_REDIS_NAMESPACE"]
        play = Played(intake, redis, namespace)
        service = Service("played", intake.settings)
        for group, notes in (("router", play.router), ("sender", play.sender)):
            await BacklogNotes(service, redis, namespace, group, notes).start()
        play.following = asyncio.create_task(play.follow())
        await until(lambda: play.shows("wa_account_facts_revision", 2))
        try:
            yield play
        finally:
            play.following.cancel()
            for task in asyncio.all_tasks():
                if task.get_name().endswith("backlog-notes"):
                    task.cancel()
            await redis.aclose()


def bulk(name: str, number: str, count: int) -> list[bytes]:
    return [request(f"{name}{nth}", to=f"+49151{nth:08}", **{"from": number}) for nth in range(count)]


async def test_a_number_that_is_full_holds_up_nobody_and_a_kill_costs_nothing(
    stack: LocalStack, prefix: Prefix, tmp_path: Path
) -> None:
    async with played(stack, prefix, tmp_path) as play:
        # One partition, the full number in front: nothing but the look-ahead keeps them apart.
        await play.intake.produce(
            SEND_REQUESTS_BULK, *bulk("full", FULL, 1500), *bulk("free", FREE, 600), key=b"x"
        )
        await play.until(lambda found: len(found) == 600, FREE)
        assert await play.of(FULL) == Counter()

        async def noted() -> bool:
            return await play.noted() == 600

        await until(noted)  # killed before, it may release them twice
        await play.intake.process.kill()
        await play.intake.process.start(f"{play.intake.probes}/ready")
        await play.intake.produce(SEND_REQUESTS_BULK, *bulk("late", FREE, 50), key=b"x")
        await play.until(lambda found: len(found) == 650, FREE)
        assert max((await play.of(FREE)).values()) == 1, "what was done is released twice"
        assert await play.of(FULL) == Counter()
        play.loads = {FULL: Load(5 * RATE - 40, RATE)}
        await play.until(lambda found: len(found) >= 40, FULL)
        play.loads = {}
        await play.until(lambda found: len(found) == 1500, FULL)
        assert max((await play.of(FULL)).values()) == 1


async def test_a_router_that_stands_still_is_asked_no_more_and_each_request_ends_where_it_belongs(
    stack: LocalStack, prefix: Prefix, tmp_path: Path
) -> None:
    async with played(stack, prefix, tmp_path) as play:
        await play.intake.produce(
            SEND_REQUESTS_BULK,
            request("taken-back", **{"from": FULL}),
            request("expired", **{"from": FULL, "expires_at": PAST}),
            request("tried", dry_run=True, **{"from": FULL}),
            request("malformed", tags=5, not_before_at=FUTURE, **{"from": FULL}),
            b"no json",
            json.dumps({"cancel_request_id": "taken-back", "from": FULL, "to": "+4915112345678"}).encode(),
            request("last", **{"from": FULL}),
            key=b"x",
        )

        async def said() -> bool:
            return {e.request_id for e in await play.events()} == {"expired", "tried", "malformed"}

        async def parked() -> bool:
            return len(await play.intake.records(SEND_REQUESTS_BULK.dead_letters)) > 0

        await until(said)
        await until(parked)
        (letter,) = await play.intake.records(SEND_REQUESTS_BULK.dead_letters)
        assert letter.value == b"no json"
        play.loads = {}
        await play.until(lambda found: found["last"] == 1, FULL)
        held = [e for e in await play.events() if e.request_id == "taken-back"]
        assert [type(e) for e in held] == [SendRequested, CancelRequested], "it is taken back at its own turn"

        play.decided = 0
        await play.intake.produce(SEND_REQUESTS_BULK, *bulk("free", FREE, 600), *bulk("more", FULL, 600))

        await until(lambda: play.shows("wa_bulk_undecided_requests", FEWEST))
        assert len(await play.of(FREE)) + len(await play.of(FULL)) < 1200, "the router is asked no more"
        play.decided = None
        await play.until(lambda found: sum(id.startswith("free") for id in found) == 600, FREE)
        await play.until(lambda found: sum(id.startswith("more") for id in found) == 600, FULL)
