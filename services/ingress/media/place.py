"""Where a received file is kept and given out, and what is known of one that is kept. Pure."""

from typing import NamedTuple

import msgspec

from services.ingress.media.described import is_key, path_of


class Place(NamedTuple):
    """Where a file is, in the store and at the edge."""

    number: str
    key: str

    @property
    def valid(self) -> bool:
        """Whether both parts can stand in a path."""
        return is_key(self.number) and is_key(self.key)

    @property
    def path(self) -> str:
        """Below the edge's root."""
        return path_of(self.number, self.key)

    @property
    def file(self) -> str:
        """The bytes in the store."""
        return f"files/{self.number}/{self.key}"

    @property
    def about(self) -> str:
        """What is known of them."""
        return f"about/{self.number}/{self.key}"

    @property
    def erased(self) -> str:
        """That there was one, and that nobody wants it back."""
        return f"erased/{self.number}/{self.key}"


class Stored(msgspec.Struct, frozen=True):
    """A file that is kept. `sha256` is hex, `stored_ms` when it was complete."""

    mime_type: str
    bytes: int
    sha256: str
    stored_ms: int
    filename: str | None = None
