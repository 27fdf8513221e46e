"""The edge without Kafka and Redis: its application on a real port, with an index in memory and a router that tests play themselves."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from redis.exceptions import ConnectionError as RedisGone

from services.ingress.edge import book
from services.ingress.edge.application import application
from services.ingress.edge.callers import Callers
from services.ingress.edge.door import Door
from services.ingress.edge.index import Heard, Index, StoredAnswer
from services.ingress.edge.listener import Listener
from services.ingress.edge.messages import Messages
from services.ingress.edge.passing import Passing
from services.ingress.edge.requests_api import Requests
from services.ingress.edge.sending import Sending
from services.ingress.edge.settings import EdgeSettings
from services.ingress.edge.token_file import digest_of
from services.ingress.edge.waiting import Waiting
from services.ingress.publisher import Unavailable
from services.ingress.record import Record
from shared.accounts import AccountFacts
from shared.events import AccountChanged, SendEvent, SendRequested, decode_conversation_event
from shared.graph_calls import GraphCalls
from shared.lifecycle import Service
from shared.limiter import Limit
from shared.settings import ServiceSettings
from shared.tokens import Tokens

NOW_MS = 1_790_000_000_000
NUMBER, FOREIGN, WABA = "106", "999", "55"
TOKENS = [
    {
        "name": "shop",
        "sha256": digest_of("shop-token"),
        "numbers": [NUMBER],
        "rate": 1000,
        "scopes": ["send", "read"],
    },
    {"name": "slow", "sha256": digest_of("slow-token"), "accounts": [WABA], "rate": 0.1, "burst": 2},
    {"name": "reader", "sha256": digest_of("reader-token"), "accounts": [WABA], "scopes": ["read"]},
    {
        "name": "manager",
        "sha256": digest_of("manager-token"),
        "accounts": [WABA],
        "rate": 1000,
        "burst": 1000,
        "scopes": ["read", "manage"],
    },
    {"name": "other", "sha256": digest_of("other-token"), "numbers": [FOREIGN]},
]


class MemoryIndex(Index):
    """The index of one process, without Redis; `gone` is a Redis that does not answer."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.received: dict[str, Heard] = {}
        self.due: dict[str, float] = {}
        self.closed: dict[str, float] = {}
        self.answers: dict[str, StoredAnswer] = {}
        self.owners: dict[str, str] = {}
        self.gone = False

    async def take(self, name: str, taken: book.Taken) -> bytes:
        if self.gone:
            raise RedisGone("no Redis")
        row = self.rows.get(name, b"")
        if book.taken_by(row) is None:
            self.rows[name] = book.entry_of(taken) + row
        return row

    async def take_all(self, taken: Sequence[tuple[str, book.Taken]]) -> list[bytes]:
        return [await self.take(name, entry) for name, entry in taken]

    async def row(self, name: str) -> bytes:
        return self.rows.get(name, b"")

    async def tell(self, told: Mapping[str, Sequence[bytes]], heard: Mapping[str, Heard]) -> None:
        for name, entries in told.items():
            for entry in entries:
                if entry not in self.rows.get(name, b""):
                    self.rows[name] = self.rows.get(name, b"") + entry
        self.received.update(heard)

    async def heard(self, wamid: str) -> Heard | None:
        return self.received.get(wamid)

    async def passes(self, what: str, interval_s: float, burst: int, events: int = 1) -> float:
        if self.gone:
            raise RedisGone("no Redis")
        limit, now = Limit(interval_s, burst), time.monotonic()
        wait = limit.next_allowed(self.due.get(what, 0), now) - now
        if wait <= 0:
            for _ in range(events):
                self.due[what] = limit.taken(self.due.get(what, 0), now)
        return wait

    async def shut(self, what: str, seconds: float) -> None:
        self.closed[what] = seconds

    async def shut_for(self, *whats: str) -> float:
        return max(self.closed.get(what, 0) for what in whats)

    async def own(self, template_id: str, waba_id: str) -> None:
        self.owners[template_id] = waba_id

    async def owner(self, template_id: str) -> str | None:
        return self.owners.get(template_id)

    async def begin(self, key: str, body: bytes, lease_s: float) -> StoredAnswer | None:
        before = self.answers.get(key)
        self.answers.setdefault(key, StoredAnswer(body))
        return before

    async def finish(self, key: str, answer: StoredAnswer, keep_s: float) -> None:
        self.answers[key] = answer

    async def abandon(self, key: str) -> None:
        del self.answers[key]


class FakePublisher:
    """Keeps what it is given; refuses when told to."""

    def __init__(self) -> None:
        self.taking = True
        self.records: list[Record] = []
        self.came = asyncio.Event()

    async def publish(self, records: Sequence[Record]) -> None:
        if not self.taking:
            raise Unavailable("Kafka does not take records")
        self.records.extend(records)
        self.came.set()


@dataclass
class World:
    """A running edge and a session of the shop's."""

    index: MemoryIndex
    publisher: FakePublisher
    waiting: Waiting
    door: Door
    listener: Listener
    http: aiohttp.ClientSession
    facts: AccountFacts
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.port}"

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str = "shop-token", **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        """One call; its status, JSON and headers."""
        given = {
            "Authorization": f"Bearer {token}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self.http.request(method, self.url + path, data=data, headers=given) as answer:
            return answer.status, json.loads(await answer.read()), answer.headers

    async def asked(self, count: int = 1) -> list[SendRequested]:
        """The requests that were published, once there are so many."""
        async with asyncio.timeout(10):
            while len(self.publisher.records) < count:
                self.publisher.came.clear()
                await self.publisher.came.wait()
        events = [decode_conversation_event(record.value) for record in self.publisher.records]
        return [event for event in events if isinstance(event, SendRequested)]

    async def tell(self, *events: SendEvent) -> None:
        """What the router tells, as the index and who waits hear it."""
        for event in events:
            told = book.told(event)
            assert told is not None
            name, entry = told
            await self.index.tell({name: [entry]}, {})
            self.waiting.tell(name, entry)

    async def raw(self, request: bytes) -> bytes:
        """Write bytes as they are; all that comes until the other side closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        writer.write(request)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer


@asynccontextmanager
async def world(
    tmp_path: Path, *, graph_url: str = "http://127.0.0.1:9", **changed: Any
) -> AsyncIterator[World]:
    """An edge that waits 5 s for the router, takes bodies for 0.3 s and heads for 0.3 s."""
    file = tmp_path / "tokens.yaml"
    file.write_text(yaml.safe_dump({"tokens": TOKENS}))
    options = {"edge_wait_s": 5, "edge_body_timeout_s": 0.3, "graph_url": graph_url, **changed}
    settings = EdgeSettings(edge_tokens_file=file, **options)
    facts = AccountFacts()
    fact = AccountChanged(
        event_id="n", at_ms=1, waba_id=WABA, subject="number", id=NUMBER, fields={"default": True}
    )
    facts.apply(fact, 1)
    index, publisher = MemoryIndex(), FakePublisher()
    waiting = Waiting(Service("edge", ServiceSettings()), index)
    callers = Callers(file, lambda: facts)
    door = Door(callers, index, lambda code: f"title of {code}", settings.edge_max_in_flight)
    sending = Sending(publisher, index, waiting)
    calls = GraphCalls.of(settings)
    await calls.start()
    app = application(
        door,
        Messages(settings, callers, sending, index, lambda: NOW_MS),
        Requests(settings, callers, sending, index, door, lambda: NOW_MS, lambda code: f"title of {code}"),
        Passing(settings, callers, index, calls, Tokens(settings.access_token, None), lambda: facts),
    )
    listener = Listener(app, "127.0.0.1", 0, reuse_port=False, drain_s=5, head_s=0.3)
    await listener.start()
    async with aiohttp.ClientSession() as http:
        yield World(index, publisher, waiting, door, listener, http, facts)
    await listener.stop()
    await calls.stop()
