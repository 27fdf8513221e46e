"""The object store: one suite on the fake, on a directory, and on a real S3 server."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from services.ingress.media.checked import Checked
from services.ingress.media.failures import NotFetched
from services.ingress.media.library import Library
from services.ingress.media.place import Place
from services.ingress.media.settings import MediaSettings
from services.ingress.media.store import PIECE_BYTES, ObjectStore, Obstore, StoreUnavailable
from shared.clock import SystemClock
from tests.unit.ingress.media.fakes import MemoryStore

LARGE = bytes(range(256)) * (2 * PIECE_BYTES // 256 + 100)
"""More than two parts of an upload."""


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def on_s3(endpoint: str, bucket: str) -> Obstore:
    return Obstore(
        MediaSettings(
            media_store=f"s3://{bucket}/below/here",
            media_s3_endpoint=endpoint,
            media_s3_region="eu-central-1",
            media_s3_access_key=SecretStr("key"),
            media_s3_secret_key=SecretStr("secret"),
        )
    )


@pytest_asyncio.fixture(params=["memory", "directory", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param == "directory":
        made = Obstore(MediaSettings(media_store=f"file://{tmp_path}/media"))
    else:
        endpoint, bucket = request.getfixturevalue("s3"), tmp_path.name.replace("_", "-")[:60].strip("-")
        async with aiohttp.ClientSession() as http, http.put(f"{endpoint}/{bucket}") as answer:
            assert answer.status == 200
        made = on_s3(endpoint, bucket)
    await made.start()
    yield made
    await made.stop()


async def pieces(data: bytes, failure: Exception | None = None) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 65_536):
        yield data[start : start + 65_536]
    if failure is not None:
        raise failure


async def whole(store: ObjectStore, key: str, start: int, end: int) -> bytes | None:
    found = await store.stream(key, start, end)
    return None if found is None else b"".join([piece async for piece in found])


async def test_what_is_put_is_read_whole_in_parts_and_not_at_all_after_it_was_deleted(
    store: ObjectStore,
) -> None:
    await store.put("files/1/a", pieces(LARGE), "image/png")
    assert await whole(store, "files/1/a", 0, len(LARGE)) == LARGE
    assert await whole(store, "files/1/a", 5, 15) == LARGE[5:15]
    assert await whole(store, "files/1/a", len(LARGE) - 3, len(LARGE)) == LARGE[-3:]
    assert await store.read("files/1/b") is None
    assert await whole(store, "files/1/b", 0, 10) is None
    await store.delete(["files/1/a", "files/1/b"])
    assert await whole(store, "files/1/a", 0, 10) is None


async def test_what_fails_on_the_way_in_leaves_nothing_and_says_why(store: ObjectStore) -> None:
    for size in (10, len(LARGE)):
        with pytest.raises(NotFetched) as caught:
            await store.put("files/1/a", pieces(LARGE[:size], NotFetched("checksum")), "image/png")
        assert caught.value.reason == "checksum"
        assert await whole(store, "files/1/a", 0, 10) is None
        assert [key async for key in store.keys("files")] == []


async def test_what_fails_on_the_way_in_leaves_what_was_there(store: ObjectStore) -> None:
    await store.put("files/1/a", b"before")
    with pytest.raises(NotFetched):
        await store.put("files/1/a", pieces(LARGE, NotFetched("unreachable")))
    assert await store.read("files/1/a") == b"before"


async def test_a_cancelled_upload_leaves_nothing(store: ObjectStore) -> None:
    async def endless() -> AsyncIterator[bytes]:
        begun.set()
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.001)

    begun = asyncio.Event()
    putting = asyncio.create_task(store.put("files/1/a", endless()))
    await begun.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert await store.read("files/1/a") is None


async def test_an_empty_value_is_a_value_and_keys_are_found_by_what_they_lie_below(
    store: ObjectStore,
) -> None:
    for key in ("people/ab/1/x", "people/ab/2/y", "people/abc/1/z", "files/1/x"):
        await store.put(key, b"")
    assert sorted([key async for key in store.keys("people/ab")]) == ["people/ab/1/x", "people/ab/2/y"]
    assert [key async for key in store.keys("people/nobody")] == []
    assert await store.read("files/1/x") == b""
    assert await whole(store, "files/1/x", 0, 0) == b""


async def test_the_library_keeps_what_it_is_given(store: ObjectStore) -> None:
    library, place = Library(store), Place("106", "7")
    assert await library.find(place) is None
    stored = await library.keep(
        place, Checked(pieces(LARGE), len(LARGE), ()), "video/mp4", "a.mp4", SystemClock()
    )
    assert stored is not None
    assert stored.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert await library.find(place) == stored
    await library.note_owner(place, ["ab"])
    assert await library.erase_person("ab") == 1
    assert await library.find(place) is None
    assert await library.was_erased(place)


async def test_on_s3_the_type_is_kept_with_the_object(s3: str) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.put(f"{s3}/typed"):
            pass
        store = on_s3(s3, "typed")
        await store.start()
        await store.put("files/1/a", pieces(b"%PDF"), "application/pdf")
        async with http.get(f"{s3}/typed/below/here/files/1/a") as answer:
            assert (answer.content_type, await answer.read()) == ("application/pdf", b"%PDF")


async def test_a_store_that_does_not_answer_is_told_from_a_value_that_is_not_there(s3: str) -> None:
    store = on_s3(s3, "no-such-bucket")
    await store.start()
    with pytest.raises(StoreUnavailable):
        await store.put("files/1/a", b"x")


async def test_what_a_killed_process_left_of_a_file_is_swept_away_once_it_is_old(tmp_path: Path) -> None:
    left, growing = tmp_path / "files/1/a#1", tmp_path / "files/1/b#1"
    left.parent.mkdir(parents=True)
    for path in (left, growing):
        path.write_bytes(b"half")
    os.utime(left, (1, 1))
    store = Obstore(MediaSettings(media_store=f"file://{tmp_path}"))
    await store.start()
    assert not left.exists()
    assert growing.exists()
    assert [key async for key in store.keys("files")] == []
