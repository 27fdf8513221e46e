"""The edge's index on a real Redis, and the fake of the unit tests beside it: rows, news, limits, idempotency keys."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.local.stack import LocalStack
from services.ingress.edge import book
from services.ingress.edge.index import Heard, Index, StoredAnswer, news
from services.ingress.edge.waiting import Waiting
from shared.events import SendEvent
from shared.lifecycle import Service
from shared.limiter import Limit
from shared.settings import ServiceSettings
from tests.conftest import Prefix
from tests.unit.ingress.edge.test_book import ALLOW, DIGEST, OTHER, WHOLE, decision, event
from tests.unit.ingress.edge.world import MemoryIndex

KINDS = ("redis", "memory")
TAKEN = book.Taken(book.short(DIGEST), "106", "4915112345678", 1)
ENTRIES = [told[1] for told in map(book.told, WHOLE) if told is not None]


def entry_of(event: SendEvent) -> bytes:
    told = book.told(event)
    assert told is not None
    return told[1]


@pytest_asyncio.fixture
async def redis_index(stack: LocalStack, prefix: Prefix) -> AsyncIterator[Index]:
    settings = ServiceSettings(redis_url=stack.endpoints.redis_url, redis_namespace=prefix.redis)
    index = Index(settings, 8)
    yield index
    await index.stop()


@pytest.fixture(params=KINDS)
def index(request: pytest.FixtureRequest) -> Index:
    return MemoryIndex() if request.param == "memory" else request.getfixturevalue("redis_index")


async def test_a_row_begins_with_who_was_first_to_take_it(index: Index) -> None:
    assert await index.take("r1", TAKEN) == b""
    other = book.Taken(book.short(OTHER), "106", "4915112345678", 2)
    assert book.taken_by(await index.take("r1", other)) == TAKEN.digest
    await index.tell({"r1": ENTRIES}, {})
    assert book.known("r1", await index.row("r1"), DIGEST).standing == "accepted"


async def test_what_was_told_before_it_was_taken_stays_in_the_row(index: Index) -> None:
    await index.tell({"r1": ENTRIES[:1]}, {})
    before = await index.take("r1", TAKEN)
    assert book.taken_by(before) is None
    assert len(book.entries(before)) == 1
    assert [type(one) for one in book.entries(await index.row("r1"))] == [book.Taken, book.Told]


async def test_what_is_told_again_changes_nothing(index: Index) -> None:
    await index.tell({"r1": ENTRIES}, {})
    row = await index.row("r1")
    await index.tell({"r1": ENTRIES}, {})
    await index.tell({"r1": ENTRIES[2:3]}, {})
    assert await index.row("r1") == row


async def test_many_are_taken_in_their_order(index: Index) -> None:
    await index.take("b", TAKEN)
    rows = await index.take_all([("a", TAKEN), ("b", TAKEN), ("c", TAKEN)])
    assert [book.taken_by(row) for row in rows] == [None, TAKEN.digest, None]


async def test_a_received_message_is_known_by_its_id(index: Index) -> None:
    await index.tell({}, {"wamid.in": Heard("106", "US.1:2")})
    assert await index.heard("wamid.in") == Heard("106", "US.1:2")
    assert await index.heard("wamid.other") is None


async def test_a_key_is_begun_once_and_answered_the_same(index: Index) -> None:
    assert await index.begin("k", b"body", 60) is None
    assert await index.begin("k", b"other", 60) == StoredAnswer(b"body")
    await index.finish("k", StoredAnswer(b"body", 200, b"{}"), 60)
    assert await index.begin("k", b"body", 60) == StoredAnswer(b"body", 200, b"{}")
    await index.abandon("k")
    assert await index.begin("k", b"body", 60) is None


async def test_limits_let_through_what_the_limiter_does(index: Index) -> None:
    limit, due, passed = Limit(1000.0, 5), 0.0, 0
    while limit.next_allowed(due, 1.0) <= 1.0:
        due, passed = limit.taken(due, 1.0), passed + 1
    waits = [await index.passes("x", 1000.0, 5) for _ in range(7)]
    assert [wait == 0 for wait in waits] == [True] * passed + [False] * (7 - passed)
    assert 990 < waits[-1] <= 1000


async def test_many_events_at_once_are_paid_for_later(index: Index) -> None:
    assert await index.passes("x", 10.0, 5, 100) == 0
    assert 900 < await index.passes("x", 10.0, 5) <= 960


async def test_a_row_is_bounded(redis_index: Index) -> None:
    for n in range(2000):
        entry = book.entry_of(book.Told(step=4, seq=n, at_ms=n, wamid="x" * 50))
        await redis_index.tell({"r1": [entry]}, {})
    assert len(await redis_index.row("r1")) <= book.MAX_ROW_BYTES


async def test_however_often_meta_refuses_a_request_for_now_its_end_is_known(redis_index: Index) -> None:
    await redis_index.take("r1", TAKEN)
    await redis_index.tell({"r1": ENTRIES[:2]}, {})
    for n in range(1, 200):
        for told in (
            event(
                "decided", 2 * n + 1, decision=decision("defer", "refused_for_now"), id=f"r1#1:deferred:{n}"
            ),
            event("decided", 2 * n + 2, decision=ALLOW, id=f"r1#{n + 1}:decided"),
        ):
            await redis_index.tell({"r1": [entry_of(told)]}, {})
    row = await redis_index.row("r1")
    assert len(row) <= book.MAX_ROW_BYTES / 2
    assert book.taken_by(row) == TAKEN.digest
    assert book.known("r1", row, DIGEST).standing == "pending"
    await redis_index.tell({"r1": [entry_of(event("accepted", 500, id="r1#200:accepted"))]}, {})
    found = book.known("r1", await redis_index.row("r1"), DIGEST)
    assert (found.standing, found.decision) == ("accepted", ALLOW)


async def test_a_request_and_a_received_message_cost_what_the_documentation_says(redis_index: Index) -> None:
    await redis_index.take("4711-shipped-to-customer", TAKEN)
    await redis_index.tell(
        {"4711-shipped-to-customer": ENTRIES}, {"wamid.in": Heard("106540352242922", "4915112345678")}
    )
    costs = {}
    async for key in redis_index.redis.scan_iter(match=f"{redis_index.channel.removesuffix('news')}*"):
        kind = key.decode().split(":")[2]
        costs[kind] = await redis_index.redis.memory_usage(key) or 0
    told = (Path(__file__).parents[2] / "docs" / "edge.md").read_text("utf-8")
    for kind, words in (("request", "a request that was sent"), ("received", "a received message")):
        (line,) = [line for line in told.splitlines() if line.startswith(f"| {words}")]
        assert costs[kind] <= int(re.findall(r"\d+", line.replace(",", ""))[0]), (kind, costs)


async def test_news_reach_who_waits_in_any_process_and_only_of_what_was_taken_here(
    redis_index: Index,
) -> None:
    service = Service("edge", ServiceSettings())
    waitings = [Waiting(service, redis_index) for _ in range(2)]
    for waiting in waitings:
        await waiting.start()
    async with asyncio.timeout(10):
        while not all(waiting.subscribed for waiting in waitings):
            await asyncio.sleep(0.01)
        await redis_index.take("r1", TAKEN)
        with waitings[0].on("r1") as first, waitings[1].on("r1") as second, waitings[1].on("r2") as other:
            await redis_index.tell({"r2": ENTRIES[:1], "r1": ENTRIES[:2]}, {})
            assert await first.next() == await second.next() == [b"".join(ENTRIES[:2])]
            for waiting in waitings:
                await waiting.stop()
            assert await other.next() == []


def test_news_name_the_request() -> None:
    assert news(b"\x92\xa2r1\xc4\x01x") == ("r1", b"x")
