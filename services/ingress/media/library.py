"""The received files that are kept: bytes, what is known of them, and whose they are, under keys that name nobody.

    files/{number}/{key}              the bytes
    about/{number}/{key}              what they are, as JSON; written last, so a file without it is not there
    people/{ref}/{number}/{key}       empty: that the file is of the person whose keyed hash is `ref`
    erased/{number}/{key}             empty: that the file was erased, and is not to be fetched again

`number` is the phone number id (a page's or account's id on the other channels), `key` Meta's id of the file or one of ours. Erasing a person is
going through `people/{ref}`.
"""

from collections.abc import AsyncIterator, Sequence

import msgspec

from services.ingress.media.checked import Checked
from services.ingress.media.place import Place, Stored
from services.ingress.media.store import ObjectStore
from shared.clock import Clock


class Library:
    """The files, over any store; raises StoreUnavailable."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def find(self, place: Place) -> Stored | None:
        """What is known of a file, if it is there."""
        found = await self._store.read(place.about)
        return None if found is None else _decode(found)

    async def keep(
        self, place: Place, pieces: Checked, mime_type: str, filename: str | None, clock: Clock
    ) -> Stored | None:
        """Store a file, None if it has been erased by then; what `pieces` raises passes through, and then nothing is stored."""
        await self._store.put(place.file, aiter(pieces), mime_type)
        stored = Stored(mime_type, pieces.bytes, pieces.sha256, int(clock.time() * 1000), filename)
        await self._store.put(place.about, _encode(stored))
        if await self.was_erased(place):
            await self._store.delete((place.about, place.file))
            return None
        return stored

    async def read(self, place: Place, start: int, end: int) -> AsyncIterator[bytes] | None:
        """The bytes from `start` up to, without, `end`; None if somebody has just erased the file."""
        return await self._store.stream(place.file, start, end)

    async def note_owner(self, place: Place, refs: Sequence[str]) -> None:
        """Remember whose file it is, or will be; before it is stored, so that no file is nobody's."""
        for ref in refs:
            await self._store.put(f"people/{ref}/{place.number}/{place.key}", b"")

    async def erase(self, place: Place) -> None:
        """Delete a file for good, also one that is being fetched or will be."""
        await self._store.put(place.erased, b"")
        await self._store.delete((place.about, place.file))

    async def was_erased(self, place: Place) -> bool:
        """Whether the file is not to come back."""
        return await self._store.read(place.erased) is not None

    async def erase_person(self, ref: str) -> int:
        """Delete all files of a person; how many were noted."""
        count = 0
        async for key in self._store.keys(f"people/{ref}"):
            _, _, number, name = key.split("/", 3)
            await self.erase(Place(number, name))
            await self._store.delete((key,))
            count += 1
        return count


_decode = msgspec.json.Decoder(Stored).decode
_encode = msgspec.json.Encoder().encode
