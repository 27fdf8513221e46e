"""The port to the object store, and its adapter: a local directory or S3, through one library (obstore).

Values are whole or not there: a local file gets its name only when it is complete, an upload to S3 exists only when it is completed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from services.ingress.media.settings import MediaSettings

if TYPE_CHECKING:
    from obstore.store import S3Config

log = structlog.get_logger(__name__)

PIECE_BYTES = 5 * 1024 * 1024
"""Parts of an upload: S3 takes none smaller but the last."""
READ_BYTES = 256 * 1024
PIECES_AT_ONCE = 2
"""So that one file holds some 15 MB of memory at most."""
_QUIET_S = 0.3
"""The library's threads hand over their last answer some milliseconds after it came; an interpreter that ends meanwhile is aborted by them."""
_STALE_S = 86_400
"""A part of a local file that has not grown for so long belongs to nobody any more."""


class StoreUnavailable(Exception):
    """The store gave no answer, or refused: to be tried again."""


class ObjectStore(Protocol):
    """Values by key; `StoreUnavailable` when the store does not serve."""

    async def put(self, key: str, value: bytes | AsyncIterator[bytes], mime_type: str | None = None) -> None:
        """Store a value whole, or not at all if the iterator raises; its exception passes through."""
        ...

    async def read(self, key: str) -> bytes | None:
        """A small value; None if there is none."""
        ...

    async def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes] | None:
        """The bytes from `start` up to, without, `end`; None if there is no such value."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete values; those that are not there don't matter."""
        ...

    def keys(self, prefix: str) -> AsyncIterator[str]:
        """The keys below a prefix (`a/b` has `a/b/c`), in no order."""
        ...


class Obstore:
    """A part: the store that `WA_MEDIA_STORE` names."""

    def __init__(self, settings: MediaSettings) -> None:
        self._settings = settings
        self._store: LocalStore | S3Store

    async def start(self) -> None:
        """Open it, and sweep away what killed processes left of local files; raises OSError if the directory can't be used."""
        folder = _folder(self._settings.media_store)
        if folder is None:
            self._store = _s3(self._settings)
            return
        self._store = LocalStore(folder, mkdir=True)
        swept = await asyncio.to_thread(_sweep, folder, time.time() - _STALE_S)
        if swept:
            log.info("media_leftovers_removed", files=swept)

    async def stop(self) -> None:
        await asyncio.sleep(_QUIET_S)

    async def put(self, key: str, value: bytes | AsyncIterator[bytes], mime_type: str | None = None) -> None:
        # A directory has no place for attributes; there the description beside the file has the type.
        attributes: Any = (
            {"Content-Type": mime_type} if mime_type and isinstance(self._store, S3Store) else None
        )
        try:
            await self._store.put_async(
                key, value, attributes=attributes, chunk_size=PIECE_BYTES, max_concurrency=PIECES_AT_ONCE
            )
        except (BaseError, OSError) as error:
            raise _unavailable(error) from error

    async def read(self, key: str) -> bytes | None:
        try:
            return bytes(await (await self._store.get_async(key)).bytes_async())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _unavailable(error) from error

    async def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes] | None:
        if start >= end:
            return _nothing()
        try:
            found = await self._store.get_async(key, options={"range": (start, end)})
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _unavailable(error) from error
        return _pieces(found.stream(min_chunk_size=READ_BYTES))

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                with suppress(FileNotFoundError):
                    await self._store.delete_async(key)
            except (BaseError, OSError) as error:
                raise _unavailable(error) from error

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        try:
            async for batch in self._store.list(prefix):
                for found in batch:
                    yield found["path"]
        except (BaseError, OSError) as error:
            raise _unavailable(error) from error


async def _pieces(stream: Any) -> AsyncIterator[bytes]:
    try:
        async for piece in stream:
            yield piece
    except (BaseError, OSError) as error:
        raise _unavailable(error) from error


async def _nothing() -> AsyncIterator[bytes]:
    none: tuple[bytes, ...] = ()
    for piece in none:
        yield piece


def _unavailable(error: Exception) -> StoreUnavailable:
    """The library's texts go on for pages; the first line says it."""
    return StoreUnavailable(str(error).partition("\n")[0][:300])


def _folder(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _s3(settings: MediaSettings) -> S3Store:
    config: S3Config = {}
    if settings.media_s3_endpoint is not None:
        config["endpoint"] = settings.media_s3_endpoint
    if settings.media_s3_region is not None:
        config["region"] = settings.media_s3_region
    access_key, secret_key = settings.s3_access_key(), settings.s3_secret_key()
    if access_key is not None and secret_key is not None:
        config["access_key_id"], config["secret_access_key"] = access_key, secret_key
    return S3Store.from_url(
        settings.media_store,
        config=config,
        client_options={
            "allow_http": (settings.media_s3_endpoint or "").startswith("http://"),
            "timeout": timedelta(seconds=settings.media_timeout_s),
            "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
    )


def _sweep(folder: Path, before_s: float) -> int:
    """Remove incomplete files (`name#1`) last written before `before_s`, epoch seconds; how many there were."""
    swept = 0
    for path in folder.rglob("*#*"):
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < before_s:
                path.unlink()
                swept += 1
    return swept
