"""From a wanted file to the file in the store: once, whole, and what Meta announced."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from services.ingress.media.checked import Checked
from services.ingress.media.failures import NotFetched
from services.ingress.media.fetching import Fetching
from services.ingress.media.library import Library
from services.ingress.media.place import Place
from services.ingress.media.wanted import Wanted
from shared.clock import ManualClock, SystemClock
from shared.events import UserRef
from shared.tokens import Credentials
from tests.unit.ingress.media.fakes import CREDENTIALS, FakeMeta, MemoryStore, MetaFile, sha_base64

DATA = bytes(range(256)) * 20
NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)


class World:
    """A fetching with all that it touches."""

    def __init__(self, *, most: int = 10_000, credentials: Credentials | None = CREDENTIALS) -> None:
        self.store, self.clock = MemoryStore(), ManualClock(NOW)
        self.meta = FakeMeta(clock=self.clock)
        self.library = Library(self.store)
        self.fetching = Fetching(
            self.library, self.meta, lambda number: credentials, lambda kind: most, self.clock, 5
        )

    async def refused(self, file: Wanted) -> NotFetched:
        with pytest.raises(NotFetched) as caught:
            await self.fetching.fetch(file)
        assert self.store.values == {}
        return caught.value


def wanted(**more: Any) -> Wanted:
    fields: dict[str, Any] = {
        "id": "wamid.1:0", "channel": "whatsapp", "number": "106", "key": "7", "user": UserRef(user_id="4915"),
        "wamid": "wamid.1", "kind": "image", "received_ms": 0, "media_id": "7", "mime_type": "image/jpeg",
        "sha256": sha_base64(DATA), "filename": "a.jpg",
    }  # fmt: skip
    return Wanted(**fields | more)


async def test_a_file_is_stored_with_what_is_known_of_it() -> None:
    world = World()
    world.meta.files["7"] = MetaFile(DATA, sha256=hashlib.sha256(DATA).hexdigest())
    stored = await world.fetching.fetch(wanted())
    assert world.store.values["files/106/7"] == DATA
    assert world.store.types["files/106/7"] == "image/jpeg"
    assert await world.library.find(Place("106", "7")) == stored
    assert (stored.bytes, stored.sha256, stored.filename) == (
        len(DATA), hashlib.sha256(DATA).hexdigest(), "a.jpg",
    )  # fmt: skip
    assert stored.stored_ms == int(NOW.timestamp() * 1000)


async def test_what_is_stored_already_is_not_fetched_again() -> None:
    world = World()
    world.meta.files["7"] = MetaFile(DATA)
    first = await world.fetching.fetch(wanted())
    world.clock.advance(100)
    assert await world.fetching.fetch(wanted()) == first
    assert len(world.meta.downloads) == 1


async def test_callers_who_want_the_same_file_share_one_download() -> None:
    world = World()
    world.meta.files["7"] = MetaFile(DATA)
    found = await asyncio.gather(*(world.fetching.fetch(wanted()) for _ in range(20)))
    assert len(set(map(str, found))) == 1
    assert len(world.meta.downloads) == 1


async def test_a_caller_who_leaves_takes_the_file_from_nobody() -> None:
    world = World()
    world.meta.files["7"] = MetaFile(DATA)
    leaving = asyncio.ensure_future(world.fetching.fetch(wanted()))
    staying = asyncio.ensure_future(world.fetching.fetch(wanted()))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).bytes == len(DATA)


async def test_a_stale_link_is_asked_for_once_more() -> None:
    world = World()
    world.meta.files["7"] = MetaFile(DATA, stale_links=1)
    await world.fetching.fetch(wanted())
    assert len(world.meta.asked) == 2


async def test_a_link_that_is_always_stale_is_left_for_later() -> None:
    world = World()
    world.meta.files["7"] = MetaFile(DATA, stale_links=9)
    failure = await world.refused(wanted())
    assert (failure.reason, failure.again) == ("link_stale", True)


@pytest.mark.parametrize("where", ["webhook", "meta"])
async def test_other_bytes_than_announced_are_not_stored(where: str) -> None:
    world = World()
    other = hashlib.sha256(b"other").hexdigest()
    world.meta.files["7"] = MetaFile(DATA, sha256=other if where == "meta" else None)
    failure = await world.refused(wanted(sha256=other if where == "webhook" else None))
    assert (failure.reason, failure.again) == ("checksum", False)


async def test_a_file_announced_as_too_large_is_not_even_begun() -> None:
    world = World(most=1000)
    world.meta.files["7"] = MetaFile(DATA, told_bytes=1001)
    assert (await world.refused(wanted())).reason == "too_large"
    assert world.meta.downloads == []


async def test_a_file_that_turns_out_too_large_is_stopped_on_the_way() -> None:
    world = World(most=1500)
    world.meta.files["7"] = MetaFile(DATA, told_bytes=10)
    assert (await world.refused(wanted())).reason == "too_large"


async def test_a_download_that_breaks_off_leaves_nothing_and_the_next_one_is_whole() -> None:
    world = World()
    world.meta.files["7"] = MetaFile(DATA, breaks_off=1)
    failure = await world.refused(wanted())
    assert (failure.reason, failure.again) == ("unreachable", True)
    assert (await world.fetching.fetch(wanted())).bytes == len(DATA)


async def test_another_numbers_file_is_gone() -> None:
    world = World()
    world.meta.files["7"] = MetaFile(DATA, number="107")
    assert (await world.refused(wanted())).reason == "gone"


async def test_a_number_without_a_token_waits_for_one() -> None:
    failure = await World(credentials=None).refused(wanted())
    assert (failure.reason, failure.again) == ("no_token", True)


async def test_a_store_that_is_away_is_waited_for() -> None:
    world = World()
    world.store.away = True
    failure = await world.refused(wanted())
    assert (failure.reason, failure.again) == ("store", True)


async def test_a_link_in_a_message_is_followed_without_the_token() -> None:
    world = World()
    world.meta.files["7"] = MetaFile(DATA)
    await world.fetching.fetch(
        wanted(media_id=None, link="https://scontent.xx.fbcdn.net/7", key="link-ab", sha256=None)
    )
    assert world.meta.downloads == [("https://scontent.xx.fbcdn.net/7", False)]
    assert world.store.values["files/106/link-ab"] == DATA


async def test_a_type_that_is_no_type_is_not_believed() -> None:
    world = World()
    world.meta.files["7"] = MetaFile(DATA, mime_type="text/html\r\nSet-Cookie: a=b")
    stored = await world.fetching.fetch(wanted(mime_type="image/png\r\nX: y"))
    assert stored.mime_type == "application/octet-stream"


async def test_erasing_a_person_leaves_nothing_of_theirs_and_all_of_others() -> None:
    world = World()
    for key in ("7", "8"):
        world.meta.files[key] = MetaFile(DATA)
        await world.library.note_owner(Place("106", key), [f"ref-of-{key}", "ref-of-all"])
        await world.fetching.fetch(wanted(key=key))
    assert await world.library.erase_person("ref-of-7") == 1
    assert await world.library.find(Place("106", "7")) is None
    assert "files/106/7" not in world.store.values
    assert await world.library.find(Place("106", "8")) is not None
    assert await world.library.erase_person("ref-of-7") == 0
    assert await world.library.erase_person("ref-of-all") == 2
    assert [key for key in world.store.values if key.startswith(("files", "about"))] == []


async def test_what_was_erased_is_not_fetched_again() -> None:
    world = World()
    world.meta.files["7"] = MetaFile(DATA)
    await world.library.erase(Place("106", "7"))
    with pytest.raises(NotFetched) as caught:
        await world.fetching.fetch(wanted())
    assert (caught.value.reason, caught.value.again) == ("gone", False)
    assert world.meta.downloads == []


async def test_what_is_erased_while_it_is_being_stored_does_not_stay() -> None:
    world, place = World(), Place("106", "7")

    async def pieces() -> AsyncIterator[bytes]:
        yield DATA
        await world.library.erase(place)

    stored = await world.library.keep(
        place, Checked(pieces(), len(DATA), ()), "image/png", None, SystemClock()
    )
    assert stored is None
    assert [key for key in world.store.values if key.startswith(("files", "about"))] == []


async def test_a_file_is_stored_when_it_is_whole_not_when_it_was_begun() -> None:
    world = World()
    world.meta.files["7"] = MetaFile(DATA, takes_s=60)
    stored = await world.fetching.fetch(wanted())
    assert stored.stored_ms == int(NOW.timestamp() * 1000) + 60_000
