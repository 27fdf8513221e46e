"""The body of a webhook in our own format: events in, JSON out, each event as on its topic. Pure.

One event is `{"type", "timestamp", "data"}` (Standard Webhooks, payload structure); a batch holds a list of those as its `data`.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from services.push.kinds import Event

BATCH = "batch"
"""The type of a body that holds several events."""


class _Body(msgspec.Struct):
    type: str
    timestamp: str
    data: msgspec.Raw | list["_Body"]


_encode = msgspec.json.Encoder().encode


def body(events: Sequence[Event], *, batched: bool) -> bytes:
    """The body. `batched` says that the endpoint takes batches: then one event is a batch too, so that it always has one shape."""
    bodies = [_Body(event.kind, event.at, event.value) for event in events]
    return _encode(_Body(BATCH, bodies[-1].timestamp, bodies) if batched else bodies[0])


def id_of(events: Sequence[Event]) -> str:
    """The webhook's id: the event's own; of several, one that is the same whenever they go together."""
    if len(events) == 1:
        return events[0].id
    digest = hashlib.sha256("\0".join(event.id for event in events).encode()).hexdigest()
    return f"batch_{digest[:32]}"
