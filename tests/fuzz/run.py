"""Bodies through the handler, in this process or over a socket, and what came of each."""

import asyncio
import hmac
import json
import logging
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog
from aiohttp import HttpVersion11

from services.ingress.apps import App
from services.ingress.connections import ConnectionLimits
from services.ingress.http import Listener
from services.ingress.record import Record
from services.ingress.routes import Limits, Webhooks
from shared.clock import ManualClock
from tests.fuzz.judge import least
from tests.fuzz.mutate import Mutator

FIXTURES = Path(__file__).parents[1] / "fixtures" / "webhooks"
APP = App("fuzz", (b"fuzz-secret",), b"token")
NOW = datetime(2026, 11, 26, tzinfo=UTC)
_HANG_S = 5.0
_SLOW_S = 1.0
"""Of processor time: no body of a few kilobytes may take so long."""
_KEPT_FAILURES = 20
_NOWHERE = Path("/dev/null").open("w", encoding="ascii")  # noqa: SIM115 as long as the process


@dataclass
class Tally:
    """What came of the bodies of one worker."""

    bodies: int = 0
    bytes: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    published: int = 0
    parked: int = 0
    slowest_ms: float = 0.0
    memory_growth_mb: float = 0.0
    """Of the process's peak, after the first tenth of the bodies."""
    failures: list[tuple[int, str]] = field(default_factory=list)
    """(which body, what was wrong with its treatment), the first 20."""
    failed: int = 0

    def fail(self, index: int, why: str) -> None:
        self.failed += 1
        if len(self.failures) < _KEPT_FAILURES:
            self.failures.append((index, why))

    def add(self, other: "Tally") -> None:
        """Count another one's in."""
        self.bodies += other.bodies
        self.bytes += other.bytes
        self.statuses += other.statuses
        self.published += other.published
        self.parked += other.parked
        self.slowest_ms = max(self.slowest_ms, other.slowest_ms)
        self.memory_growth_mb = max(self.memory_growth_mb, other.memory_growth_mb)
        self.failures = (self.failures + other.failures)[:_KEPT_FAILURES]
        self.failed += other.failed

    def as_json(self) -> dict[str, object]:
        """As in the report."""
        return vars(self) | {"statuses": {str(status): n for status, n in sorted(self.statuses.items())}}


def mutator(seed: int) -> Mutator:
    """Of all fixtures."""
    return Mutator([json.loads(path.read_text())["body"] for path in sorted(FIXTURES.glob("*.json"))], seed)


class Kept:
    """Takes records as Kafka would."""

    taking = True

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def publish(self, records: Sequence[Record]) -> None:
        self.records += records


class _Content:
    """A body that has come whole."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def is_eof(self) -> bool:
        return True

    def read_nowait(self, _: int) -> bytes:
        return self._body


def through_the_handler(seed: int, first: int, count: int) -> Tally:
    """Bodies `first` to `first + count`, each signed, through `Webhooks.receive`."""
    _quiet()
    signal.signal(signal.SIGALRM, _hung)
    with asyncio.Runner() as runner:
        return runner.run(_through_the_handler(mutator(seed), range(first, first + count)))


async def _through_the_handler(bodies: Mutator, indexes: range) -> Tally:
    tally, kept = Tally(), Kept()
    webhooks = Webhooks(kept, ManualClock(NOW))
    settled_kb = 0
    for nth, index in enumerate(indexes):
        body = bodies.body(index)
        request: Any = SimpleNamespace(
            headers={"X-Hub-Signature-256": signature(body)},
            content=_Content(body),
            content_length=len(body),
            protocol=None,
            version=HttpVersion11,
            keep_alive=True,
            transport=None,
        )
        signal.setitimer(signal.ITIMER_REAL, _HANG_S)
        began = time.process_time()
        try:
            status = (await webhooks.receive(request, APP)).status
        except Exception as error:  # noqa: BLE001 whatever it is, it is what is looked for
            tally.fail(index, repr(error))
            status = 500
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        took_s = time.process_time() - began
        if took_s > _SLOW_S:
            tally.fail(index, f"took {took_s:.1f} s")
        tally.slowest_ms = max(tally.slowest_ms, took_s * 1000)
        _judge(tally, index, body, status, kept)
        if nth == len(indexes) // 10:
            settled_kb = _peak_kb()
    tally.memory_growth_mb = round((_peak_kb() - settled_kb) / 1024, 1)
    return tally


def _judge(tally: Tally, index: int, body: bytes, status: int, kept: Kept) -> None:
    """Refused with 4xx and nothing published, or 200 and everything on a topic."""
    records, kept.records = kept.records, []
    tally.bodies += 1
    tally.bytes += len(body)
    tally.statuses[status] += 1
    parked = sum(record.topic.name.endswith(".dlq") for record in records)
    tally.parked += parked
    tally.published += len(records) - parked
    if status not in (200, 400, 404, 413):
        tally.fail(index, f"answered with {status}")
    elif status != 200 and records:
        tally.fail(index, f"{status}, but {len(records)} records published")
    elif status == 200 and len(records) < (wanted := least(body, _places(records))):
        tally.fail(index, f"{len(records)} records, of {wanted} updates at least")


def _places(records: Sequence[Record]) -> set[str]:
    """Where in the body the dead letters stood."""
    sources = (dict(record.headers).get("dlq-source", b"").decode() for record in records)
    return {source.removeprefix("webhook:") for source in sources}


async def over_a_socket(seed: int, first: int, count: int, connections: int = 16) -> Tally:
    """Bodies over real connections, kept alive, each request in pieces cut at random."""
    _quiet()
    tally, kept, bodies = Tally(), Kept(), mutator(seed)
    webhooks = Webhooks(kept, ManualClock(NOW), Limits())
    limits = ConnectionLimits()
    listener = Listener(
        webhooks, {"/webhooks": APP}.get, "127.0.0.1", 0, reuse_port=False, drain_s=5, limits=limits
    )
    await listener.start()
    indexes = iter(range(first, first + count))

    async def post() -> None:
        chance = random.Random(seed)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        for index in indexes:
            body = bodies.body(index)
            request = (
                b"POST /webhooks HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: %s\r\nContent-Length: %d\r\n\r\n"
                % (signature(body).encode(), len(body))
            ) + body
            cut = chance.randint(0, len(request))
            writer.write(request[:cut])
            if chance.random() < 0.2:
                await writer.drain()
            writer.write(request[cut:])
            try:
                async with asyncio.timeout(_HANG_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            except (TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
                tally.fail(index, f"no answer: {error!r}")
                return
            tally.bodies += 1
            tally.bytes += len(body)
            tally.statuses[int(head.split()[1])] += 1
            if int(head.split()[1]) not in (200, 400, 404, 413):
                tally.fail(index, f"answered with {head.split()[1].decode()}")
        writer.close()

    await asyncio.gather(*(post() for _ in range(connections)))
    await listener.stop()
    tally.parked = sum(record.topic.name.endswith(".dlq") for record in kept.records)
    tally.published = len(kept.records) - tally.parked
    return tally


def signature(body: bytes) -> str:
    """As Meta signs."""
    return "sha256=" + hmac.digest(APP.secrets[0], body, "sha256").hex()


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _hung(*_: object) -> None:
    raise TimeoutError(f"hangs for over {_HANG_S} s")


def _quiet() -> None:
    """Log lines are made, for that can fail too, and written to nowhere."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(file=_NOWHERE),
        cache_logger_on_first_use=False,
    )
