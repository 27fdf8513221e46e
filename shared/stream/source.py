"""Where an outgoing event came from: the `wa-source` header, written and read. Pure."""

from typing import NamedTuple

SOURCE_HEADER = "wa-source"


def source_header(partition: int, offset: int, nth: int) -> bytes:
    """`partition:offset:index`."""
    return b"%d:%d:%d" % (partition, offset, nth)


class Source(NamedTuple):
    """The record an event came of, and which of its events this is. A consumer that remembers the greatest of a partition has seen all before."""

    partition: int
    offset: int
    nth: int

    @classmethod
    def parse(cls, header: bytes | None) -> "Source":
        """What `source_header` made.

        Raises:
            ValueError: it is absent or not of that form.
        """
        try:
            partition, offset, index = (header or b"").split(b":")
            return cls(int(partition), int(offset), int(index))
        except ValueError as error:
            raise ValueError(f"{SOURCE_HEADER} is not partition:offset:index: {header!r}") from error
