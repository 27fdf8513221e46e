"""What is fetched by itself: how many at once, what is tried again, what is told, and in which order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.ingress.media.collecting import Collecting
from services.ingress.media.fetching import Fetching
from services.ingress.media.library import Library
from services.ingress.media.waiting import Backlog
from services.ingress.media.wanted import LIFE_MS, Wanted
from services.ingress.publisher import Unavailable
from services.ingress.record import Record
from shared.clock import ManualClock
from shared.events import MediaFile, UserRef
from shared.lifecycle import Service
from shared.settings import ServiceSettings
from tests.unit.ingress.media.fakes import CREDENTIALS, FakeMeta, MemoryStore, MetaFile

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
DATA = b"x" * 3000


class ListWaiting:
    """What waits, in a dict: due time and file."""

    def __init__(self, *files: Wanted) -> None:
        self.files = {file.id: (NOW_MS, file) for file in files}
        self.asked: list[tuple[int, int]] = []

    async def read_up_to(self, partition: int) -> int | None:
        return None

    async def note(
        self, partition: int, before: int | None, offset: int, files: Sequence[Wanted], now_ms: int
    ) -> bool:
        for file in files:
            self.files.setdefault(file.id, (now_ms, file))
        return True

    async def take(self, now_ms: int, until_ms: int, most: int, further: int) -> list[Wanted]:
        self.asked.append((most, further))
        due = [file for at_ms, file in self.files.values() if at_ms <= now_ms]
        taken = [file for file in due if file.tries][:further]
        taken += [file for file in due if not file.tries][: most - len(taken)]
        for file in taken:
            self.files[file.id] = (until_ms, file)
        return taken

    async def renew(self, ids: Sequence[str], until_ms: int) -> None:
        for id in ids:
            self.files[id] = (until_ms, self.files[id][1])

    async def again(self, file: Wanted, due_ms: int) -> None:
        self.files[file.id] = (due_ms, file)

    async def done(self, id: str) -> None:
        del self.files[id]

    async def backlog(self) -> Backlog:
        return Backlog(len(self.files), None)


class Kafka:
    """Keeps what is told; refuses while `away`."""

    def __init__(self) -> None:
        self.taking = True
        self.away = False
        self.refused = 0
        self.records: list[Record] = []

    async def publish(self, records: Sequence[Record]) -> None:
        if self.away:
            self.refused += 1
            raise Unavailable("away")
        self.records += records

    def told(self) -> list[MediaFile]:
        return [msgspec.json.decode(record.value, type=MediaFile) for record in self.records]


class Slow(FakeMeta):
    """Lets nobody download before `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.begun: list[str] = []

    async def describe(self, place: Any, credentials: Any) -> Any:
        self.begun.append(place.key)
        await self.go.wait()
        return await super().describe(place, credentials)


class World:
    """A collecting with all that it touches."""

    def __init__(self, *files: Wanted, meta: FakeMeta | None = None, at_once: int = 4) -> None:
        self.meta, self.clock, self.kafka = meta or FakeMeta(), ManualClock(NOW), Kafka()
        self.waiting = ListWaiting(*files)
        service = Service("media", ServiceSettings())
        fetching = Fetching(
            Library(MemoryStore()), self.meta, lambda _: CREDENTIALS, lambda _: 10_000, self.clock, 5
        )
        self.collecting = Collecting(
            service, self.waiting, fetching, self.kafka, self.clock, at_once=at_once, lease_s=30
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.01)

    async def run(
        self, condition: Callable[[], bool], before: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        await self.collecting.start()
        try:
            if before is not None:
                await before()
            await self.until(condition)
        finally:
            await self.collecting.stop()


def wanted(key: str, **more: Any) -> Wanted:
    fields: dict[str, Any] = {
        "id": f"wamid.{key}:0", "channel": "whatsapp", "number": "106", "key": key, "user": UserRef(user_id="4915"),
        "wamid": f"wamid.{key}", "kind": "image", "received_ms": NOW_MS, "media_id": key,
    }  # fmt: skip
    return Wanted(**fields | more)


async def test_a_stored_file_is_told_under_its_conversation_and_forgotten() -> None:
    world = World(wanted("7"))
    world.meta.files["7"] = MetaFile(DATA)
    await world.run(lambda: not world.waiting.files)
    (event,) = world.kafka.told()
    assert (event.event_id, event.event, event.bytes) == ("wamid.7:0:stored", "stored", len(DATA))
    (record,) = world.kafka.records
    assert record.key == b"106:4915"
    assert dict(record.headers)["ce_id"] == b"wamid.7:0:stored"


async def test_what_kafka_has_not_taken_is_not_forgotten() -> None:
    world = World(wanted("7"))
    world.meta.files["7"] = MetaFile(DATA)
    world.kafka.away = True
    await world.run(lambda: bool(world.kafka.refused))
    assert list(world.waiting.files) == ["wamid.7:0"]
    assert world.kafka.records == []


async def test_a_file_that_breaks_off_waits_and_comes_later() -> None:
    world = World(wanted("7"))
    world.meta.files["7"] = MetaFile(DATA, breaks_off=1)
    await world.run(lambda: world.waiting.files["wamid.7:0"][1].tries == 1)
    assert world.waiting.files["wamid.7:0"][0] == NOW_MS + 5_000
    assert world.kafka.records == []
    world.clock.advance(5)
    await world.run(lambda: not world.waiting.files)
    assert [event.event for event in world.kafka.told()] == ["stored"]


async def test_a_file_that_is_gone_is_told_at_once_and_one_that_never_comes_after_seven_days() -> None:
    world = World(wanted("gone"), wanted("late", received_ms=NOW_MS - LIFE_MS))
    world.meta.files["late"] = MetaFile(DATA, breaks_off=1)
    await world.run(lambda: not world.waiting.files)
    assert {event.wamid: event.reason for event in world.kafka.told()} == {
        "wamid.gone": "gone",
        "wamid.late": "expired",
    }


async def test_files_that_failed_before_never_take_more_than_half_of_the_places() -> None:
    meta = Slow()
    tried = [wanted(f"t{n}", tries=3) for n in range(10)]
    world = World(*tried, meta=meta, at_once=4)

    async def then_new_ones_come() -> None:
        await world.until(lambda: len(meta.begun) == 2)
        await world.waiting.note(0, None, 1, [wanted(f"n{n}") for n in range(10)], NOW_MS)

    await world.run(lambda: len(meta.begun) >= 4, then_new_ones_come)
    assert sorted(key[0] for key in meta.begun) == ["n", "n", "t", "t"]
    assert max(most for most, _ in world.waiting.asked) == 4


async def test_what_is_under_way_at_a_stop_is_left_to_the_next_process() -> None:
    meta = Slow()
    world = World(wanted("7"), meta=meta)
    await world.run(lambda: bool(meta.begun))
    assert list(world.waiting.files) == ["wamid.7:0"]
    assert world.kafka.records == []
