"""A wanted file in, the file in the store out: from there if it is there already, else from Meta. Callers who want the same file share one download."""

import asyncio
import re
from collections.abc import Callable

import structlog

from services.ingress.media.checked import Checked
from services.ingress.media.failures import LinkStale, NotFetched
from services.ingress.media.library import Library
from services.ingress.media.meta import Description, Files
from services.ingress.media.place import Place, Stored
from services.ingress.media.store import StoreUnavailable
from services.ingress.media.wanted import Wanted
from shared import metrics
from shared.clock import Clock
from shared.tokens import Credentials

log = structlog.get_logger(__name__)

_LINKS = 2
"""A link that is stale although it has just been given will not get better."""
_UNKNOWN_TYPE = "application/octet-stream"
_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}(; ?[\w-]{1,50}=[\w.+-]{1,50}){0,3}", re.ASCII)
"""It becomes a header: what is anything else is not believed."""


class Fetching:
    """A part: the downloads under way.

    Args:
        credentials: those of a number, None if it has none.
        most: bytes that a file of a kind may have.
        timeout_s: longest that one file may take.
    """

    def __init__(
        self,
        library: Library,
        meta: Files,
        credentials: Callable[[str], Credentials | None],
        most: Callable[[str], int],
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self._library = library
        self._meta = meta
        self._credentials = credentials
        self._most = most
        self._clock = clock
        self._timeout_s = timeout_s
        self._under_way: dict[Place, asyncio.Task[Stored]] = {}

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Give up what is under way: nothing of it stays, and it is fetched again."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def fetch(self, wanted: Wanted) -> Stored:
        """The file, once it is stored. Raises NotFetched."""
        task = self._under_way.get(wanted.place)
        if task is None:
            task = asyncio.create_task(self._fetch(wanted), name="media-fetch")
            self._under_way[wanted.place] = task
            task.add_done_callback(lambda done: self._done(wanted.place, done))
        return await asyncio.shield(task)

    def _done(self, place: Place, task: asyncio.Task[Stored]) -> None:
        del self._under_way[place]
        if not task.cancelled():
            task.exception()  # whoever asked may be gone by now

    async def _fetch(self, wanted: Wanted) -> Stored:
        try:
            async with asyncio.timeout(self._timeout_s):
                if (stored := await self._library.find(wanted.place)) is not None:
                    return stored
                if await self._library.was_erased(wanted.place):
                    raise _erased()
                stored = await self._from_meta(wanted)
        except StoreUnavailable as error:
            raise NotFetched("store", str(error)) from error
        except TimeoutError:
            raise NotFetched("timeout", f"not within {self._timeout_s:g} s") from None
        metrics.MEDIA_BYTES.inc(stored.bytes)
        log.info("media_stored", file=wanted.place.file, bytes=stored.bytes, mime_type=stored.mime_type)
        return stored

    async def _from_meta(self, wanted: Wanted) -> Stored:
        credentials = self._credentials(wanted.number)
        for _ in range(_LINKS):
            if wanted.link is not None:
                found = Description(wanted.link, None, None, None)
            elif credentials is None:
                raise NotFetched("no_token", f"number {wanted.number} has no token")
            else:
                found = await self._meta.describe(wanted.place, credentials)
            try:
                return await self._download(wanted, found, credentials)
            except LinkStale:
                if wanted.link is not None:
                    raise NotFetched("gone", "the link is stale, and nobody gives another one") from None
        raise NotFetched("link_stale")

    async def _download(self, wanted: Wanted, found: Description, credentials: Credentials | None) -> Stored:
        most = self._most(wanted.kind)
        _refuse_too_large(found.bytes, most)
        async with self._meta.download(found.url, credentials if wanted.link is None else None) as download:
            _refuse_too_large(download.size, most)
            pieces = Checked(download.pieces, most, (wanted.sha256, found.sha256))
            told = (wanted.mime_type, found.mime_type, download.mime_type)
            mime_type = next((type for type in told if type and _TYPE.fullmatch(type)), _UNKNOWN_TYPE)
            stored = await self._library.keep(wanted.place, pieces, mime_type, wanted.filename, self._clock)
            if stored is None:
                raise _erased()
            return stored


def _erased() -> NotFetched:
    return NotFetched("gone", "it was erased here")


def _refuse_too_large(announced: int | None, most: int) -> None:
    if announced is not None and announced > most:
        raise NotFetched("too_large", f"{announced} bytes announced, {most} taken")
