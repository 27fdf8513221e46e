"""One record to publish. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from shared.topics import Topic


class Record(NamedTuple):
    """A record, encoded; its key decides the partition."""

    topic: Topic
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()
