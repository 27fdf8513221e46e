"""What one record of a topic means to an endpoint, and what a parked or repeated event looks like as a record. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from services.push import meta_format
from services.push.endpoints import Endpoint
from services.push.kinds import Event, read
from shared.topics import Topic

ENDPOINT_HEADER = "push-endpoint"
"""Whom a parked or repeated event is for."""
TOPIC_HEADER = "push-topic"
"""The public topic it was first on, without the deployment's prefix."""
Headers = Sequence[tuple[str, bytes]]


class Coordinates(NamedTuple):
    """Where an event lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


class Unreadable(ValueError):
    """The record holds no event; the text says why."""


class Reader:
    """Reads records for one endpoint. `topics` are the catalogue's by their full names."""

    def __init__(self, endpoint: Endpoint, topics: Mapping[str, Topic], redeliveries: str) -> None:
        self._endpoint = endpoint
        self._topics = topics
        self._by_name = {topic.name: topic for topic in topics.values()}
        self._redeliveries = redeliveries

    def event(self, topic: str, value: bytes, headers: Headers) -> Event | None:
        """The event, or None if the endpoint is not to be told.

        What an operator had delivered once more is told whatever the endpoint's filter says now.

        Raises:
            Unreadable: it can't be read, though it may be for this endpoint.
        """
        source: Topic | None
        if topic == self._redeliveries:
            if header(headers, ENDPOINT_HEADER) != self._endpoint.name:
                return None
            source = self._by_name.get(header(headers, TOPIC_HEADER))
            if source is None:
                raise Unreadable(f"no public topic {header(headers, TOPIC_HEADER)!r}")
        else:
            source = self._topics[topic]
        try:
            event = read(source, value)
            wanted = topic == self._redeliveries or self._endpoint.wants(event)
            if wanted and self._endpoint.format == "meta":
                wanted = event.kind in meta_format.KINDS and meta_format.has_form(event)
        except (msgspec.MsgspecError, KeyError) as error:
            raise Unreadable(str(error)) from error
        return event if wanted else None


def parked(endpoint: str, topic: str, source: Coordinates, headers: Headers, reason: str, said: bytes) -> Headers:  # fmt: skip
    """The headers of a dead letter; its value and key are the event's own. `said` is what the endpoint answered, as far as kept."""
    return [
        ("dlq-reason", reason[:2000].encode(errors="replace")),
        ("dlq-group", b"push"),
        ("dlq-source", str(source).encode()),
        *((("dlq-answer", said),) if said else ()),
        *marks(endpoint, topic, headers),
    ]


def marks(endpoint: str, topic: str, headers: Headers) -> list[tuple[str, bytes]]:
    """For whom an event is and where it was first, before the CloudEvents headers it had."""
    own = {ENDPOINT_HEADER, TOPIC_HEADER}
    kept = [(name, value) for name, value in headers if name not in own and not name.startswith("dlq-")]
    return [(ENDPOINT_HEADER, endpoint.encode()), (TOPIC_HEADER, topic.encode()), *kept]


def header(headers: Iterable[tuple[str, bytes]], name: str) -> str:
    """The first header of that name; empty without one."""
    return next((value.decode(errors="replace") for known, value in headers if known == name), "")
